package python_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
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

// The wheel is not one for the interpreter, nor for this machine.
func TestUnpackPutsFilesOnly(t *testing.T) {
	source, dir := t.TempDir(), t.TempDir()
	const wheel = "thing-1-cp38-cp38-manylinux2014_s390x.whl"
	hash := writeWheel(t, filepath.Join(source, wheel), map[string]string{
		"thing-1.data/scripts/program": "#!/bin/sh\n",
		"thing-1.dist-info/METADATA":   "Metadata-Version: 2.1\nName: thing\nVersion: 1\n",
		"thing-1.dist-info/WHEEL":      "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp38-cp38-manylinux2014_s390x\n",
		"thing-1.dist-info/RECORD":     "",
	})
	t.Setenv("PIP_NO_INDEX", "1")
	t.Setenv("PIP_FIND_LINKS", source)
	requirements := []byte("thing==1 --hash=sha256:" + hash + "\n")
	files, err := python.Unpack(t.Context(), dir, "thing", requirements, python.Wheels{Python: "3.8", Platform: "manylinux2014_s390x"}, nil)
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(files, "bin", "program"))
}

// writeWheel writes a wheel of these files and returns its SHA-256.
func writeWheel(t *testing.T, path string, files map[string]string) string {
	t.Helper()
	var content bytes.Buffer
	w := zip.NewWriter(&content)
	for name, text := range files {
		f, err := w.Create(name)
		require.NoError(t, err)
		_, err = io.WriteString(f, text)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, os.WriteFile(path, content.Bytes(), 0o644))
	return fmt.Sprintf("%x", sha256.Sum256(content.Bytes()))
}
