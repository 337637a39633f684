// Package api is a client of the service's HTTP contract, as a browser would
// be one: it keeps cookies. Terratest suites, benchmarks and drills use it.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"
)

// Client talks to one base URL with the cookies of one user.
type Client struct {
	base *url.URL
	http *http.Client
}

// New returns a client without a session.
func New(base string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("base URL %q: %w", base, err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	return &Client{base: u, http: &http.Client{Jar: jar, Transport: transport, Timeout: 2 * time.Minute}}, nil
}

// Cookies returns what the client would send to a path.
func (c *Client) Cookies(path string) []*http.Cookie {
	return c.http.Jar.Cookies(c.base.ResolveReference(&url.URL{Path: path}))
}

// CookieHeader returns what the client would send as Cookie to a path, for
// requests that something else sends.
func (c *Client) CookieHeader(path string) string {
	var pairs []string
	for _, cookie := range c.Cookies(path) {
		pairs = append(pairs, cookie.Name+"="+cookie.Value)
	}
	return strings.Join(pairs, "; ")
}

// SetCookies puts cookies into the client's jar.
func (c *Client) SetCookies(cookies []*http.Cookie) { c.http.Jar.SetCookies(c.base, cookies) }

// Response is an answer read whole.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// ServedBy returns who answered, as the service says of itself in X-Served-By,
// or nothing when an answer does not say so.
func ServedBy(h http.Header) (instance, color, version string) {
	parts := strings.Split(h.Get("X-Served-By"), "/")
	if len(parts) != 3 {
		return "", "", ""
	}
	return parts[0], parts[1], parts[2]
}

// Problem is an error answer (RFC 9457).
type Problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	RequestID string `json:"request_id"`
}

// Problem reads the answer as a problem; an error when it is not one.
func (r Response) Problem() (Problem, error) {
	if ct := r.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/problem+json") {
		return Problem{}, fmt.Errorf("status %d with content type %q is not a problem: %.200s", r.Status, ct, r.Body)
	}
	var p Problem
	if err := json.Unmarshal(r.Body, &p); err != nil {
		return Problem{}, err
	}
	return p, nil
}

// Decode reads the answer's JSON if it has the status wanted, else the error
// says what came instead.
func (r Response) Decode(want int, into any) error {
	if r.Status != want {
		return fmt.Errorf("status %d, want %d: %.500s", r.Status, want, r.Body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(r.Body, into)
}

// Do sends a request. A body that is an io.Reader goes as it is, any other as
// JSON. A path that is a whole URL is used as it stands.
func (c *Client) Do(ctx context.Context, method, path string, body any, header http.Header) (Response, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case io.Reader:
		reader = b
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return Response{}, err
		}
		reader = bytes.NewReader(data)
	}
	ref, err := url.Parse(path)
	if err != nil {
		return Response{}, err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.ResolveReference(ref).String(), reader)
	if err != nil {
		return Response{}, err
	}
	if header != nil {
		req.Header = header.Clone()
	}
	if reader != nil && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return Response{}, fmt.Errorf("read the body of %s %s: %w", method, path, err)
	}
	return Response{Status: res.StatusCode, Header: res.Header, Body: data}, nil
}

// Register makes a tenant with its owner.
func (c *Client) Register(ctx context.Context, tenant, email, password string) error {
	r, err := c.Do(ctx, http.MethodPost, "/v1/auth/register",
		map[string]string{"tenant_name": tenant, "email": email, "password": password}, nil)
	if err != nil {
		return err
	}
	return r.Decode(http.StatusCreated, nil)
}

// Login starts a session.
func (c *Client) Login(ctx context.Context, email, password string) error {
	r, err := c.Do(ctx, http.MethodPost, "/v1/auth/login", map[string]string{"email": email, "password": password}, nil)
	if err != nil {
		return err
	}
	return r.Decode(http.StatusOK, nil)
}

// Project is a project as the API shows it.
type Project struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// CreateProject makes a project of the caller's tenant.
func (c *Client) CreateProject(ctx context.Context, name string) (Project, error) {
	var p Project
	r, err := c.Do(ctx, http.MethodPost, "/v1/projects", map[string]string{"name": name}, nil)
	if err != nil {
		return p, err
	}
	return p, r.Decode(http.StatusCreated, &p)
}

// Rendition is one size of a resized image.
type Rendition struct {
	Width  int   `json:"width"`
	Height int   `json:"height"`
	Bytes  int64 `json:"bytes"`
}

// Job is an image job as the API shows it.
type Job struct {
	ID         string      `json:"id"`
	ImageID    string      `json:"image_id"`
	Status     string      `json:"status"`
	Reason     string      `json:"reason"`
	Renditions []Rendition `json:"renditions"`
}

// Video is a video as the API shows it.
type Video struct {
	ID      string `json:"id"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Bytes   int64  `json:"bytes"`
	Metered bool   `json:"metered"`
	Probe   *struct {
		Container string  `json:"container"`
		Seconds   float64 `json:"seconds"`
		Width     int     `json:"width"`
		Height    int     `json:"height"`
		Tracks    []struct {
			Kind  string `json:"kind"`
			Codec string `json:"codec"`
		} `json:"tracks"`
	} `json:"probe"`
}

// Await gets the resource at path until done says so and returns it. It gives
// up when ctx ends, and says what it saw last.
func Await[T any](ctx context.Context, c *Client, path string, done func(T) bool) (T, error) {
	var last T
	for {
		r, err := c.Do(ctx, http.MethodGet, path, nil, nil)
		if err == nil {
			var seen T
			if err = r.Decode(http.StatusOK, &seen); err == nil {
				if last = seen; done(seen) {
					return seen, nil
				}
			} else if r.Status < 500 {
				return last, fmt.Errorf("GET %s: %w", path, err)
			}
		}
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("waited for %s, last seen %+v: %w", path, last, errors.Join(context.Cause(ctx), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Final tells whether a job or video will not change any more.
func Final(status string) bool {
	return status == "done" || status == "ready" || status == "failed"
}
