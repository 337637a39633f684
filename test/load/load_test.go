package load_test

import (
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
