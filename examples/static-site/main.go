// A static site: files in a private bucket, served by CloudFront over HTTPS with
// compression, security headers and a page of its own for what is not there.
package main

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/edge"
)

func main() {
	cdkapp.Main(func(app awscdk.App) error {
		stack := cdkapp.Stack(app, "static-site", cdkapp.StackProps{Region: "us-east-1"})

		site := edge.New(stack, "Site", edge.Props{
			Behaviors:         []edge.Behavior{edge.Static("*")},
			DefaultRootObject: "index.html",
			// S3 answers 403 for what is not there to whom may not list the bucket.
			ErrorPages: []edge.ErrorPage{{Status: 403, Path: "/404.html", ResponseStatus: 404, TTL: time.Minute}},
		})

		cdkapp.Output(stack, "URL", site.URL(), "Where the site is")
		cdkapp.Output(stack, "Bucket", site.StaticBucketName(), "aws s3 sync site s3://<bucket>")
		return nil
	})
}
