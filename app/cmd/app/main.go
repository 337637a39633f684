// Command app is the media service: one static binary with a subcommand for
// each of its jobs.
//
//	app serve     the HTTP API and the relay of the outbox
//	app work      the worker that resizes images
//	app migrate   brings the database schema up to date
//	app version   says what this is
//
// It exits with 0 when it was asked to stop and did, 1 when it failed, and 2
// when its arguments or its configuration are wrong.
package main

import (
	"os"

	"github.com/loadbearing/loadbearing/app/service"
)

// version is set by the linker: -X main.version=…
var version string

func main() { os.Exit(service.Main(service.Options{Version: version})) }
