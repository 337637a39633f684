package compress

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Static serves a file that never changes while the program runs, such as an
// embedded one, in every encoding from memory. Each form is a representation
// with a strong ETag of its own, so conditions and ranges hold byte for byte.
type Static struct {
	contentType string
	offers      []Encoding
	forms       map[Encoding]form
}

type form struct {
	bytes []byte
	tag   string
}

// NewStatic compresses content once, at levels a request could not afford:
// about 10 ms for 64 KiB. A form that saves less than a tenth is left out, as
// are all of what is shorter than Threshold. Whoever must not have its length
// betray its content must not use Static either.
func NewStatic(content []byte, contentType string) (*Static, error) {
	s := &Static{contentType: contentType, forms: map[Encoding]form{Identity: newForm(content)}}
	if len(content) < Threshold {
		return s, nil
	}
	for _, e := range []Encoding{Zstd, Brotli, Gzip} {
		var out bytes.Buffer
		w, err := best(e, &out)
		if err != nil {
			return nil, fmt.Errorf("make a %s encoder: %w", e, err)
		}
		if _, err := w.Write(content); err != nil {
			return nil, fmt.Errorf("compress %d bytes with %s: %w", len(content), e, err)
		}
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("compress %d bytes with %s: %w", len(content), e, err)
		}
		if out.Len() <= len(content)-len(content)/10 {
			s.offers = append(s.offers, e)
			s.forms[e] = newForm(bytes.Clone(out.Bytes()))
		}
	}
	return s, nil
}

// best returns a writer at a level for start-up. Of this service's OpenAPI
// document of 55 kB, Brotli at 9 would save 187 bytes more for three times the
// CPU and 30 MB, at 11 another 545 for 160 ms; zstd "best" 170 bytes for four
// times the CPU and 30 MB.
func best(e Encoding, to io.Writer) (io.WriteCloser, error) {
	switch e {
	case Zstd:
		return zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	case Brotli:
		return brotli.NewWriterLevel(to, 6), nil
	default:
		return gzip.NewWriterLevel(to, gzip.BestCompression)
	}
}

func newForm(b []byte) form {
	sum := sha256.Sum256(b)
	return form{bytes: b, tag: `"` + hex.EncodeToString(sum[:16]) + `"`}
}

// ServeHTTP answers GET and HEAD, with conditions and ranges of the form that
// Accept-Encoding chooses.
func (s *Static) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	if len(s.offers) > 0 {
		addVary(h)
	}
	encoding, _ := Negotiate(req.Header["Accept-Encoding"], s.offers...)
	f := s.forms[encoding]
	if encoding != Identity {
		h.Set("Content-Encoding", string(encoding))
	}
	h.Set("Content-Type", s.contentType)
	h.Set("Etag", f.tag)
	http.ServeContent(&sized{ResponseWriter: w, size: len(f.bytes)}, req, "", time.Time{}, bytes.NewReader(f.bytes))
}

// sized says how long a whole body is. net/http does not if it is encoded, as
// it cannot know who encodes it.
type sized struct {
	http.ResponseWriter
	size int
}

// Unwrap lets http.ResponseController reach the connection.
func (s *sized) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *sized) WriteHeader(status int) {
	switch status {
	case http.StatusOK:
		s.Header().Set("Content-Length", strconv.Itoa(s.size))
	case http.StatusPreconditionFailed: // has no body
		s.Header().Del("Content-Encoding")
		s.Header().Del("Content-Type")
	}
	s.ResponseWriter.WriteHeader(status)
}
