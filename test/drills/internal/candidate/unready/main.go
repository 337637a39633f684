// Command unready is a version of the service that is never ready: its health
// checks fail.
package main

import (
	"net/http"
	"os"

	"github.com/loadbearing/loadbearing/app/service"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// version is set by the linker.
var version = "unready"

func main() {
	os.Exit(service.Main(service.Options{Version: version, Handler: unready}))
}

func unready(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == contract.PathReady {
			http.Error(w, "this version is never ready", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}
