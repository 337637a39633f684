package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Tap stands between one process and the emulator and shows which calls to AWS
// pass: so the step that a process is at is known from outside, and nothing has
// to be built into the program that is drilled.
type Tap struct {
	URL string // the process' AWS_ENDPOINT_URL

	server *http.Server
	mu     sync.Mutex
	watch  func(Call) error
}

// Call is a call to AWS that passes a tap.
type Call struct {
	Service   string // as in the signature's scope: "s3", "sqs", "sns", "ssm"
	Operation string // as AWS names it: "ReceiveMessage"; of S3 Get, Put, Head, Delete and Post with "Object"
	Path      string // of the URL: bucket and key for S3
	Answered  bool   // AWS has done it and its answer is about to be passed on
	Answer    []byte // when answered, what was: the first 64 KiB
}

// NewTap returns a tap in front of a loopback endpoint. watch is called with
// each call twice, before it is passed on and before its answer is; the call
// waits for it. An error is what the process gets instead, as a 500 of AWS. It
// may be nil.
func NewTap(ctx context.Context, endpoint string, watch func(Call) error) (*Tap, error) {
	target, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("tap %q: %w", endpoint, err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("tap %s: %w", endpoint, err)
	}
	t := &Tap{URL: "http://" + listener.Addr().String(), watch: watch}
	proxy := &httputil.ReverseProxy{
		// The Host stays the tap's: it is part of what is signed.
		Rewrite:        func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host },
		ModifyResponse: t.answered,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, err error) { refuse(w, err) },
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // processes that are killed in a call are what it is for
		FlushInterval:  -1,
		Transport:      &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 5 * time.Second},
	}
	t.server = &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			call, err := identify(req)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			if err := t.tell(call); err != nil {
				refuse(w, err)
				return
			}
			proxy.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), callKey{}, call)))
		}),
		ErrorLog: proxy.ErrorLog,
	}
	go func() { _ = t.server.Serve(listener) }()
	return t, nil
}

type callKey struct{}

// Watch has another function told of the calls, nil none.
func (t *Tap) Watch(watch func(Call) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watch = watch
}

// Close ends the tap and every call through it.
func (t *Tap) Close() { _ = t.server.Close() }

func (t *Tap) tell(c Call) error {
	t.mu.Lock()
	watch := t.watch
	t.mu.Unlock()
	if watch == nil {
		return nil
	}
	return watch(c)
}

// refuse answers as S3 does when something is wrong with it; the other services
// are known by their status alone.
func refuse(w http.ResponseWriter, why error) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprintf(w, "<Error><Code>InternalError</Code><Message>%s</Message></Error>", why)
}

// answered shows an answer before it is passed on.
func (t *Tap) answered(res *http.Response) error {
	call, _ := res.Request.Context().Value(callKey{}).(Call)
	call.Answered = true
	head := make([]byte, 64<<10)
	if res.ContentLength >= 0 && res.ContentLength < int64(len(head)) {
		head = head[:res.ContentLength]
	}
	// Objects are passed on as they come; everything else is small.
	if call.Service != "s3" {
		n, err := io.ReadFull(res.Body, head)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		call.Answer = head[:n]
		rest := res.Body
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(call.Answer), rest), rest}
	}
	return t.tell(call)
}

// identify says which call a request is.
func identify(req *http.Request) (Call, error) {
	c := Call{Path: req.URL.Path}
	// Credential=AKIA…/20261128/us-east-1/sqs/aws4_request
	if _, rest, ok := strings.Cut(req.Header.Get("Authorization"), "Credential="); ok {
		if scope := strings.Split(rest, "/"); len(scope) > 3 {
			c.Service = scope[3]
		}
	}
	switch target := req.Header.Get("X-Amz-Target"); {
	case target != "":
		c.Operation = target[strings.LastIndex(target, ".")+1:]
	case c.Service == "s3":
		c.Operation = req.Method[:1] + strings.ToLower(req.Method[1:]) + "Object"
	case strings.HasPrefix(req.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		body, err := io.ReadAll(io.LimitReader(req.Body, 4<<20))
		if err != nil {
			return c, fmt.Errorf("read a call to %s: %w", c.Service, err)
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return c, fmt.Errorf("read a call to %s: %w", c.Service, err)
		}
		c.Operation = form.Get("Action")
	}
	return c, nil
}
