package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/auth"
)

// refused tells whether err is one the client may see and can do something
// about, nil included.
func refused(t *testing.T, err error) bool {
	t.Helper()
	if status := statusOf(app.CodeOf(err)); err != nil && (status < 400 || status > 499) {
		t.Errorf("got %v, status %d, want a problem of the client or none", err, status)
	}
	return err != nil
}

// A file name of any header is one that every system takes, and comes back from
// Content-Disposition as it is.
func FuzzFilename(f *testing.F) {
	for _, seed := range []string{
		"clip.mp4", `C:\films\Zoë.mp4`, "../../etc/passwd", "=?utf-8?q?Zo=C3=AB.mp4?=", "=?utf-8?b?AA==?=", "a/ ", ". .", `a"b%41.mp4`, "\xff", strings.Repeat("é", 256),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		name, err := askedFilename(&http.Request{Header: http.Header{"X-Filename": {header}}})
		if refused(t, err) {
			return
		}
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\`) || strings.ContainsFunc(name, unicode.IsControl) ||
			!utf8.ValidString(name) || utf8.RuneCountInString(name) > maxFilename || strings.TrimSpace(name) != name {
			t.Errorf("%q became %q", header, name)
		}
		if again, why := cleanFilename(name); again != name || why != "" {
			t.Errorf("%q became %q (%s)", name, again, why)
		}
		kind, params, err := mime.ParseMediaType(disposition(name))
		if err != nil || kind != "inline" || params["filename"] != name {
			t.Errorf("%q is sent as %q and read as %q (%v)", name, disposition(name), params["filename"], err)
		}
	})
}

// A query is refused or gives widths, a page and a cursor within their bounds.
func FuzzQuery(f *testing.F) {
	keys, err := auth.NewKeys(strings.Repeat("k", 32))
	if err != nil {
		f.Fatal(err)
	}
	list := auth.List{Tenant: uuid.Max, Kind: "videos"}
	for _, seed := range []string{
		"", "widths=320,1280", "widths=16,16,4096", "widths=%2b16", "widths=1e3", "widths=,", "limit=200", "limit=-1", "limit=+1", "a;b", "%zz", "limit=1&limit=2",
		"cursor=" + keys.Cursor(list, uuid.Max), "q=%00", "q=two+words",
	} {
		f.Add(seed)
	}
	a := &api{Options: Options{Keys: keys}}
	f.Fuzz(func(t *testing.T, query string) {
		req := &http.Request{URL: &url.URL{RawQuery: query}}
		widths, err := askedWidths(req)
		if !refused(t, err) {
			if len(widths) == 0 || len(widths) > MaxWidths || !slices.IsSorted(widths) || len(slices.Compact(slices.Clone(widths))) != len(widths) ||
				widths[0] < MinWidth || widths[len(widths)-1] > MaxWidth {
				t.Errorf("%q asks for %v", query, widths)
			}
		}
		page, limit, err := a.page(req, list, "q")
		if !refused(t, err) {
			if limit < 1 || limit > maxLimit || page.Limit != limit+1 {
				t.Errorf("%q asks for %d, and %d are read", query, limit, page.Limit)
			}
			if page.After != uuid.Nil && req.URL.Query().Get("cursor") != keys.Cursor(list, page.After) {
				t.Errorf("%q has a cursor that was not given out", query)
			}
		}
	})
}

// A body is refused or is what its digests name.
func FuzzDigest(f *testing.F) {
	sum := sha256.Sum256([]byte("abc"))
	right := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	for _, seed := range []string{
		"", right, "md5=:AAAA:, " + right, "sha-256=:AAAA:", "sha-256", "sha-256=?1", `sha-256="AAAA"`, "sha-256=(:AAAA:)", "sha-512=:" + strings.Repeat("A", 86) + "==:",
		right + ";a=b", "sha-256=1, " + right,
	} {
		f.Add(seed, "abc", false)
		f.Add(seed, "abd", true)
	}
	f.Fuzz(func(t *testing.T, field, body string, trailer bool) {
		req := &http.Request{Header: http.Header{"Content-Digest": {field}}}
		if trailer {
			req = &http.Request{Trailer: req.Header}
		}
		read := func(req *http.Request) error {
			var failed error
			r, err := verifyDigests(req, strings.NewReader(body), func(err error) { failed = err })
			if err != nil {
				return err
			}
			got, err := io.ReadAll(r)
			if string(got) != body || !errors.Is(err, failed) {
				t.Errorf("read %q and %v of %q, and told of %v", got, err, body, failed)
			}
			return err
		}
		sum := sha256.Sum256([]byte(body))
		err := read(req)
		if !refused(t, err) {
			named, alone := strings.CutPrefix(strings.TrimSuffix(field, ":"), "sha-256=:")
			if got, decoded := base64.StdEncoding.DecodeString(named); alone && decoded == nil && !bytes.Equal(got, sum[:]) {
				t.Errorf("%q was taken for a body with digest %x", field, sum)
			}
		}
		// One beside it that is right changes nothing.
		beside := &http.Request{Header: req.Header.Clone(), Trailer: req.Trailer}
		if beside.Header == nil {
			beside.Header = http.Header{}
		}
		beside.Header.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
		if again := read(beside); (again == nil) != (err == nil) {
			t.Errorf("%q is %v, and %v beside a digest that is right", field, err, again)
		}
	})
}

// ranged serves data and counts the bytes it was asked for.
type ranged struct {
	app.Objects
	data  []byte
	asked int
}

func (r *ranged) Get(_ context.Context, _, rng string) (app.Object, error) {
	first, last := 0, len(r.data)-1
	if rng != "" {
		if _, err := fmt.Sscanf(rng, "bytes=%d-%d", &first, &last); err != nil || first > last || last >= len(r.data) {
			return app.Object{}, app.Errorf(app.CodeInternal, "asked for %s of %d bytes", rng, len(r.data))
		}
	}
	r.asked += last + 1 - first
	return app.Object{ReadCloser: io.NopCloser(bytes.NewReader(r.data[first : last+1])), Bytes: int64(last + 1 - first)}, nil
}

// A download answers to one range and to its conditions as net/http does to
// those of a file, to others with the whole, and asks the store for no byte
// that it does not send.
func FuzzRange(f *testing.F) {
	modified := time.Unix(1_000_000_000, 0)
	for _, seed := range []string{
		"bytes=0-9", "bytes=5-", "bytes=-5", "bytes=9-5", "bytes=0-0,2-3", "bytes=-0", "bytes=99999999999999999999-", "bytes= 1-2", "bytes=1-2 ", "lines=1-2", "bytes=1-9223372036854775807", "Bytes=1-2", "",
	} {
		f.Add(seed, "", "")
		f.Add(seed, `"x"`, `"x"`)
		f.Add(seed, modified.UTC().Format(http.TimeFormat), `W/"x", *`)
	}
	data := []byte("0123456789abcdefghij")
	f.Fuzz(func(t *testing.T, rng, ifRange, ifNoneMatch string) {
		header := http.Header{}
		for name, value := range map[string]string{"Range": rng, "If-Range": ifRange, "If-None-Match": ifNoneMatch} {
			if value != "" {
				header.Set(name, value)
			}
		}
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header = header
		store := &ranged{data: data}
		a := &api{Options: Options{Objects: store, StallTimeout: stallTimeout}}
		got := httptest.NewRecorder()
		err := a.serveObject(got, req, object{bytes: int64(len(data)), contentType: "video/mp4", modified: modified, tag: "x"})

		plain := req.Clone(t.Context())
		if strings.Contains(rng, ",") || !strings.HasPrefix(rng, "bytes=") {
			plain.Header.Del("Range")
		}
		want := httptest.NewRecorder()
		want.Header().Set("Content-Type", "video/mp4")
		want.Header().Set("Etag", `"x"`)
		http.ServeContent(want, plain, "", modified, bytes.NewReader(data))
		if refused(t, err) {
			if status := statusOf(app.CodeOf(err)); status != want.Code {
				t.Errorf("%d, want %d", status, want.Code)
			}
			got.Body.Reset()
			want.Body.Reset()
		} else if got.Code != want.Code || got.Header().Get("Content-Range") != want.Header().Get("Content-Range") {
			t.Errorf("%d with %v, want %d with %v", got.Code, got.Header(), want.Code, want.Header())
		}
		if got.Body.String() != want.Body.String() {
			t.Errorf("sent %q, want %q", got.Body, want.Body)
		}
		// Only with If-Range it is not known beforehand where a range ends.
		if store.asked != got.Body.Len() && ifRange == "" && !strings.Contains(rng, " ") {
			t.Errorf("asked the store for %d bytes and sent %d", store.asked, got.Body.Len())
		}
	})
}

// A JSON body is refused or is what it says, and an upload in parts that is
// accepted has parts that S3 takes and that add up.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"filename":"a.mp4","content_type":"video/mp4","bytes":1000}`, `{"content_type":"video/webm","bytes":9223372036854775807,"part_bytes":1073741824}`,
		`{"bytes":-1}`, `{"bytes":1e3}`, `{"bytes":1}{}`, `{"bytes":1,"Bytes":2}`, `{"unknown":1}`, `null`, ``, `{"filename":"\u0000"}`, strings.Repeat(`[`, 20_000),
	} {
		f.Add("application/json", seed)
	}
	f.Add("application/json; charset=utf-8", "{}")
	f.Add("application/json;;;", "{}")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		const limit = 5 << 30
		read := func(body string) (newUpload, error) {
			return readJSON[newUpload](&http.Request{Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body))})
		}
		in, err := read(body)
		if refused(t, err) {
			return
		}
		if !json.Valid([]byte(body)) {
			t.Errorf("%q is no JSON", body)
		}
		written, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := read(string(written)); err != nil || again != in {
			t.Errorf("%+v was read again as %+v (%v)", in, again, err)
		}
		if refused(t, in.check(limit)) {
			return
		}
		u := app.Upload{Bytes: in.Bytes, PartBytes: in.PartBytes}
		if parts := u.Parts(); parts < 1 || parts > maxParts || int64(parts-1)*in.PartBytes+u.PartSize(parts) != in.Bytes || u.PartSize(parts) < 1 || in.Bytes > limit {
			t.Errorf("%+v has %d parts, the last of %d bytes", in, parts, u.PartSize(parts))
		}
	})
}
