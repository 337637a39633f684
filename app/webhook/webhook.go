// Package webhook sends events to addresses that tenants choose, signed as
// Standard Webhooks has it (https://www.standardwebhooks.com), and only over
// the public Internet: a tenant must not reach through it what only this
// service can, such as the instance metadata service or the database.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"code.dny.dev/ssrf"

	"github.com/loadbearing/loadbearing/app"
)

const (
	// Timeout is what one request may take, from the look-up of the name to the
	// end of the answer.
	Timeout = 5 * time.Second
	// maxAnswer is how much of an answer is read, for the connection to be used again.
	maxAnswer = 4 << 10
	maxURL    = 2048 // bytes, of an address

	secretPrefix = "whsec_"
)

// ErrGone says that the receiver wants no more events (410 Gone).
var ErrGone = errors.New("the receiver wants no more events")

// Sender sends webhooks. It is safe for concurrent use.
type Sender struct {
	client   *http.Client
	insecure bool // http is allowed
	now      func() time.Time
}

// New returns a sender. It connects to public addresses only, on port 443, and
// decides by the address it is about to connect to: what a name resolved to
// earlier counts for nothing. Addresses in allowed, if any, are allowed on every
// port and with http: for a receiver on the machine a test runs on.
func New(now func() time.Time, allowed ...netip.Prefix) *Sender {
	guard := []ssrf.Option{ssrf.WithPorts(443)}
	if len(allowed) > 0 {
		var v4, v6 []netip.Prefix
		for _, p := range allowed {
			if p.Addr().Is4() {
				v4 = append(v4, p)
			} else {
				v6 = append(v6, p)
			}
		}
		guard = []ssrf.Option{ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...)}
	}
	dialer := &net.Dialer{Timeout: Timeout, Control: ssrf.New(guard...).Safe}
	return &Sender{
		insecure: len(allowed) > 0,
		now:      now,
		client: &http.Client{
			Timeout: Timeout,
			// No proxy: it would connect in our place, to anything.
			Transport: &http.Transport{
				DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: Timeout,
				MaxIdleConns: 100, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
				MaxResponseHeaderBytes: 16 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// CheckURL returns what is wrong with the address of a webhook, a sentence for
// who gave it, nil when nothing is. It refuses what Send would never reach, as
// far as the address shows it. It is no wall: where a name leads is known only
// when it is looked up, and Send decides then.
func CheckURL(address string) error {
	u, err := parseURL(address, false)
	switch {
	case err != nil:
		return err
	case len(address) > maxURL:
		return fmt.Errorf("must have at most %d bytes", maxURL)
	case u.Fragment != "":
		return errors.New("must have no #fragment: it is never sent")
	case u.Port() != "" && u.Port() != "443":
		return errors.New("must have port 443 or none")
	case !public(u.Hostname()):
		return errors.New("must name a host on the public Internet")
	}
	return nil
}

// parseURL returns an address that a request can be made for.
func parseURL(address string, insecure bool) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil: // which quotes the address, with the password in it
		return nil, errors.New("must be a URL")
	case u.Hostname() == "" || u.Scheme != "https" && (!insecure || u.Scheme != "http"):
		return nil, errors.New("must begin with https:// and a host")
	case u.User != nil:
		return nil, errors.New("must have no user and password in it")
	}
	return u, nil
}

// public tells whether a host may be one of the public Internet: an address
// that is public, or a name below a top-level domain that is.
func public(host string) bool {
	if address, err := netip.ParseAddr(host); err == nil {
		network := "tcp4"
		if address.Is6() {
			network = "tcp6"
		}
		return ssrf.New(ssrf.WithPorts(443)).Safe(network, net.JoinHostPort(host, "443"), nil) == nil
	}
	labels := strings.Split(strings.TrimSuffix(strings.ToLower(host), "."), ".")
	switch top := labels[len(labels)-1]; top {
	case "localhost", "local", "internal", "test", "invalid", "onion": // RFC 6761, 6762 and 7686; ICANN reserved internal
		return false
	default:
		// A name that ends in a number is an IPv4 address to some, such as 127.1 (URL Standard, host parsing).
		return len(labels) > 1 && strings.ContainsFunc(top, unicode.IsLetter) && !strings.HasPrefix(top, "0x")
	}
}

// Send posts a body, JSON, as the event with the given id. It returns nil when
// the receiver accepted it (2xx), ErrGone when it wants none, and for every
// other answer and for none an error: send it again later, under the same id.
func (s *Sender) Send(ctx context.Context, w app.Webhook, id string, body []byte) error {
	if _, err := parseURL(w.URL, s.insecure); err != nil {
		return fmt.Errorf("send a webhook: its address %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("send a webhook: %w", err)
	}
	at := s.now()
	signature, err := Sign(w.Secret, id, at, body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/cloudevents+json")
	request.Header.Set("User-Agent", "loadbearing-webhook/1")
	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
	request.Header.Set("Webhook-Signature", signature)
	answer, err := s.client.Do(request)
	if err != nil {
		return fmt.Errorf("send a webhook: %w", err)
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer)
	switch {
	case answer.StatusCode == http.StatusGone:
		return ErrGone
	case answer.StatusCode < 200 || answer.StatusCode > 299:
		return fmt.Errorf("send a webhook: the receiver answered %d, want 2xx", answer.StatusCode)
	}
	return nil
}

// Sign returns the signature of a webhook, version 1: HMAC-SHA256 over the id,
// the time in Unix seconds and the body, so that none of them can be changed
// and an old request can be told from a new one.
func Sign(secret, id string, at time.Time, body []byte) (string, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, secretPrefix))
	if err != nil || len(key) < 24 || len(key) > 64 { // as Standard Webhooks wants it
		return "", errors.New("sign a webhook: its secret must be 24 to 64 bytes in base64, after whsec_")
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.", id, at.Unix())
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
}

// NewSecret returns the secret of a new webhook. random is crypto/rand.Reader
// outside of tests.
func NewSecret(random io.Reader) (string, error) {
	key := make([]byte, sha256.Size)
	if _, err := io.ReadFull(random, key); err != nil {
		return "", fmt.Errorf("make the secret of a webhook: %w", err)
	}
	return secretPrefix + base64.StdEncoding.EncodeToString(key), nil
}
