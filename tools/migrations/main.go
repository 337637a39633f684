// Command migrations refuses migrations that would break the version that runs
// while they do, or hold it up. `make lint` runs it.
package main

import (
	"fmt"
	"os"

	"github.com/loadbearing/loadbearing/internal/migration/lint"
)

const folder = "app/postgres/migrations"

func main() {
	if err := lint.Check(os.DirFS(folder)); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", folder, err)
		os.Exit(1)
	}
}
