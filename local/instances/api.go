package instances

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// API is the part of AWS that decides what runs.
type API struct {
	Groups     GroupAPI
	Templates  TemplateAPI
	Targets    TargetAPI
	Parameters ParameterAPI
	Objects    ObjectAPI
	Fleet      FleetAPI // nil where nobody listens
}

// GroupAPI reads Auto Scaling groups.
type GroupAPI interface {
	DescribeAutoScalingGroups(context.Context, *autoscaling.DescribeAutoScalingGroupsInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error)
}

// TemplateAPI reads launch templates.
type TemplateAPI interface {
	DescribeLaunchTemplateVersions(context.Context, *ec2.DescribeLaunchTemplateVersionsInput, ...func(*ec2.Options)) (*ec2.DescribeLaunchTemplateVersionsOutput, error)
}

// TargetAPI registers instances with target groups.
type TargetAPI interface {
	RegisterTargets(context.Context, *elb.RegisterTargetsInput, ...func(*elb.Options)) (*elb.RegisterTargetsOutput, error)
	DeregisterTargets(context.Context, *elb.DeregisterTargetsInput, ...func(*elb.Options)) (*elb.DeregisterTargetsOutput, error)
	DescribeTargetHealth(context.Context, *elb.DescribeTargetHealthInput, ...func(*elb.Options)) (*elb.DescribeTargetHealthOutput, error)
}

// ParameterAPI reads the parameter that names the artifact.
type ParameterAPI interface {
	GetParameter(context.Context, *ssm.GetParameterInput, ...func(*ssm.Options)) (*ssm.GetParameterOutput, error)
}

// ObjectAPI downloads the artifact.
type ObjectAPI interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// NewAPI returns the API of an account. Buckets are addressed by path, because
// an emulator on 127.0.0.1 has no names for them.
func NewAPI(cfg aws.Config) API {
	return API{
		Groups:     autoscaling.NewFromConfig(cfg),
		Templates:  ec2.NewFromConfig(cfg),
		Targets:    elb.NewFromConfig(cfg),
		Parameters: ssm.NewFromConfig(cfg),
		Objects:    s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }),
		Fleet:      newFleetClient(cfg),
	}
}
