package httpapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/contract"
)

func TestTheDocumentHasEveryRouteAndNoOther(t *testing.T) {
	t.Parallel()
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	require.NoError(t, json.Unmarshal(openAPIDocument, &doc))
	var documented []string
	for path, item := range doc.Paths {
		for method := range item {
			if method != "parameters" {
				documented = append(documented, strings.ToUpper(method)+" "+path)
			}
		}
	}
	served := []string{"GET " + contract.PathHealth, "GET " + contract.PathReady, "GET " + contract.PathVersion}
	for _, r := range (&api{}).routes() {
		served = append(served, r.method+" "+r.path)
	}
	slices.Sort(documented)
	slices.Sort(served)
	require.Equal(t, served, documented)
}

// TestRoutesWithTokensAreMarked: a route that gives or takes a token beside
// input is never compressed, and whoever adds one has to say so.
func TestRoutesWithTokensAreMarked(t *testing.T) {
	t.Parallel()
	for _, r := range (&api{}).routes() {
		token := strings.HasPrefix(r.path, "/v1/auth/") ||
			r.path == "/v1/uploads/{upload}/parts" || // whose answer has signed URLs
			r.path == "/v1/webhook" && r.method == "PUT" // whose answer has the secret
		require.Equal(t, token, r.breach, "%s %s", r.method, r.path)
	}
}

func TestTheDocumentIsValidOpenAPI(t *testing.T) {
	t.Parallel()
	doc, err := libopenapi.NewDocument(openAPIDocument)
	require.NoError(t, err)
	v, errs := validator.NewValidator(doc)
	require.Empty(t, errs)
	ok, problems := v.ValidateDocument()
	require.True(t, ok, "%v", problems)
}

func TestSecureIsLeftOutOnLoopbackOverHTTPOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host, forwarded, cloudFront string
		secure                      bool
	}{
		{"localhost:8080", "", "", false},
		{"localhost", "http", "", false},
		{"127.0.0.1:8080", "http", "", false},
		{"127.9.9.9", "", "http", false},
		{"[::1]:8080", "http", "", false},
		{"localhost:8443", "https", "", true},
		{"localhost:8080", "http", "https", true}, // the viewer's connection decides, not the edge's to the origin
		{"example.com", "http", "", true},
		{"example.com", "", "", true},
		{"localhost.example.com", "http", "", true},
		{"127.0.0.1.example.com", "http", "", true},
		{"10.0.0.1", "http", "", true},
		{"", "http", "", true},
	} {
		req := &http.Request{Host: c.host, Header: http.Header{}}
		if c.forwarded != "" {
			req.Header.Set("X-Forwarded-Proto", c.forwarded)
		}
		if c.cloudFront != "" {
			req.Header.Set("CloudFront-Forwarded-Proto", c.cloudFront)
		}
		require.Equal(t, c.secure, secure(req), "%+v", c)
	}
}

func TestWhatGoesOnIsRefusedLast(t *testing.T) {
	t.Parallel()
	goesOn := func(header ...string) (routes []string) {
		for _, r := range (&api{}).routes() {
			req := httptest.NewRequest(r.method, r.path, nil)
			for i := 0; i < len(header); i += 2 {
				req.Header.Set(header[i], header[i+1])
			}
			if r.continues != nil && r.continues(req) {
				routes = append(routes, r.method+" "+r.path)
			}
		}
		return routes
	}
	always := []string{
		"POST /v1/auth/refresh", "POST /v1/auth/logout", "GET /v1/uploads/{upload}", "POST /v1/uploads/{upload}/parts",
		"POST /v1/uploads/{upload}/complete", "DELETE /v1/uploads/{upload}",
	}
	content := []string{"GET /v1/images/{image}/content", "GET /v1/videos/{video}/content"}
	require.ElementsMatch(t, always, goesOn())
	require.ElementsMatch(t, append([]string{"PATCH /v1/projects/{project}"}, append(content, always...)...), goesOn("Range", "bytes=10-"))
	require.ElementsMatch(t, append([]string{"GET /v1/events"}, always...), goesOn("Last-Event-ID", "7"))
}
