package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/cost"
)

func TestCostRefusesFlagsThatDoNotFit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	for want, args := range map[string][]string{
		`--env "test": it is dev, prod or all`:                       {"--env", "test"},
		`--region "mars-north-1": the price table has ["us-east-1"]`: {"--region", "mars-north-1"},
		"read the usage file":                                        {"--usage", write("broken.json", "{")},
		`there is no environment "staging", but dev and prod`:        {"--usage", write("staging.json", `{"staging": {}}`)},
		`there is no environment "all", but dev and prod`:            {"--usage", write("all.json", `{"all": {}}`)},
	} {
		var usage usageError
		err := runCost(t.Context(), args, &bytes.Buffer{}, &bytes.Buffer{})
		require.ErrorAs(t, err, &usage)
		assert.ErrorContains(t, err, want)
	}
}

func TestEstimateOfAnAssembly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	write("manifest.json", `{"artifacts": {"s": {"type": "aws:cloudformation:stack", "properties": {"templateFile": "s.template.json"}}}}`)
	write("s.template.json", `{"Resources": {"Key": {"Type": "AWS::KMS::Key"}}}`)
	prices, err := cost.LoadPrices()
	require.NoError(t, err)
	e, err := estimate("dev", "us-east-1", prices, dir, nil)
	require.NoError(t, err)
	assert.InDelta(t, 1.0, e.Monthly, 0)
	require.Len(t, e.Stacks, 1)
	assert.Equal(t, "s", e.Stacks[0].Stack)
}
