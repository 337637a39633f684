package fanout_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/fanout"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
)

func BenchmarkNew(b *testing.B) {
	cdktest.Benchmark(b, func(app awscdk.App) func() {
		stack := cdkapp.Stack(app, "orders", cdkapp.StackProps{})
		return func() {
			fanout.New(stack, "Orders", fanout.Props{Subscriptions: []fanout.Subscription{{Name: "search"}}})
		}
	})
}
