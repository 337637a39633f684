package httpapi

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"

	"github.com/dunglas/httpsfv"

	"github.com/loadbearing/loadbearing/app"
)

// codeDigestMismatch says that a body is not the one its digest names.
const codeDigestMismatch app.Code = "digest_mismatch"

// digestFields are the fields that name a body's digest (RFC 9530). Bodies here
// have no content coding and are whole, so both mean the same bytes.
func digestFields() []string { return []string{"Content-Digest", "Repr-Digest"} }

// newHash returns the hash of a digest algorithm, nil for one that is not
// verified: the deprecated ones, which prove nothing, and unknown ones, which
// RFC 9530, 2, lets a recipient ignore.
func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "sha-256":
		return sha256.New()
	case "sha-512":
		return sha512.New()
	}
	return nil
}

// digestReader verifies a body while it is read: instead of its end, a body
// that is another one has an error.
type digestReader struct {
	io.Reader
	trailer http.Header // filled when the body has ended
	hashes  map[string]hash.Hash
	want    []digest
	failed  func(error)
}

type digest struct {
	field, algorithm string
	sum              []byte
}

// verifyDigests returns body, verified against the digests of req's header and
// of its trailer if that was announced to have any.
func verifyDigests(req *http.Request, body io.Reader, failed func(error)) (io.Reader, error) {
	d := &digestReader{Reader: body, trailer: req.Trailer, hashes: map[string]hash.Hash{}, failed: failed}
	if err := d.expect(req.Header); err != nil {
		return nil, err
	}
	for _, want := range d.want {
		d.hashes[want.algorithm] = newHash(want.algorithm)
	}
	for _, field := range digestFields() {
		if _, announced := req.Trailer[field]; announced {
			for _, algorithm := range []string{"sha-256", "sha-512"} {
				d.hashes[algorithm] = newHash(algorithm)
			}
		}
	}
	if len(d.hashes) == 0 {
		return body, nil
	}
	return d, nil
}

// expect adds the digests of a header or a trailer.
func (d *digestReader) expect(h http.Header) error {
	for _, field := range digestFields() {
		values := h.Values(field)
		if len(values) == 0 {
			continue
		}
		members, err := httpsfv.UnmarshalDictionary(values)
		if err != nil {
			return invalid(field, "must be a dictionary of digests such as sha-256=:…: (RFC 9530)")
		}
		for _, algorithm := range members.Names() {
			h := newHash(algorithm)
			if h == nil {
				continue
			}
			member, _ := members.Get(algorithm)
			item, ok := member.(httpsfv.Item)
			sum, isBytes := item.Value.([]byte)
			if !ok || !isBytes || len(sum) != h.Size() {
				return invalid(field, fmt.Sprintf("must have %d bytes in base64 between colons for %s", h.Size(), algorithm))
			}
			d.want = append(d.want, digest{field, algorithm, sum})
		}
	}
	return nil
}

func (d *digestReader) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	for _, h := range d.hashes {
		h.Write(p[:n])
	}
	if errors.Is(err, io.EOF) {
		if wrong := d.verify(); wrong != nil {
			d.failed(wrong)
			return n, wrong
		}
	}
	return n, err
}

func (d *digestReader) verify() error {
	if err := d.expect(d.trailer); err != nil {
		return err
	}
	d.trailer = nil
	for _, want := range d.want {
		if !bytes.Equal(want.sum, d.hashes[want.algorithm].Sum(nil)) {
			return app.Errorf(codeDigestMismatch, "the body is not the one that %s names with %s; nothing was stored", want.field, want.algorithm)
		}
	}
	return nil
}
