// Command failing is a version of the service that answers every twentieth
// request with 500.
package main

import (
	"net/http"
	"os"
	"sync/atomic"

	"github.com/loadbearing/loadbearing/app/service"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// version is set by the linker.
var version = "failing"

func main() {
	os.Exit(service.Main(service.Options{Version: version, Handler: fail}))
}

// fail fails one request in twenty, 5 %, and no health check.
func fail(next http.Handler) http.Handler {
	var n atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != contract.PathReady && r.URL.Path != contract.PathHealth && n.Add(1)%20 == 0 {
			http.Error(w, "this version fails", http.StatusInternalServerError)
			return
		}
		next.ServeHTTP(w, r)
	})
}
