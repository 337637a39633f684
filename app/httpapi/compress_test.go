package httpapi_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/httpapi"
)

// encoded asks with the user's cookies for what Go's client would else decode, and
// so hide.
func (u *user) encoded(method, path, accept string, headers ...string) (*http.Response, []byte) {
	u.t.Helper()
	res, err := u.client.Do(u.request(method, path, nil, append([]string{"Accept-Encoding", accept}, headers...)...))
	require.NoError(u.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(u.t, err)
	return res, body
}

func TestAListIsCompressedAndItsTagsWork(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u := s.owner()
	var p project
	u.post("/v1/projects", map[string]string{"name": "Long", "description": strings.Repeat("Straighten the horizon. ", 300)}).want(201).into(&p)
	path := "/v1/projects/" + p.ID

	plain, want := u.encoded("GET", "/v1/projects", "identity")
	require.Equal(t, "Accept-Encoding", plain.Header.Get("Vary"))
	list, body := u.encoded("GET", "/v1/projects", "gzip, deflate, br, zstd")
	require.Equal(t, "zstd", list.Header.Get("Content-Encoding"))
	require.Equal(t, "Accept-Encoding", list.Header.Get("Vary"))
	require.Less(t, 10*len(body), len(want))
	d, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer d.Close()
	got, err := d.DecodeAll(body, nil)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
	head, _ := u.encoded("HEAD", "/v1/projects", "zstd")
	require.Equal(t, "zstd", head.Header.Get("Content-Encoding"))

	// What was read in one encoding can be asked for again and be changed, also
	// with a client that sends another Accept-Encoding.
	for version, encoding := range []string{"identity", "zstd", "br", "gzip"} {
		tag := fmt.Sprintf(`"%d-%s"`, version+1, encoding)
		if encoding == "identity" {
			tag = `"1"`
		}
		one, _ := u.encoded("GET", path, encoding)
		require.Equal(t, tag, one.Header.Get("Etag"))
		again, _ := u.encoded("GET", path, encoding, "If-None-Match", `"0", W/`+tag)
		require.Equal(t, 304, again.StatusCode)
		require.Equal(t, tag, again.Header.Get("Etag"))
		require.Equal(t, "Accept-Encoding", again.Header.Get("Vary"))
		change := map[string]string{"name": "Longer"}
		u.json("PATCH", path, change, "If-Match", "W/"+tag).problem(412, "precondition_failed")
		u.json("PATCH", path, change, "If-Match", tag).want(200)
		u.json("PATCH", path, change, "If-Match", tag).problem(412, "precondition_failed")
	}
}

// TestSecretsAreNotCompressed sends what could be compressed well through every
// route that is marked, and through errors, which quote the request.
func TestSecretsAreNotCompressed(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u := s.owner()
	check := func(req *http.Request, status int) {
		t.Helper()
		// Even a client that forbids anything else gets these as they are.
		req.Header.Set("Accept-Encoding", "gzip, identity;q=0")
		res, err := u.client.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		require.Equal(t, status, res.StatusCode)
		require.Empty(t, res.Header.Get("Content-Encoding"), req.URL.Path)
		require.Empty(t, res.Header.Get("Vary"), "not negotiable")
	}
	post := func(path, body string) *http.Request {
		return u.request("POST", path, strings.NewReader(body), "Content-Type", "application/json")
	}
	check(post("/v1/auth/register", `{"tenant_name":"Other","email":"breach@example.com","password":"`+password+`"}`), 201)
	check(post("/v1/auth/login", fmt.Sprintf(`{"email":%q,"password":%q}`, u.email, password)), 200)
	check(post("/v1/auth/refresh", ""), 200)
	check(u.request("GET", "/v1/projects?"+strings.Repeat("x", 3000)+"=1", nil), 400)
	check(u.request("GET", "/v1/nothing/"+strings.Repeat("x", 3000), nil), 404)
}

func TestTheOpenAPIDocumentIsServedCompressed(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u := s.anonymous()
	document := httpapi.OpenAPIDocument()
	for _, encoding := range []string{"zstd", "br", "gzip", "identity"} {
		res, body := u.encoded("GET", "/v1/openapi.json", encoding)
		require.Equal(t, 200, res.StatusCode)
		require.Equal(t, "Accept-Encoding", res.Header.Get("Vary"))
		require.Equal(t, int64(len(body)), res.ContentLength)
		if encoding == "identity" {
			require.Equal(t, document, body)
		} else {
			require.Equal(t, encoding, res.Header.Get("Content-Encoding"))
			require.Less(t, 5*len(body), len(document))
		}
		head, _ := u.encoded("HEAD", "/v1/openapi.json", encoding)
		require.Equal(t, res.Header.Get("Content-Length"), head.Header.Get("Content-Length"))
		again, _ := u.encoded("GET", "/v1/openapi.json", encoding, "If-None-Match", res.Header.Get("Etag"))
		require.Equal(t, 304, again.StatusCode)
	}
	u.get("/v1/openapi.json", "If-Match", `"other"`).problem(412, "precondition_failed")
	u.get("/v1/openapi.json", "Range", "bytes=9999999-").problem(416, "range")
}
