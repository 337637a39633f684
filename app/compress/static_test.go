package compress

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStatic(t *testing.T) {
	t.Parallel()
	content := projectList(t, 100_000)
	file, err := NewStatic(content, "application/json")
	require.NoError(t, err)
	s := httptest.NewServer(file)
	t.Cleanup(s.Close)
	client := server{t: t, url: s.URL, client: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
	tags := map[string]bool{}
	for _, e := range append(encodings(), Identity) {
		got := client.get(string(e))
		require.Equal(t, 200, got.StatusCode)
		if e != Identity {
			require.Equal(t, string(e), got.Header.Get("Content-Encoding"))
			require.LessOrEqual(t, 5*len(got.body), len(content))
		}
		require.Equal(t, content, decode(t, got.Header.Get("Content-Encoding"), got.body))
		require.Equal(t, "application/json", got.Header.Get("Content-Type"))
		require.Equal(t, "Accept-Encoding", got.Header.Get("Vary"))
		require.Equal(t, int64(len(got.body)), got.ContentLength)
		tag := got.Header.Get("Etag")
		require.False(t, tags[tag])
		tags[tag] = true

		head := client.ask("HEAD", "Accept-Encoding", string(e))
		head.Header.Del("Date")
		got.Header.Del("Date")
		require.Equal(t, got.Header, head.Header)

		again := client.get(string(e), "If-None-Match", tag)
		require.Equal(t, 304, again.StatusCode)
		require.Equal(t, tag, again.Header.Get("Etag"))
		require.Equal(t, "Accept-Encoding", again.Header.Get("Vary"))
		other := "gzip"
		if e == Gzip {
			other = "br"
		}
		require.Equal(t, 200, client.get(other, "If-None-Match", tag).StatusCode, "other bytes")

		part := client.get(string(e), "Range", "bytes=10-19", "If-Range", tag)
		require.Equal(t, 206, part.StatusCode)
		require.Equal(t, got.body[10:20], part.body, "of the encoded bytes, as the tag says")

		refused := client.get(string(e), "If-Match", `"other"`)
		require.Equal(t, 412, refused.StatusCode)
		require.Empty(t, refused.Header.Get("Content-Encoding"))
	}
}

func TestStaticKeepsNoFormThatSavesNothing(t *testing.T) {
	t.Parallel()
	for name, content := range map[string][]byte{"short": text(Threshold - 1), "random": noise(5000), "empty": nil} {
		file, err := NewStatic(content, "application/octet-stream")
		require.NoError(t, err)
		rec := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		req.Header.Set("Accept-Encoding", "gzip, br, zstd")
		file.ServeHTTP(rec, req)
		require.Equal(t, 200, rec.Code, name)
		require.Empty(t, rec.Header().Get("Content-Encoding"), name)
		require.Empty(t, rec.Header().Get("Vary"), name)
		require.Equal(t, string(content), rec.Body.String(), name)
	}
}
