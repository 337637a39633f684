package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDiffRefusesFlagsThatDoNotFit(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"--from and --to go together":                  {"--from", "a"},
		`--env "test": it is dev, prod or all`:         {"--env", "test"},
		`--color "red": it is always, never or auto`:   {"--color", "red"},
		`loadbearing diff takes flags only, not "now"`: {"now"},
	} {
		var usage usageError
		err := runDiff(t.Context(), args, &bytes.Buffer{}, &bytes.Buffer{})
		require.ErrorAs(t, err, &usage)
		assert.EqualError(t, err, want)
	}
}

func TestDiffOfFolders(t *testing.T) {
	t.Parallel()
	testdata := filepath.Join("..", "..", "internal", "templatediff", "testdata")
	from, to := filepath.Join(testdata, "from"), filepath.Join(testdata, "to")
	var out bytes.Buffer
	require.ErrorIs(t, runDiff(t.Context(), []string{"--from", from, "--to", to}, &out, &bytes.Buffer{}), errLoss)
	want, err := os.ReadFile(filepath.Join(testdata, "report.txt"))
	require.NoError(t, err)
	assert.Equal(t, "From "+from+" to "+to+"\n\n"+string(want), out.String())

	out.Reset()
	require.NoError(t, runDiff(t.Context(), []string{"--from", from, "--to", from}, &out, &bytes.Buffer{}))
	assert.Equal(t, "From "+from+" to "+from+"\n\nNo stack changes.\n\n", out.String())
}

func TestPaints(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer file.Close()
	for _, test := range []struct {
		colour string
		want   bool
	}{{"always", true}, {"never", false}, {"auto", false}} {
		got, err := paints(test.colour, file)
		require.NoError(t, err)
		assert.Equal(t, test.want, got, test.colour)
	}
}
