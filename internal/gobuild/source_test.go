package gobuild_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/gobuild"
)

func TestSource(t *testing.T) {
	t.Parallel()
	for source, valid := range map[gobuild.Source]bool{
		".": true, // this folder
		"github.com/loadbearing/loadbearing/lambdas/probe": true,
		"../gobuild":  true,
		"":            false,
		"testdata":    false, // holds no Go file
		"lambda":      false,
		"no/such":     false, // neither a folder nor the beginning of a host or of this module
		"has space/x": false,
	} {
		require.Equal(t, valid, source.Valid(), "%q", source)
	}
}

func TestSourceTarget(t *testing.T) {
	t.Parallel()
	settings := gobuild.Target{GOOS: "linux", GOARCH: "arm64"}
	target := func(source gobuild.Source, settings gobuild.Target) gobuild.Target {
		target, err := source.Target("/built", "bootstrap", settings)
		require.NoError(t, err)
		return target
	}
	folder, imported := target(".", settings), target("example.com/a/gobuild", settings)
	require.True(t, filepath.IsAbs(folder.Dir))
	require.Equal(t, ".", folder.Package)
	require.Equal(t, "example.com/a/gobuild", imported.Package)
	require.NotEqual(t, folder.Output, imported.Output, "both are called gobuild")
	require.Regexp(t, `^/built/gobuild-[0-9a-f]{8}/linux-arm64/bootstrap$`, folder.Output)
	require.Equal(t, filepath.Dir(folder.Output)+".json", folder.Record)

	tagged := settings
	tagged.Tags = []string{"lambda.norpc"}
	require.NotEqual(t, folder.Output, target(".", tagged).Output)
}
