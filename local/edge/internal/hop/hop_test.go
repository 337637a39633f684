package hop_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/loadbearing/loadbearing/local/edge/internal/hop"
)

func TestUploadKnowsItsEnd(t *testing.T) {
	t.Parallel()
	if u := hop.NewUpload(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil), time.Minute, nil); u != nil || !u.Complete() {
		t.Error("a request without a body has an upload")
	}
	for name, length := range map[string]int64{"known length": 6, "chunked": -1} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("abcdef"))
		r.ContentLength = length
		u := hop.NewUpload(httptest.NewRecorder(), r, time.Minute, func() { t.Error("idle") })
		if _, err := io.ReadFull(u, make([]byte, 3)); err != nil || u.Complete() {
			t.Errorf("%s: after half of it: complete %v, %v", name, u.Complete(), err)
		}
		if rest, err := io.ReadAll(u); err != nil || string(rest) != "def" || !u.Complete() {
			t.Errorf("%s: %q, %v, complete %v", name, rest, err, u.Complete())
		}
	}
}

func TestUploadEndsWhenTheClientIsIdle(t *testing.T) {
	t.Parallel()
	idle := make(chan struct{}, 1)
	failed := make(chan error, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := hop.NewUpload(w, r, 50*time.Millisecond, func() { idle <- struct{}{} })
		_, err := io.Copy(io.Discard, u)
		failed <- err
		w.Header().Set("Connection", "close")
	}))
	defer srv.Close()
	body, upload := io.Pipe()
	defer func() { _ = upload.Close() }()
	go func() { _, _ = upload.Write([]byte("abc")) }()
	resp, err := http.Post(srv.URL, "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := <-failed; err == nil {
		t.Error("the copy ended without an error")
	}
	<-idle
}
