package localstack_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/emulator/localstack"
	"github.com/loadbearing/loadbearing/local/process"
)

func TestStart(t *testing.T) {
	dir := t.TempDir()
	start := time.Now()
	e, err := localstack.Start(t.Context(), localstack.Options{
		Runner: &process.Runner{Dir: dir}, CacheDir: filepath.Join("..", "..", "..", ".cache"), RunDir: filepath.Join(dir, "localstack"),
		Progress: func(s string) { fmt.Println(s) },
	})
	require.NoError(t, err)
	t.Cleanup(func() { e.Stop(t.Context()) })
	t.Logf("healthy after %v", time.Since(start))
	require.Equal(t, emulator.NameLocalStack, e.Name)
	require.Equal(t, localstack.Version, e.Version)
	require.True(t, e.IsLoopback())

	_, err = s3.NewFromConfig(e.AWSConfig()).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket")})
	require.NoError(t, err)
	stacks := cloudformation.NewFromConfig(e.AWSConfig())
	_, err = stacks.CreateStack(t.Context(), &cloudformation.CreateStackInput{
		StackName:    aws.String("key"),
		TemplateBody: aws.String(`{"Resources":{"Key":{"Type":"AWS::KMS::Key","Properties":{"KeyPolicy":{}}}}}`),
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		out, err := stacks.DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: aws.String("key")})
		return err == nil && out.Stacks[0].StackStatus == types.StackStatusCreateComplete
	}, 30*time.Second, 50*time.Millisecond)
	rejected, err := e.Rejects(t.Context(), []string{"AWS::SNS::Topic", "AWS::Lambda::Function", "AWS::WAFv2::WebACL"})
	require.NoError(t, err)
	require.Equal(t, []string{"AWS::WAFv2::WebACL", "AWS::Lambda::Function"}, rejected)
}
