package stacks_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/stacks"
)

func TestRelease(t *testing.T) {
	_, environment := build(t, stacks.Dev())
	release := assertions.Template_FromStack(environment.Release.Stack, nil)
	release.HasResourceProperties(new("AWS::StepFunctions::StateMachine"), map[string]any{
		"StateMachineName": contract.ReleaseStateMachine("dev", contract.FleetWeb),
		"DefinitionSubstitutions": assertions.Match_ObjectLike(&map[string]any{
			"Migrate": map[string]any{"Fn::ImportValue": assertions.Match_StringLikeRegexp(new("MigrateFunction"))},
		}),
	})
	release.ResourceCountIs(new("AWS::S3::Bucket"), new(0.0)) // it would depend on the fleets that read it
	release.HasResourceProperties(new("AWS::Events::Rule"), map[string]any{
		"EventPattern": assertions.Match_ObjectLike(&map[string]any{"source": []any{contract.ReleaseEventSource}}),
		"Targets":      []any{map[string]any{"Id": "Target0", "Arn": map[string]any{"Fn::ImportValue": assertions.Match_StringLikeRegexp(new("AlarmsTopic"))}}},
	})

	// Each web fleet reads what is released, the workers have nothing of it.
	web := assertions.Template_FromStack(environment.Web.Stack, nil)
	readers := 0
	for id, policy := range *web.FindResources(new("AWS::IAM::Policy"), nil) {
		text, err := json.Marshal(policy)
		require.NoError(t, err)
		if strings.Contains(string(text), "GetAttArtifacts") && strings.Contains(string(text), "/releases/*") {
			require.Regexp(t, "^Web(Blue|Green)", id)
			readers++
		}
	}
	require.Equal(t, 2, readers)

	// EventBridge sends changes to a topic that the environment's key encrypts.
	network := assertions.Template_FromStack(environment.Network.Stack, nil)
	network.HasResourceProperties(new("AWS::KMS::Key"), map[string]any{"KeyPolicy": assertions.Match_ObjectLike(&map[string]any{
		"Statement": assertions.Match_ArrayWith(&[]any{assertions.Match_ObjectLike(&map[string]any{
			"Principal": map[string]any{"Service": "events.amazonaws.com"}, "Action": []any{"kms:Decrypt", "kms:GenerateDataKey*"},
		})}),
	})})
}
