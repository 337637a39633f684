// Command index is the Lambda function that makes videos found by their names
// and by what the probe found in them.
package main

import (
	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch"
	"github.com/loadbearing/loadbearing/lambdas/internal/consumer"
)

func main() {
	consumer.Main(consumer.Consumer{
		Name: app.ServiceIndex,
		New:  func(e consumer.Environment) (batch.Handlers, error) { return handlers(e.DB.Videos(), e.Log), nil },
	})
}
