// Command release-shift is the Lambda function that sets the weights of a
// release, and nothing else.
package main

import (
	"github.com/loadbearing/loadbearing/internal/release"
	"github.com/loadbearing/loadbearing/lambdas/internal/controller"
)

func main() { controller.Tasks(release.TaskShift) }
