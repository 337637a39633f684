package httpapi

import (
	"encoding/json"
	"net/http"
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
