// Command release-control is the Lambda function that begins a release, starts
// and empties its colors, and ends it. It changes groups and what they run, and
// no weights.
package main

import (
	"github.com/loadbearing/loadbearing/internal/release"
	"github.com/loadbearing/loadbearing/lambdas/internal/controller"
)

func main() {
	controller.Tasks(release.TaskBegin, release.TaskPrepare, release.TaskFinish, release.TaskRollback)
}
