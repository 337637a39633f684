package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/local/emulator"
)

// endpoint finds where the environment is: at AWS_ENDPOINT_URL, in what
// `make up` runs unless onAWS, or on AWS.
func endpoint(ctx context.Context, onAWS bool) (aws.Config, string, error) {
	c, err := config()
	if err != nil {
		return aws.Config{}, "", err
	}
	url := c.EndpointURL
	if onAWS && url != "" {
		return aws.Config{}, "", usageError{fmt.Errorf("--aws and AWS_ENDPOINT_URL=%s contradict each other; unset one", url)}
	}
	if url == "" && !onAWS {
		s, err := local.ReadStatus(c.RunDir)
		if err != nil && !errors.Is(err, local.ErrNotRunning) {
			return aws.Config{}, "", err
		}
		url = s.AWSEndpointURL
	}
	if url != "" {
		e, err := emulator.Attach(ctx, url)
		if err != nil {
			return aws.Config{}, "", err
		}
		return e.AWSConfig(), "at " + url + " (" + strings.TrimSpace(e.Name+" "+e.Version) + ")", nil
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return aws.Config{}, "", fmt.Errorf("read the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return aws.Config{}, "", errors.New("nothing runs here (`make up`), and AWS: no region; set AWS_REGION or one in your AWS profile")
	}
	if cfg.BaseEndpoint != nil {
		return cfg, "at " + *cfg.BaseEndpoint + ", as your AWS profile says", nil
	}
	return cfg, "on AWS, " + cfg.Region, nil
}
