package release_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/release"
)

func BenchmarkNew(b *testing.B) {
	cdktest.Benchmark(b, func(app awscdk.App) func() {
		stack := cdkapp.Stack(app, "service", cdkapp.StackProps{})
		props := setup(b, stack)
		return func() { release.New(stack, "Release", props) }
	})
}
