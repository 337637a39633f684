// Command meter is the Lambda function that counts the bytes each tenant
// uploads per day.
package main

import (
	"context"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/lambdas/internal/consumer"
)

func main() {
	consumer.Main(consumer.Consumer[app.VideoUploaded]{
		Name:  app.ServiceMeter,
		Event: app.EventVideoUploaded,
		New: func(e consumer.Environment) func(context.Context, app.Event[app.VideoUploaded]) error {
			return meter(e.DB.Videos())
		},
	})
}
