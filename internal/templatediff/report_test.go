package templatediff_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/internal/templatediff"
	"github.com/loadbearing/loadbearing/local/cdk"
)

var update = flag.Bool("update", false, "rewrite the expected reports")

// root is the checkout, with the pinned npm packages installed.
func root(t *testing.T) string {
	t.Helper()
	p, err := project.Find()
	require.NoError(t, err)
	_, err = cdk.CLI{Root: p.Root, Env: os.Environ()}.Install(t.Context())
	require.NoError(t, err)
	return p.Root
}

func load(t *testing.T, dir string) []templatediff.Template {
	t.Helper()
	templates, err := templatediff.Load(filepath.Join("testdata", dir))
	require.NoError(t, err)
	return templates
}

func TestReport(t *testing.T) {
	t.Parallel()
	report, err := templatediff.Compare(t.Context(), root(t), load(t, "from"), load(t, "to"))
	require.NoError(t, err)
	assert.True(t, report.Loses())
	var out bytes.Buffer
	require.NoError(t, report.Print(&out, false))
	expected := filepath.Join("testdata", "report.txt")
	if *update {
		require.NoError(t, os.WriteFile(expected, out.Bytes(), 0o600))
	}
	want, err := os.ReadFile(expected)
	require.NoError(t, err)
	assert.Equal(t, string(want), out.String())

	// Red is for what is lost or refused; the words are the same.
	var painted bytes.Buffer
	require.NoError(t, report.Print(&painted, true))
	for line := range strings.Lines(painted.String()) {
		if strings.Contains(line, "\x1b[1;31m") {
			assert.Regexp(t, "STATEFUL|REFUSE|: .* is (replaced|removed|created again)|export|AWS::", line)
		}
	}
	plain := painted.String()
	for _, code := range []string{"0", "1", "32", "33", "1;31"} {
		plain = strings.ReplaceAll(plain, "\x1b["+code+"m", "")
	}
	assert.Equal(t, out.String(), plain)
}

func TestReportOfNothing(t *testing.T) {
	t.Parallel()
	report, err := templatediff.Compare(t.Context(), root(t), load(t, "from"), load(t, "from"))
	require.NoError(t, err)
	assert.Equal(t, &templatediff.Report{}, report)
	var out bytes.Buffer
	require.NoError(t, report.Print(&out, false))
	assert.Equal(t, "No stack changes.\n\n", out.String())
}

func TestCompareWithoutTheLibrary(t *testing.T) {
	t.Setenv("NODE_PATH", "")
	_, err := templatediff.Compare(t.Context(), t.TempDir(), load(t, "from"), load(t, "to"))
	assert.ErrorContains(t, err, "@aws-cdk/cloudformation-diff is not installed in node_modules: run npm ci")
}

func TestLoad(t *testing.T) {
	t.Parallel()
	var names []string
	for _, template := range load(t, "to") {
		names = append(names, template.Stack)
	}
	assert.Equal(t, []string{"app-data", "app-files", "app-messaging", "app-network", "app-web"}, names)

	empty := t.TempDir()
	_, err := templatediff.Load(empty)
	require.EqualError(t, err, empty+" holds no template: neither manifest.json nor *.template.json nor *.json")

	require.NoError(t, os.WriteFile(filepath.Join(empty, "one.json"), []byte("{"), 0o600))
	_, err = templatediff.Load(empty)
	assert.ErrorContains(t, err, "read the template "+filepath.Join(empty, "one.json"))
}
