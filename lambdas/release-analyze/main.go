// Command release-analyze is the Lambda function that judges a step of a
// release. It changes nothing but the release's state.
package main

import (
	"github.com/loadbearing/loadbearing/internal/release"
	"github.com/loadbearing/loadbearing/lambdas/internal/controller"
)

func main() { controller.Tasks(release.TaskAnalyze) }
