// Command slow is a version of the service that thinks before each answer.
package main

import (
	"net/http"
	"os"
	"time"

	"github.com/loadbearing/loadbearing/app/service"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// version is set by the linker.
var version = "slow"

// thought is many times what the service takes for an answer, and less than what
// a release allows in any case.
const thought = 300 * time.Millisecond

func main() {
	os.Exit(service.Main(service.Options{Version: version, Handler: slow}))
}

func slow(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != contract.PathReady && r.URL.Path != contract.PathHealth {
			select {
			case <-time.After(thought):
			case <-r.Context().Done():
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
