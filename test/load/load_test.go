package load_test

import (
	"context"
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

// Until the context ends a constant load keeps its rate, and what is in flight
// then is answered and told of.
func TestConstantLoadsUntilItIsTold(t *testing.T) {
	t.Parallel()
	var got atomic.Int64
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := got.Add(1)
		if n == 20 {
			close(release)
		}
		<-release // the rate does not wait for answers
		w.Header().Set("X-Here", "yes")
		if n%2 == 0 {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-release
		cancel()
	}()
	var answers, failed int
	require.NoError(t, load.Constant(ctx, 100, func() load.Request {
		return load.Request{Method: http.MethodGet, URL: server.URL}
	}, func(a load.Answer) {
		answers++
		if a.Failed() {
			failed++
		}
		assert.Equal(t, "yes", a.Header.Get("X-Here"))
		assert.False(t, a.At.IsZero())
	}))
	assert.EqualValues(t, got.Load(), answers)
	assert.EqualValues(t, got.Load()/2, failed)
	assert.GreaterOrEqual(t, answers, 20)

	err := load.Constant(t.Context(), 0, nil, nil)
	require.ErrorContains(t, err, "0 requests a second; from 1 to 1000")
}

func TestConstantRefusesOtherMachines(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var said string
	require.NoError(t, load.Constant(ctx, 10, func() load.Request {
		return load.Request{Method: http.MethodGet, URL: "http://192.0.2.1/"}
	}, func(a load.Answer) {
		said = a.Error
		assert.True(t, a.Failed())
		cancel()
	}))
	require.Contains(t, said, "not a loopback address")
}
