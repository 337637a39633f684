package cfnlint_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/cfnlint"
	"github.com/loadbearing/loadbearing/internal/project"
)

func TestRun(t *testing.T) {
	t.Parallel()
	root, err := project.Find()
	require.NoError(t, err)
	cache := filepath.Join(root.Root, ".cache")
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "queue.template.json")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	good := write(`{"Resources": {"Jobs": {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 30}}}}`)
	require.NoError(t, cfnlint.Run(t.Context(), cache, []string{good}, nil))

	bad := write(`{"Resources": {"Jobs": {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 90000}}}}`)
	require.ErrorContains(t, cfnlint.Run(t.Context(), cache, []string{good, bad}, nil), "90000 is greater than the maximum of 43200")
}
