// Command meter is the Lambda function that counts the bytes and the seconds
// of video each tenant uploads per day.
package main

import (
	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch"
	"github.com/loadbearing/loadbearing/lambdas/internal/consumer"
)

func main() {
	consumer.Main(consumer.Consumer{
		Name: app.ServiceMeter,
		New:  func(e consumer.Environment) (batch.Handlers, error) { return handlers(e.DB.Videos()), nil },
	})
}
