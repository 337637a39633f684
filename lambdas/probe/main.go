// Command probe is the Lambda function that reads what the container of an
// uploaded video says and stores it with the video.
package main

import (
	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/objectstore"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch"
	"github.com/loadbearing/loadbearing/lambdas/internal/consumer"
)

func main() {
	consumer.Main(consumer.Consumer{
		Name:  app.ServiceProbe,
		Needs: []contract.Setting{contract.MediaBucket},
		New: func(e consumer.Environment) (batch.Handlers, error) {
			p := &prober{videos: e.DB.Videos(), objects: objectstore.New(e.AWS, e.Settings.Media.Bucket), log: e.Log}
			return p.handlers(), nil
		},
	})
}
