// Command release-analyze stands for the function of that name.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	lambda.Start(func(context.Context) (string, error) { return "release-analyze", nil })
}
