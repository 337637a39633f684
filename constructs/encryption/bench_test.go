package encryption_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/encryption"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
)

func BenchmarkNew(b *testing.B) {
	cdktest.Benchmark(b, func(app awscdk.App) func() {
		stack := cdkapp.Stack(app, "base", cdkapp.StackProps{})
		return func() { encryption.New(stack, "Encryption", encryption.Props{}) }
	})
}
