package cdk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEmulatedTakesNothingOfTheCallersAWS(t *testing.T) {
	t.Setenv("AWS_PROFILE", "production")
	t.Setenv("AWS_SESSION_TOKEN", "secret")
	t.Setenv("AWS_ENDPOINT_URL_SQS", "https://sqs.example.com")
	env := Emulated("http://127.0.0.1:4566", "us-east-1")
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		assert.NotContains(t, []string{"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_SQS"}, name)
	}
	assert.Contains(t, env, "AWS_ENDPOINT_URL=http://127.0.0.1:4566")
	assert.Contains(t, env, "PATH="+os.Getenv("PATH"))
}

func TestInstallKeepsTheLockedVersion(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(path, content string) {
		path = filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	write("package-lock.json", `{"packages": {
		"": {"devDependencies": {"aws-cdk": "2.1.0", "@aws-cdk/more": "1.0.0"}},
		"node_modules/aws-cdk": {"version": "2.1.0"},
		"node_modules/@aws-cdk/more": {"version": "1.0.0"}
	}}`)
	write("node_modules/aws-cdk/package.json", `{"version": "2.1.0"}`)
	write("node_modules/@aws-cdk/more/package.json", `{"version": "1.0.0"}`)
	version, err := CLI{Root: root}.Install(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "2.1.0", version)

	// One package of another version is reason enough to install all.
	write("node_modules/@aws-cdk/more/package.json", `{"version": "0.9.0"}`)
	_, err = CLI{Root: root}.Install(t.Context())
	require.ErrorContains(t, err, "install aws-cdk 2.1.0 with npm ci", "there is no package.json to install from")

	write("package-lock.json", `{"packages": {}}`)
	_, err = CLI{Root: root}.Install(t.Context())
	assert.ErrorContains(t, err, "does not lock aws-cdk")
}
