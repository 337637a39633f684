package httpapi

import (
	_ "embed"
	"net/http"
	"slices"
	"strconv"
)

//go:embed openapi.json
var openAPIDocument []byte

func (a *api) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(openAPIDocument)))
	_, _ = w.Write(openAPIDocument)
	return nil
}

// OpenAPIDocument returns the OpenAPI 3.1 document that /v1/openapi.json serves.
func OpenAPIDocument() []byte { return slices.Clone(openAPIDocument) }
