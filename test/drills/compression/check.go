package compression

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	brotlilib "github.com/andybalholm/brotli"
	gziplib "github.com/klauspost/compress/gzip"
	zstdlib "github.com/klauspost/compress/zstd"

	"github.com/loadbearing/loadbearing/app/mediatest"
	"github.com/loadbearing/loadbearing/test/api"
)

// checker collects what is wrong with the answers of an instance.
type checker struct {
	ctx      context.Context
	user     *api.Client
	instance string
	header   http.Header
	wrong    []error
}

func (c *checker) fail(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Errorf(format, args...))
}

// ask sends a request to the instance, with pairs of header names and values.
// A status that is not wanted is wrong.
func (c *checker) ask(want int, method, path, accept string, headers ...string) api.Response {
	h := c.header.Clone()
	h.Set("Accept-Encoding", accept)
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	r, err := c.user.Do(c.ctx, method, c.instance+path, nil, h)
	if err != nil {
		c.fail("%s %s as %s: %w", method, path, accept, err)
	} else if r.Status != want {
		c.fail("%s %s as %s with %q: status %d, want %d: %.200s", method, path, accept, headers, r.Status, want, r.Body)
	}
	return r
}

// same checks a value of an answer.
func (c *checker) same(what string, got, want any) {
	if !reflect.DeepEqual(got, want) {
		c.fail("%s is %.200v, want %.200v", what, got, want)
	}
}

// encoded gets what must be compressed and decodes to plain, and asks for it
// with HEAD.
func (c *checker) encoded(path, encoding string, plain []byte) api.Response {
	r := c.ask(http.StatusOK, http.MethodGet, path, encoding)
	c.same(path+" as "+encoding+": Content-Encoding", r.Header.Get("Content-Encoding"), encoding)
	c.same(path+" as "+encoding+": Vary", r.Header.Get("Vary"), "Accept-Encoding")
	if body, err := decode(encoding, r.Body); err != nil {
		c.fail("%s as %s: decode: %w", path, encoding, err)
	} else if !bytes.Equal(body, plain) {
		c.fail("%s as %s: decodes to %d bytes, which are not the %d of the answer without encoding", path, encoding, len(body), len(plain))
	}
	c.headLike(path, encoding, r)
	return r
}

// headLike checks that HEAD answers with the header of GET (RFC 9110, 9.3.2),
// which may leave out a length that only making the body would tell.
func (c *checker) headLike(path, encoding string, get api.Response) {
	head := c.ask(http.StatusOK, http.MethodHead, path, encoding)
	got, want := settled(head.Header), settled(get.Header)
	if got.Get("Content-Length") == "" {
		want.Del("Content-Length")
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		c.same("HEAD "+path+" as "+encoding+": "+name, got[name], want[name])
		delete(want, name)
	}
	for name := range want {
		c.fail("HEAD %s as %s: %s is missing", path, encoding, name)
	}
}

// settled returns a header without what differs from answer to answer.
func settled(h http.Header) http.Header {
	h = maps.Clone(h)
	for _, name := range []string{"Date", "Server-Timing", "X-Request-Id"} {
		h.Del(name)
	}
	return h
}

// list measures the list in every encoding.
func (c *checker) list(f *Figures) {
	plain := c.ask(http.StatusOK, http.MethodGet, listPath, identity)
	c.same("the list: Content-Encoding", plain.Header.Get("Content-Encoding"), "")
	c.same("the list: Vary", plain.Header.Get("Vary"), "Accept-Encoding")
	c.headLike(listPath, identity, plain)
	f.ListBytes = len(plain.Body)
	if f.ListBytes < 1<<20 {
		c.fail("the list has %d bytes, want a megabyte: %.200s", f.ListBytes, plain.Body)
	}
	for _, e := range encodings() {
		f.Wire[e] = float64(len(c.encoded(listPath, e, plain.Body).Body)) / float64(f.ListBytes)
		// The edge must hand over what the instance made.
		through, err := c.user.Do(c.ctx, http.MethodGet, listPath, nil, http.Header{"Accept-Encoding": {e}})
		if err != nil {
			c.fail("the list as %s through the edge: %w", e, err)
			continue
		}
		c.same("the list through the edge: Content-Encoding", through.Header.Get("Content-Encoding"), e)
		if body, err := decode(e, through.Body); err != nil || !bytes.Equal(body, plain.Body) {
			c.fail("the list as %s through the edge is another one: %d bytes, %v", e, len(body), err)
		}
	}
}

// project checks the tags of what has one in every encoding.
func (c *checker) project(id string) {
	path := "/v1/projects/" + id
	plain := c.ask(http.StatusOK, http.MethodGet, path, identity)
	tags := map[string]string{identity: plain.Header.Get("Etag")}
	for _, e := range encodings() {
		tags[e] = c.encoded(path, e, plain.Body).Header.Get("Etag")
	}
	c.tags(path, tags)
}

