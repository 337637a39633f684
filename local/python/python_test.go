package python_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/python"
)

// Not parallel: PATH is the process's.
func TestInstallNamesWhatIsWrongWithPython(t *testing.T) {
	for _, test := range []struct{ name, script, want string }{
		{"none", "", "no python3 is on PATH"},
		{"old", `echo 3 9`, "is version 3.9"},
		{"broken", `exit 1`, "does not run"},
		{"without venv", `case "$2" in *ensurepip*) exit 1;; *) echo 3 12;; esac`, "apt install python3-venv"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bin := t.TempDir()
			if test.script != "" {
				require.NoError(t, os.WriteFile(filepath.Join(bin, "python3"), []byte("#!/bin/sh\n"+test.script+"\n"), 0o755))
			}
			t.Setenv("PATH", bin)
			_, err := python.Install(t.Context(), t.TempDir(), "thing", []byte("thing==1\n"), nil)
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, "install thing")
		})
	}
}

func TestInstallMakesAnEnvironmentOnce(t *testing.T) {
	dir := t.TempDir()
	interrupted, interrupt := context.WithCancel(t.Context())
	_, err := python.Install(interrupted, dir, "empty", []byte("# nothing\n"), func(string) { interrupt() })
	require.ErrorIs(t, err, context.Canceled)

	var steps []string
	progress := func(step string) { steps = append(steps, step) }
	env, err := python.Install(t.Context(), dir, "empty", []byte("# nothing\n"), progress)
	require.NoError(t, err)
	require.FileExists(t, env.Executable())
	require.Len(t, steps, 2, "what an interrupted installation left is not used")

	again, err := python.Install(t.Context(), dir, "empty", []byte("# nothing\n"), progress)
	require.NoError(t, err)
	require.Equal(t, env, again)
	require.Len(t, steps, 2, "the second time there is nothing to do")
}
