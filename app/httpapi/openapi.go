package httpapi

import (
	_ "embed"
	"net/http"
	"slices"

	"github.com/loadbearing/loadbearing/app"
)

//go:embed openapi.json
var openAPIDocument []byte

func (a *api) openAPI(w http.ResponseWriter, req *http.Request) error {
	sink := &refusing{ResponseWriter: w}
	a.document.ServeHTTP(sink, req)
	switch sink.refused {
	case http.StatusRequestedRangeNotSatisfiable:
		return app.Errorf(app.CodeRange, "the range lies outside the document")
	case http.StatusPreconditionFailed:
		return app.Errorf(codePreconditionFailed, "the document is another one")
	}
	return nil
}

// refusing keeps an error's status and drops its text: a problem replaces it.
type refusing struct {
	http.ResponseWriter
	refused int
}

// Unwrap lets a handshake take the connection over.
func (r *refusing) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *refusing) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		r.refused = status
		return
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *refusing) Write(p []byte) (int, error) {
	if r.refused != 0 {
		return len(p), nil
	}
	return r.ResponseWriter.Write(p)
}

// OpenAPIDocument returns the OpenAPI 3.1 document that /v1/openapi.json serves.
func OpenAPIDocument() []byte { return slices.Clone(openAPIDocument) }
