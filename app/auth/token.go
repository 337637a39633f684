// Package auth authenticates: passwords, access and refresh tokens, sessions,
// and the signatures of list cursors.
package auth

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
)

// AccessTTL is how long an access token is valid, RefreshTTL how long a
// session lives without being refreshed.
const (
	AccessTTL  = 15 * time.Minute
	RefreshTTL = 30 * 24 * time.Hour
)

const (
	issuer   = "loadbearing"
	audience = "loadbearing-api"
)

// Keys are derived from the auth secret by HKDF (RFC 5869), one for each
// purpose. The keys of secrets before the current one only verify, so that a
// rotated secret logs nobody out.
type Keys struct {
	kid    string // of the current access key
	access map[string][]byte
	cursor []byte
}

// NewKeys derives the keys of the current secret and of previous ones.
func NewKeys(secret string, previous ...string) (*Keys, error) {
	k := &Keys{access: map[string][]byte{}}
	for i, s := range append([]string{secret}, previous...) {
		if len(s) < 32 {
			return nil, errors.New("the auth secret must have at least 32 bytes")
		}
		access, err := derive(s, "loadbearing access token v1")
		if err != nil {
			return nil, err
		}
		id, err := derive(s, "loadbearing key id v1")
		if err != nil {
			return nil, err
		}
		kid := hex.EncodeToString(id[:8])
		k.access[kid] = access
		if i == 0 {
			k.kid = kid
			if k.cursor, err = derive(s, "loadbearing cursor v1"); err != nil {
				return nil, err
			}
		}
	}
	return k, nil
}

func derive(secret, purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, purpose, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the %s key: %w", purpose, err)
	}
	return key, nil
}

type claims struct {
	jwt.RegisteredClaims
	Tenant  uuid.UUID `json:"tenant"`
	Session uuid.UUID `json:"sid"`
	Role    app.Role  `json:"role"`
}

// Issue returns an access token for a caller: a JWT signed with HS256.
func (k *Keys) Issue(c app.Caller, now time.Time) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: c.UserID.String(),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(AccessTTL)),
		},
		Tenant: c.TenantID, Session: c.SessionID, Role: c.Role,
	})
	t.Header["kid"] = k.kid
	signed, err := t.SignedString(k.access[k.kid])
	if err != nil {
		return "", fmt.Errorf("sign an access token: %w", err)
	}
	return signed, nil
}

// Verify returns the caller an access token speaks for, or CodeUnauthenticated.
func (k *Keys) Verify(token string, now time.Time) (app.Caller, error) {
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		key, ok := k.access[kid]
		if !ok {
			return nil, fmt.Errorf("unknown key %q", kid)
		}
		return key, nil
	}, jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now }))
	if err != nil {
		message := "the access token is not valid; log in"
		if errors.Is(err, jwt.ErrTokenExpired) {
			message = "the access token has expired; refresh it"
		}
		return app.Caller{}, &app.Error{Code: app.CodeUnauthenticated, Message: message, Err: err}
	}
	user, err := uuid.Parse(c.Subject)
	if err != nil {
		return app.Caller{}, &app.Error{Code: app.CodeUnauthenticated, Message: "the access token is not valid; log in", Err: err}
	}
	return app.Caller{UserID: user, TenantID: c.Tenant, SessionID: c.Session, Role: c.Role}, nil
}

// newRefreshToken returns 256 random bits as text, and their hash, which is
// all that is stored.
func newRefreshToken() (token string, hash []byte) {
	raw := make([]byte, 32)
	rand.Read(raw)
	token = base64.RawURLEncoding.EncodeToString(raw)
	return token, hashToken(token)
}

// hashToken needs no salt and no work factor: the token has 256 bits of entropy.
func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
