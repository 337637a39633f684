package compress

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// writer decides, as late as it must, whether an answer is compressed.
type writer struct {
	http.ResponseWriter
	compressor *Compressor
	head       bool
	encoding   Encoding // what the client prefers
	plain      bool     // the client takes the body as it is
	noneMatch  []string // as the client sent it

	status  int    // what the handler said; 0 before
	decided bool   // the header has been sent
	held    []byte // of the body, before the decision
	encoded bool
	kind    kind
	encoder *encoder // nil for HEAD
	in      int      // bytes that went into encoder
}

// Unwrap lets http.ResponseController reach the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader sends the header, or holds it back until it is known whether the
// body is long enough.
func (w *writer) WriteHeader(status int) {
	if status < http.StatusOK && status != http.StatusSwitchingProtocols {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.status != 0 {
		return
	}
	w.status = status
	h := w.Header()
	switch {
	case status == http.StatusNotModified:
		w.notModified()
		w.send()
	case !negotiable(status, h):
		w.send()
	case h.Get("Content-Length") != "":
		n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
		if err != nil || n == 0 {
			addVary(h)
			w.send()
			return
		}
		w.decide(n >= int64(w.compressor.threshold), true)
	}
}

// negotiable tells whether an answer has a body that could be encoded.
func negotiable(status int, h http.Header) bool {
	switch status {
	case http.StatusSwitchingProtocols, http.StatusNoContent, http.StatusResetContent, http.StatusPartialContent:
		return false
	}
	for _, name := range []string{"Content-Encoding", "Content-Range", "Set-Cookie", "Content-Digest", "Repr-Digest", "Content-Md5", "Digest"} {
		if h.Get(name) != "" {
			return false
		}
	}
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return (media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")) &&
		!strings.Contains(strings.ToLower(strings.Join(h["Cache-Control"], ",")), "no-transform")
}

// notModified gives a 304 the header that the 200 would have (RFC 9110,
// 15.4.5), with the tag that the client has.
func (w *writer) notModified() {
	h := w.Header()
	addVary(h)
	tag := tagOf(h.Get("Etag"), w.encoding)
	for _, value := range w.noneMatch {
		if tag != "" && strings.Contains(value, tag) {
			h.Set("Etag", tag)
		}
	}
}

// decide sends the header of an answer that is negotiable.
func (w *writer) decide(compress, lengthKnown bool) {
	h := w.Header()
	addVary(h)
	if w.encoding != Identity && (compress || !w.plain) {
		w.kind = kindOf(w.encoding, lengthKnown)
		if !w.head {
			w.encoder = w.compressor.acquire(w.kind)
		}
		if w.encoded = w.head || w.encoder != nil; w.encoded {
			h.Set("Content-Encoding", string(w.encoding))
			h.Del("Content-Length")
			h.Del("Accept-Ranges") // ranges are of the body as it is
			if tag := tagOf(h.Get("Etag"), w.encoding); tag != "" {
				h.Set("Etag", tag)
			}
		}
	}
	w.send()
}

func (w *writer) send() {
	w.decided = true
	w.ResponseWriter.WriteHeader(w.status)
}

// tagOf returns a strong tag's form for an encoding, "" if the tag is weak: a
// weak one stands for any form of the same content.
func tagOf(tag string, e Encoding) string {
	if e == Identity || len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return ""
	}
	return tag[:len(tag)-1] + suffix(e)
}

// addVary says that the answer depends on Accept-Encoding, also if this one is
// not encoded: a cache must not give it to everyone.
func addVary(h http.Header) {
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Accept-Encoding") {
				return
			}
		}
	}
	h.Add("Vary", "Accept-Encoding")
}

// Write holds p back, compresses it or sends it as it is.
func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.decided {
		if len(w.held)+len(p) < w.compressor.threshold {
			w.held = append(w.held, p...)
			return len(p), nil
		}
		w.decide(true, false)
		if err := w.sendHeld(); err != nil {
			return 0, err
		}
	}
	return w.write(p)
}

func (w *writer) sendHeld() error {
	held := w.held
	w.held = nil
	if len(held) == 0 {
		return nil
	}
	_, err := w.write(held)
	return err
}

func (w *writer) write(p []byte) (n int, err error) {
	switch {
	case !w.encoded:
		return w.ResponseWriter.Write(p)
	case w.head:
		return len(p), nil
	}
	for part := range slices.Chunk(p, piece) {
		w.in += len(part)
		err := w.compress(func() error {
			_, err := w.encoder.Write(part)
			return err
		})
		if err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// compress runs f and sends what came out.
func (w *writer) compress(f func() error) error {
	if err := w.compressor.run(w.in > small, f); err != nil {
		return err
	}
	out := &w.encoder.out
	if out.Len() == 0 {
		return nil
	}
	_, err := w.ResponseWriter.Write(out.Bytes())
	out.Reset()
	return err
}

// Flush is FlushError for those who do not look at the error.
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError sends what there is to the client. Before the threshold it says
// that the answer is a stream, which is not compressed. With Brotli, an answer
// that declared its length has blocks of 64 KiB, of which only whole ones are
// sent.
func (w *writer) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.decided {
		w.decide(false, false)
		if err := w.sendHeld(); err != nil {
			return err
		}
	}
	if w.encoder != nil {
		if f, ok := w.encoder.stream.(interface{ Flush() error }); ok {
			if err := w.compress(f.Flush); err != nil {
				return err
			}
		}
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// finish sends what is held back and ends the encoded body.
func (w *writer) finish() error {
	if w.status != 0 && !w.decided {
		if err := w.sendShort(); err != nil {
			return err
		}
	}
	if w.encoder == nil {
		return nil
	}
	if err := w.compress(w.encoder.Close); err != nil {
		return err
	}
	w.compressor.release(w.kind, w.encoder, true)
	w.encoder = nil
	return nil
}

// sendShort sends an answer that ended before the threshold.
func (w *writer) sendShort() error {
	h := w.Header()
	if len(w.held) == 0 {
		addVary(h)
		w.send()
		return nil
	}
	h.Set("Content-Length", strconv.Itoa(len(w.held)))
	w.decide(false, true)
	return w.sendHeld()
}

// abandon drops what finish did not end. A half-written encoder is not used
// again.
func (w *writer) abandon() {
	if w.encoder != nil {
		w.compressor.release(w.kind, w.encoder, false)
		w.encoder = nil
	}
}
