package main

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	require.NoError(t, run(t.Context(), nil, &out, &errs))
	for _, c := range commands() {
		assert.Contains(t, out.String(), c.name)
	}
	var usage usageError
	for _, args := range [][]string{{"upp"}, {"up", "--fast"}, {"status", "now"}} {
		require.ErrorAs(t, run(t.Context(), args, &out, &errs), &usage, args)
	}
	require.ErrorContains(t, run(t.Context(), []string{"upp"}, &out, &errs), `no command "upp"; there are: up, down`)
}

func TestDeployRefusesAnEmulator(t *testing.T) {
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "http://127.0.0.1:4566")
			err := run(context.Background(), []string{"deploy", "--env", "prod"}, &bytes.Buffer{}, &bytes.Buffer{})
			require.ErrorContains(t, err, name+"=http://127.0.0.1:4566 points at an emulator")
		})
	}
}

func TestChieflyLeavesOutWhatFollowsFromOthers(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "SNS::Topic, 2 SQS::Queue", chiefly(map[string]int{
		"AWS::SQS::Queue": 2, "AWS::SNS::Topic": 1, "AWS::IAM::Policy": 9, "AWS::CloudWatch::Alarm": 3,
	}))
	assert.Equal(t, "A, B, C, D, E, F, 1 more types", chiefly(map[string]int{
		"AWS::A": 1, "AWS::B": 1, "AWS::C": 1, "AWS::D": 1, "AWS::E": 1, "AWS::F": 1, "AWS::G": 1,
	}))
}
