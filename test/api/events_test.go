package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/test/api"
)

// listen runs a listener against a server and returns what it heard once it
// has heard n things.
func listen(t *testing.T, transport api.Transport, n int, handler http.HandlerFunc) ([]api.Event, error) {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	client, err := api.New(server.URL)
	require.NoError(t, err)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	var heard []api.Event
	l := &api.Listener{Client: client, Transport: transport, Base: func() string { return server.URL }, Hear: func(e api.Event) {
		if heard = append(heard, e); len(heard) == n {
			stop()
		}
	}}
	err = l.Run(ctx)
	return heard, err
}

func TestServerSentEventsGoOnAfterTheLastOneThatWasWhole(t *testing.T) {
	t.Parallel()
	var resumed []string
	heard, err := listen(t, api.SSE, 4, func(w http.ResponseWriter, req *http.Request) {
		resumed = append(resumed, req.Header.Get("Last-Event-ID"))
		if len(resumed) == 1 {
			_, _ = io.WriteString(w, "retry: 1\n\n:\n\nevent: ready\nid: 5-0\ndata: {}\n\nid: 5-1\ndata: {\"id\":\ndata: \"a\"}\n\nid: 5-2\ndata: {}\n")
			return // in the midst of an event
		}
		_, _ = io.WriteString(w, "id: 5-2\ndata: {}\n\nevent: resume\nretry: 1\ndata: {\"reason\":\"draining\"}\n\n")
	})
	require.NoError(t, err)
	require.Equal(t, []string{"", "5-1"}, resumed)
	var got []string
	for _, e := range heard {
		got = append(got, fmt.Sprintf("%s %s %s", e.Kind, e.ID, e.Data))
	}
	require.Equal(t, []string{"ready 5-0 {}", "message 5-1 {\"id\":\n\"a\"}", "message 5-2 {}", `resume  {"reason":"draining"}`}, got)
}

func TestAWebSocketGoesOnAfterTheLastEvent(t *testing.T) {
	t.Parallel()
	var resumed []string
	heard, err := listen(t, api.WebSocket, 3, func(w http.ResponseWriter, req *http.Request) {
		conn, err := websocket.Accept(w, req, nil)
		if err != nil {
			return
		}
		resumed = append(resumed, req.URL.Query().Get("last_event_id"))
		_ = conn.Write(req.Context(), websocket.MessageText, fmt.Appendf(nil, `{"event":"message","id":"5-%d","data":{}}`, len(resumed)))
		_ = conn.Close(websocket.StatusServiceRestart, "5-1")
	})
	require.NoError(t, err)
	require.Equal(t, []string{"", "5-1"}, resumed)
	require.Equal(t, []string{"message", "resume", "message"}, []string{heard[0].Kind, heard[1].Kind, heard[2].Kind})
}

func TestAListenerThatIsRefusedSaysSo(t *testing.T) {
	t.Parallel()
	for _, transport := range []api.Transport{api.SSE, api.WebSocket} {
		_, err := listen(t, transport, 1, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "log in first", http.StatusUnauthorized)
		})
		require.ErrorContains(t, err, "status 401: log in first")
	}
}
