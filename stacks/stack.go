// Package stacks puts the constructs together into what one environment
// deploys. Stacks depend on each other in one direction: network, data,
// messaging, web, edge, release, observability.
package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// Tags of every resource, set on the stack: CloudFormation hands them down.
const (
	tagProject = "project"
	tagEnv     = "env"
)

// newStack makes an empty stack of the environment. The Region is set because a
// CloudFront distribution needs to know its own; the account stays open, so one
// template is good for any.
func newStack(scope constructs.Construct, settings Settings, name, description string) awscdk.Stack {
	return awscdk.NewStack(scope, new(settings.StackName(name)), &awscdk.StackProps{
		StackName:   new(settings.StackName(name)),
		Description: &description,
		Env:         &awscdk.Environment{Region: &settings.Region},
		Tags: &map[string]*string{
			tagProject: new("loadbearing"),
			tagEnv:     &settings.Env,
		},
	})
}

// StackName is the name of one stack in this environment: loadbearing-dev-data.
func (s Settings) StackName(stack string) string {
	return contract.StackPrefix(s.Env) + stack
}
