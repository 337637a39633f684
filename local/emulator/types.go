package emulator

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/smithy-go"
)

// localStackTypes lists the resource types that LocalStack's free edition
// implements, one a line, as of core 4.13.1. It deploys any other type as a
// stand-in that does nothing, on which Fn::GetAtt and Fn::Select fail.
//
//go:embed localstack-types.txt
var localStackTypes string

// Rejects returns those of the resource types that cannot be deployed here,
// in the order given.
//
// LocalStack's free edition, which calls itself "community" or, run from PyPI,
// "unknown", is known by a list, since it refuses nothing; its licensed
// editions ("pro") are taken to know every type. Any other emulator is asked,
// by validating a template that has one resource of each: MiniStack names in
// its refusal every type it does not know, and one that refuses nothing is
// taken to know them all.
func (e *Emulator) Rejects(ctx context.Context, types []string) ([]string, error) {
	var rejected []string
	switch {
	case e.Name == NameLocalStack && !strings.Contains(e.Edition, "pro"):
		known := strings.Fields(localStackTypes)
		for _, t := range types {
			if !slices.Contains(known, t) && !strings.HasPrefix(t, "Custom::") {
				rejected = append(rejected, t)
			}
		}
	case e.Name == NameLocalStack, e.Extended, len(types) == 0:
	default:
		var err error
		if rejected, err = e.ask(ctx, types); err != nil {
			return nil, err
		}
	}
	if !e.RunsLambda {
		for _, t := range types {
			if needsLambda(t) && !slices.Contains(rejected, t) {
				rejected = append(rejected, t)
			}
		}
	}
	return rejected, nil
}

// needsLambda tells whether a resource of the type is, or calls, a function
// while the stack is deployed.
func needsLambda(resourceType string) bool {
	return strings.HasPrefix(resourceType, "AWS::Lambda::") ||
		strings.HasPrefix(resourceType, "Custom::") ||
		resourceType == "AWS::CloudFormation::CustomResource"
}

// ask validates a template with one resource of each type.
func (e *Emulator) ask(ctx context.Context, types []string) ([]string, error) {
	resources := map[string]any{}
	for i, t := range types {
		resources[fmt.Sprintf("R%d", i)] = map[string]string{"Type": t}
	}
	body, err := json.Marshal(map[string]any{"Resources": resources})
	if err != nil {
		return nil, err
	}
	_, err = cloudformation.NewFromConfig(e.AWSConfig()).ValidateTemplate(ctx,
		&cloudformation.ValidateTemplateInput{TemplateBody: aws.String(string(body))})
	if err == nil {
		return nil, nil
	}
	refusal, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return nil, fmt.Errorf("emulator: ask %s which resource types it knows: %w", e.URL, err)
	}
	// CloudFormation's own words: "Unrecognized resource types: [A, B]".
	_, list, found := strings.Cut(refusal.ErrorMessage(), "Unrecognized resource types: [")
	if !found {
		return nil, nil
	}
	list, _, _ = strings.Cut(list, "]")
	named := strings.Split(list, ", ")
	var rejected []string
	for _, t := range types {
		if slices.Contains(named, t) {
			rejected = append(rejected, t)
		}
	}
	return rejected, nil
}
