package certificates_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/certificates"
)

func TestOpenServesVerifiedTLS(t *testing.T) {
	t.Parallel()
	ca, err := certificates.Open(filepath.Join(t.TempDir(), "certificates"))
	require.NoError(t, err)
	serverTLS, err := ca.ServerTLS()
	require.NoError(t, err)
	clientTLS, err := ca.ClientTLS()
	require.NoError(t, err)

	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = serverTLS
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)

	for _, host := range []string{"127.0.0.1", "localhost"} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS.Clone()}}
		res, err := client.Get("https://" + net.JoinHostPort(host, port))
		require.NoError(t, err, host)
		require.NoError(t, res.Body.Close())
		client.CloseIdleConnections()
	}

	t.Run("another authority is refused", func(t *testing.T) {
		other, err := certificates.Open(filepath.Join(t.TempDir(), "certificates"))
		require.NoError(t, err)
		otherTLS, err := other.ClientTLS()
		require.NoError(t, err)
		_, err = tls.Dial("tcp", server.Listener.Addr().String(), otherTLS)
		require.ErrorContains(t, err, "unknown authority")
	})
}

func TestOpenKeepsTheSet(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certificates")
	ca, err := certificates.Open(dir)
	require.NoError(t, err)
	before, err := os.ReadFile(ca.File)
	require.NoError(t, err)

	again, err := certificates.Open(dir)
	require.NoError(t, err)
	after, err := os.ReadFile(again.File)
	require.NoError(t, err)
	require.Equal(t, before, after)

	key, err := os.Stat(ca.KeyFile)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), key.Mode().Perm())
}

func TestOpenRefusesWhatItDidNotWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certificates")
	ca, err := certificates.Open(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(ca.File, []byte("not a certificate"), 0o644))

	_, err = certificates.Open(dir)
	require.ErrorContains(t, err, "holds no certificate")
	require.ErrorContains(t, err, "remove the folder")
}
