package emulator

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/loadbearing/loadbearing/local/python"
)

// requirements pins MiniStack and everything it needs, with hashes.
//
//go:embed requirements.txt
var requirements []byte

//go:embed extension/loadbearing_emulator/*.py
var extension embed.FS

// Python is an installed MiniStack with this project's extension.
type Python struct {
	env       python.Env
	extension string // folder that holds the extension's package
	edition   string
}

// Install puts the pinned MiniStack and the extension below cacheDir, once;
// later calls only check that it is there. It needs Python 3.10 or newer with
// venv on PATH. progress is told what takes time; it may be nil.
func Install(ctx context.Context, cacheDir string, progress func(string)) (Python, error) {
	env, err := python.Install(ctx, filepath.Join(cacheDir, "python"), "ministack", requirements, progress)
	if err != nil {
		return Python{}, fmt.Errorf("emulator: %w", err)
	}
	source, err := fs.Sub(extension, "extension")
	if err != nil {
		return Python{}, fmt.Errorf("emulator: %w", err)
	}
	hash, err := hashFiles(source)
	if err != nil {
		return Python{}, fmt.Errorf("emulator: %w", err)
	}
	// Named by its content: another version of this program keeps its own.
	dir := filepath.Join(env.Dir, "extension-"+hash)
	if err := copyOnce(dir, source); err != nil {
		return Python{}, fmt.Errorf("emulator: install the extension: %w", err)
	}
	return Python{env: env, extension: dir, edition: editionPrefix + hash}, nil
}

func hashFiles(fsys fs.FS) (string, error) {
	h := sha256.New()
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(fsys, path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(data), data)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:6]), err
}

// copyOnce writes the files to dir unless it exists. It appears whole or not
// at all, also when two programs do it at once.
func copyOnce(dir string, files fs.FS) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "extension-*.tmp")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := os.CopyFS(tmp, files); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		if _, statErr := os.Stat(dir); statErr == nil {
			return nil // the other program was first
		}
		return err
	}
	return nil
}
