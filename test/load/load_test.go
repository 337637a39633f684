package load_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/test/load"
)

func TestRunCountsWhatFailed(t *testing.T) {
	t.Parallel()
	var n atomic.Uint64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1)%4 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	r, err := load.Run(t.Context(), []string{server.URL}, nil, 4, 200*time.Millisecond)
	require.NoError(t, err)
	assert.Equal(t, n.Load(), r.Requests)
	assert.Equal(t, n.Load()/4, r.Failed)
	assert.Positive(t, r.PerSecond)
	assert.GreaterOrEqual(t, r.P99, r.P50)
}

func TestRunRefusesOtherMachines(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"http://192.0.2.1/", "https://example.com/", "http://10.0.0.1:8080/"} {
		_, err := load.Run(t.Context(), []string{target}, nil, 1, time.Second)
		require.ErrorContains(t, err, "not a loopback address", target)
	}
	for _, target := range []string{"http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost:1/"} {
		require.NoError(t, load.CheckLoopback(target))
	}
}

// A slow answer does not slow the requests behind it.
func TestPaceKeepsItsRate(t *testing.T) {
	t.Parallel()
	var n atomic.Uint64
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		assert.NoError(t, err)
		assert.Equal(t, "POST hello yes", req.Method+" "+string(body)+" "+req.Header.Get("X-Here"))
		if n.Add(1) == 20 {
			close(release)
		}
		<-release // none is answered before all have come
	}))
	defer server.Close()
	r, err := load.Pace(t.Context(), []load.Request{{
		Method: http.MethodPost, URL: server.URL, Header: http.Header{"X-Here": {"yes"}}, Body: []byte("hello"),
	}}, 100, 200*time.Millisecond)
	require.NoError(t, err)
	assert.EqualValues(t, 20, r.Requests)
	assert.Zero(t, r.Failed)

	_, err = load.Pace(t.Context(), []load.Request{{Method: http.MethodGet, URL: "http://192.0.2.1/"}}, 1, time.Second)
	require.ErrorContains(t, err, "not a loopback address")
	_, err = load.Pace(t.Context(), []load.Request{{Method: http.MethodGet, URL: server.URL}}, load.MaxPerSecond+1, time.Second)
	require.ErrorContains(t, err, "1001 requests a second")
}
