package alb

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"time"
)

// The cookies of the user guide's "Sticky sessions". The CORS twin of each is
// for clients on another site, to which only SameSite=None cookies are sent.
const (
	cookieGroup  = "AWSALBTG"
	cookieTarget = "AWSALB"
	cookieApp    = "AWSALBAPP-0"
	corsSuffix   = "CORS"
)

// cookieLife is the Expires of every cookie the load balancer makes; it cannot
// be configured on AWS. The stickiness ends earlier, by a time inside the cookie.
const cookieLife = 7 * 24 * time.Hour

// sealer encrypts what stickiness cookies hold, as AWS does, so that a client
// can neither read nor choose its target.
type sealer struct{ aead cipher.AEAD }

// newSealer derives the key from the load balancer's ARN: cookies outlive a
// restart of this process. It guards nothing but the choice of a local target.
func newSealer(arn string) (sealer, error) {
	key := sha256.Sum256([]byte("stickiness of " + arn))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return sealer{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return sealer{aead}, err
}

func (s sealer) seal(kind, value string, until time.Time) string {
	plain := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, append(plain, value...), []byte(kind)))
}

// open returns the value of the request's cookie of that kind, or "" when
// there is none, it is not ours or its stickiness is over.
func (s sealer) open(r *http.Request, kind string, now time.Time) string {
	for _, name := range []string{kind, kind + corsSuffix} {
		cookie, err := r.Cookie(name)
		if err != nil {
			continue
		}
		raw, err := base64.RawURLEncoding.DecodeString(cookie.Value)
		if err != nil {
			continue
		}
		plain, err := s.aead.Open(nil, nil, raw, []byte(kind))
		if err != nil || len(plain) < 8 {
			continue
		}
		if now.Unix() < int64(binary.BigEndian.Uint64(plain)) {
			return string(plain[8:])
		}
	}
	return ""
}

// cookies returns the Set-Cookie pair of a kind.
func (s sealer) cookies(kind, value string, duration time.Duration, secure bool, now time.Time) []string {
	sealed := s.seal(kind, value, now.Add(duration))
	plain := http.Cookie{Name: kind, Value: sealed, Path: "/", Expires: now.Add(cookieLife)}
	cors := http.Cookie{
		Name: kind + corsSuffix, Value: sealed, Path: "/", Expires: now.Add(cookieLife),
		SameSite: http.SameSiteNoneMode, Secure: secure,
	}
	return []string{plain.String(), cors.String()}
}
