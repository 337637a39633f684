package function_test

import (
	"path/filepath"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
)

func BenchmarkNew(b *testing.B) {
	cdktest.Benchmark(b, func(app awscdk.App) func() {
		stack := cdkapp.Stack(app, "thumbnails", cdkapp.StackProps{})
		return func() {
			function.New(stack, "Resize", function.Props{
				Source:      "./testdata/hello",
				BuildFolder: filepath.Join(cdktest.Root(), ".build", "test", "functions"),
			})
		}
	})
}
