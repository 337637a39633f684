package settings_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/lambdas/rotate-origin/settings"
)

func TestLoadReadsWhatEnvironmentWrites(t *testing.T) {
	t.Parallel()
	want := settings.Settings{
		Distribution: "E2QWRUHAPOMQZL", EdgeURL: "https://d111111abcdef8.cloudfront.net",
		Rules: []string{"arn:one", "arn:two"}, Refusal: "not_through_the_edge",
	}
	variables := want.Environment()
	lookup := func(name string) (string, bool) { value, ok := variables[name]; return value, ok }
	got, err := settings.Load(lookup)
	require.NoError(t, err)
	require.Equal(t, want, got)

	for name, value := range want.Environment() {
		delete(variables, name)
		_, err := settings.Load(lookup)
		require.EqualError(t, err, "the environment variable "+name+" is not set")
		variables[name] = value
	}
}