// tags checks that every form has a strong tag of its own, and that a client
// that has one form is told so only when it would get that form.
func (c *checker) tags(path string, tags map[string]string) {
	seen := map[string]string{}
	for e, tag := range tags {
		if !strings.HasPrefix(tag, `"`) {
			c.fail("%s as %s: ETag %q is not a strong one", path, e, tag)
		}
		if other, ok := seen[tag]; ok {
			c.fail("%s has the ETag %s as %s and as %s, whose bytes differ", path, tag, e, other)
		}
		seen[tag] = e
		again := c.ask(http.StatusNotModified, http.MethodGet, path, e, "If-None-Match", tag)
		c.same(path+" not modified as "+e+": ETag", again.Header.Get("Etag"), tag)
		c.same(path+" not modified as "+e+": Vary", again.Header.Get("Vary"), "Accept-Encoding")
		for _, other := range encodings() {
			if other != e && e != identity {
				c.ask(http.StatusOK, http.MethodGet, path, other, "If-None-Match", tag)
			}
		}
	}
}

// small checks that what fits one segment is sent as it is.
func (c *checker) small(id string) {
	for _, path := range []string{"/v1/projects/" + id, "/v1/me"} {
		plain := c.ask(http.StatusOK, http.MethodGet, path, identity)
		for _, e := range encodings() {
			r := c.ask(http.StatusOK, http.MethodGet, path, e)
			c.same(path+" as "+e+": Content-Encoding", r.Header.Get("Content-Encoding"), "")
			c.same(path+" as "+e+": body", r.Body, plain.Body)
		}
	}
}

// document checks the file that is compressed at start-up, whose forms have
// lengths and ranges.
func (c *checker) document() {
	const path = "/v1/openapi.json"
	plain := c.ask(http.StatusOK, http.MethodGet, path, identity)
	tags := map[string]string{identity: plain.Header.Get("Etag")}
	for _, e := range encodings() {
		r := c.encoded(path, e, plain.Body)
		tags[e] = r.Header.Get("Etag")
		c.same(path+" as "+e+": Content-Length", r.Header.Get("Content-Length"), fmt.Sprint(len(r.Body)))
		part := c.ask(http.StatusPartialContent, http.MethodGet, path, e, "Range", "bytes=100-299", "If-Range", tags[e])
		if len(r.Body) >= 300 {
			c.same(path+" as "+e+": bytes 100 to 299", part.Body, r.Body[100:300])
		}
	}
	c.tags(path, tags)
}

// video checks that a stream and its ranges are the bytes that were sent.
func (c *checker) video(project string) {
	movie := mediatest.Movie{}.MP4()
	r, err := c.user.Do(c.ctx, http.MethodPost, "/v1/projects/"+project+"/videos", bytes.NewReader(movie), http.Header{"Content-Type": {"video/mp4"}})
	if err != nil {
		c.fail("upload a video: %w", err)
		return
	}
	var v api.Video
	if err := r.Decode(http.StatusAccepted, &v); err != nil {
		c.fail("upload a video: %w", err)
		return
	}
	path := "/v1/videos/" + v.ID + "/content"
	for _, e := range slices.Concat(encodings(), []string{"gzip, br, zstd, identity;q=0"}) {
		whole := c.ask(http.StatusOK, http.MethodGet, path, e)
		c.same(path+" as "+e+": Content-Encoding", whole.Header.Get("Content-Encoding"), "")
		c.same(path+" as "+e+": Content-Length", whole.Header.Get("Content-Length"), fmt.Sprint(len(movie)))
		c.same(path+" as "+e+": is what was sent", bytes.Equal(whole.Body, movie), true)
		c.headLike(path, e, whole)
		part := c.ask(http.StatusPartialContent, http.MethodGet, path, e, "Range", "bytes=10-1209")
		c.same(path+" as "+e+": Content-Range", part.Header.Get("Content-Range"), fmt.Sprintf("bytes 10-1209/%d", len(movie)))
		c.same(path+" as "+e+": bytes 10 to 1209", bytes.Equal(part.Body, movie[10:1210]), true)
		c.ask(http.StatusNotModified, http.MethodGet, path, e, "If-None-Match", whole.Header.Get("Etag"))
	}
	var status struct{ Type string }
	refused := c.ask(http.StatusRequestedRangeNotSatisfiable, http.MethodGet, path, gzip, "Range", "bytes=999999999-")
	c.same(path+" beyond its end: Content-Encoding", refused.Header.Get("Content-Encoding"), "")
	if err := json.Unmarshal(refused.Body, &status); err != nil {
		c.fail("%s beyond its end: %w", path, err)
	}
}

func decode(encoding string, body []byte) ([]byte, error) {
	var r io.Reader = bytes.NewReader(body)
	switch encoding {
	case zstd:
		d, err := zstdlib.NewReader(r, zstdlib.WithDecoderMaxWindow(8<<20)) // RFC 9659
		if err != nil {
			return nil, err
		}
		defer d.Close()
		r = d
	case brotli:
		r = brotlilib.NewReader(r)
	case gzip:
		d, err := gziplib.NewReader(r)
		if err != nil {
			return nil, err
		}
		r = d
	}
	return io.ReadAll(r)
}
