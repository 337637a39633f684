// Command release-recover is the Lambda function that has a release whose
// execution has ended taken over by another one, and restores weights that no
// release has set.
package main

import "github.com/loadbearing/loadbearing/lambdas/internal/controller"

func main() { controller.Recovery() }
