package project_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/project"
)

func TestFindFromAFolderBelow(t *testing.T) {
	p, err := project.Find()
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(p.Root, "cdk.json"))

	t.Chdir(t.TempDir())
	_, err = project.Find()
	assert.ErrorContains(t, err, "is not inside a checkout")
}

func TestSummaries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	write("manifest.json", `{"artifacts": {
		"b": {"type": "aws:cloudformation:stack", "properties": {"templateFile": "b.json", "stackName": "second"}, "dependencies": ["a", "a.assets"]},
		"a": {"type": "aws:cloudformation:stack", "properties": {"templateFile": "a.json", "stackName": "first"}, "dependencies": ["a.assets"]},
		"a.assets": {"type": "cdk:asset-manifest", "properties": {"file": "a.assets.json"}}}}`)
	write("a.json", `{"Resources": {"Q": {"Type": "AWS::SQS::Queue"}, "R": {"Type": "AWS::SQS::Queue"}}}`)
	write("b.json", `{"Resources": {"T": {"Type": "AWS::SNS::Topic"}}}`)
	stacks, err := project.Summaries(dir)
	require.NoError(t, err)
	require.Len(t, stacks, 2)
	assert.Equal(t, "first", stacks[0].Name)
	assert.Equal(t, map[string]int{"AWS::SQS::Queue": 2}, stacks[0].Types)
	assert.Equal(t, 1, stacks[1].Resources)

	_, err = project.Summaries(t.TempDir())
	assert.ErrorContains(t, err, "read the cloud assembly")
}
