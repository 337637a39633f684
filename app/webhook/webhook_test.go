package webhook_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"code.dny.dev/ssrf"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/webhook"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// The example of the Standard Webhooks specification's reference libraries.
func TestSignIsStandard(t *testing.T) {
	t.Parallel()
	got, err := webhook.Sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	require.NoError(t, err)
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", got)
	for _, secret := range []string{"", "whsec_", "whsec_c2hvcnQ=", "whsec_!"} {
		_, err := webhook.Sign(secret, "id", time.Unix(0, 0), nil)
		require.Error(t, err, secret)
		require.NotContains(t, err.Error(), "c2hvcnQ")
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	secret, err := webhook.NewSecret(rand.Reader)
	require.NoError(t, err)
	now := time.Unix(1_800_000_000, 0)
	status := make(chan int, 1)
	var redirected atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { redirected.Store(true) })
	mux.HandleFunc("POST /hook", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		want, _ := webhook.Sign(secret, "event-1", now, body)
		if r.Header.Get("webhook-id") != "event-1" || r.Header.Get("webhook-timestamp") != "1800000000" ||
			r.Header.Get("webhook-signature") != want || string(body) != `{"a":1}` {
			t.Errorf("got %v with %s", r.Header, body)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(<-status)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	s := webhook.New(func() time.Time { return now }, loopback...)
	w := app.Webhook{URL: server.URL + "/hook", Secret: secret}
	for code, want := range map[int]string{200: "", 204: "", 302: "answered 302", 307: "answered 307", 410: webhook.ErrGone.Error(), 500: "answered 500"} {
		status <- code
		err := s.Send(t.Context(), w, "event-1", []byte(`{"a":1}`))
		if want == "" {
			require.NoError(t, err, code)
		} else {
			require.ErrorContains(t, err, want)
		}
		require.Equal(t, code == 410, errors.Is(err, webhook.ErrGone))
	}
	require.False(t, redirected.Load(), "a redirect leads where nobody checked")
}

// Nothing but the public Internet is reached, whatever an address is written
// as or resolves to.
func TestSendReachesNothingPrivate(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer server.Close()
	secret, err := webhook.NewSecret(rand.Reader)
	require.NoError(t, err)
	s := webhook.New(time.Now)
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:a00:1]", "0.0.0.0", "[::]", "10.0.0.1", "172.16.0.1", "192.168.1.1",
		"100.64.0.1", "169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[64:ff9b::a00:1]", "[2002:a00:1::]", "224.0.0.1", "255.255.255.255", "198.18.0.1",
	} {
		err := s.Send(t.Context(), app.Webhook{URL: "https://" + host + "/", Secret: secret}, "id", nil)
		require.ErrorIs(t, err, ssrf.ErrProhibitedIP, host)
	}
	err = s.Send(t.Context(), app.Webhook{URL: server.URL, Secret: secret}, "id", nil)
	require.ErrorIs(t, err, ssrf.ErrProhibitedPort)
	require.False(t, reached.Load())
	for _, address := range []string{"http://example.com/", "ftp://example.com", "https://", "https://:443/", "https://user:pw@example.com/", "file:///etc/passwd", "//example.com", "%"} {
		err := s.Send(t.Context(), app.Webhook{URL: address, Secret: secret}, "id", nil)
		require.ErrorContains(t, err, "its address must", address)
		require.Error(t, webhook.CheckURL(address))
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"https://hooks.example.com/x?y=z", "https://hooks.example.com:443", "https://EXAMPLE.com./", "https://bücher.example/", "https://93.184.215.14/",
		"https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/", "https://example.com/" + strings.Repeat("x", 2028),
	} {
		require.NoError(t, webhook.CheckURL(address))
	}
	for address, want := range map[string]string{
		"":                                    "begin with https://",
		"%":                                   "must be a URL",
		"https://user:pw@example.com:99999x/": "must be a URL",
		"http://example.com/":                 "begin with https://",
		"https://:443/":                       "begin with https://",
		"https://me@example.com/":             "no user",
		"https://example.com/#x":              "fragment",
		"https://example.com:8443/":           "port 443",
		"https://example.com/" + strings.Repeat("x", 2029): "2048 bytes",
		"https://127.0.0.1/":                "public",
		"https://127.1/":                    "public",
		"https://2130706433/":               "public",
		"https://0x7f.0x1/":                 "public",
		"https://0177.0.0.01/":              "public",
		"https://10.0.0.1/":                 "public",
		"https://169.254.169.254/latest/":   "public",
		"https://[::1]/":                    "public",
		"https://[::ffff:10.0.0.1]/":        "public",
		"https://[fd00:ec2::254]/":          "public",
		"https://[fe80::1%25eth0]/":         "public",
		"https://localhost/":                "public",
		"https://db/":                       "public",
		"https://a.localhost./":             "public",
		"https://metadata.google.INTERNAL/": "public",
		"https://printer.local/":            "public",
	} {
		err := webhook.CheckURL(address)
		require.ErrorContains(t, err, want, address)
		require.NotContains(t, err.Error(), ":pw")
	}
}

// A receiver that accepts and says nothing holds a webhook no longer than its context.
func TestSendEndsWithItsContext(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	secret := "whsec_" + strings.Repeat("AAAA", 10)
	err = webhook.New(time.Now, loopback...).Send(ctx, app.Webhook{URL: "http://" + l.Addr().String(), Secret: secret}, "id", nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// An address that is accepted is one that a request can be sent to, over TLS.
func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{
		"https://hooks.example.com/x?y=z", "https://:443/", "https://[::1]:443", "https://[::1%25lo]/", "https://a@b", "https:example.com", "HTTPS://example.com", "https://example.com:port", "https:///x",
		"https://\u00a0/", "https://exa mple.com/", "https://example.com/\r\nHost: other",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		if webhook.CheckURL(address) != nil {
			return
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, nil)
		if err != nil {
			t.Fatalf("%q: %v", address, err)
		}
		if request.URL.Scheme != "https" || request.URL.Hostname() == "" || request.URL.User != nil {
			t.Errorf("%q leads to %s", address, request.URL.Redacted())
		}
	})
}
