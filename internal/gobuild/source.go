package gobuild

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Source names a main package: by its folder, absolute or relative to the
// working directory, or by its import path, which the working directory's module
// resolves. A folder wins when both exist.
type Source string

// Valid tells whether the source can name a package: a folder with Go files, or
// an import path that begins with a host name or with the path of the working
// directory's module, which may do without. Whether there is such a package, the
// compiler says.
func (s Source) Valid() bool { return s.isFolder() || s.isImportPath() }

// Target completes the settings with where the package is and where it is built:
// below folder, in one of its own for each source, tags and platform, so that two
// packages whose last names are the same do not build each other anew in turn.
// The program's file has the given name and is alone in its folder.
func (s Source) Target(folder, name string, settings Target) (Target, error) {
	settings.Dir, settings.Package = ".", string(s)
	if s.isFolder() {
		dir, err := filepath.Abs(string(s))
		if err != nil {
			return Target{}, fmt.Errorf("find the source of %s: %w", s, err)
		}
		settings.Dir, settings.Package, s = dir, ".", Source(dir)
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return Target{}, fmt.Errorf("find the folder of built programs: %w", err)
	}
	sum := sha256.Sum256([]byte(string(s) + "\n" + strings.Join(settings.Tags, ",")))
	platform := filepath.Join(folder, filepath.Base(string(s))+"-"+hex.EncodeToString(sum[:4]), settings.GOOS+"-"+settings.GOARCH)
	settings.Output, settings.Record = filepath.Join(platform, name), platform+".json"
	return settings, nil
}

func (s Source) isFolder() bool {
	files, _ := filepath.Glob(filepath.Join(string(s), "*.go"))
	return s != "" && len(files) > 0
}

var importPath = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]*(/[A-Za-z0-9._~-]+)+$`)

func (s Source) isImportPath() bool {
	if !importPath.MatchString(string(s)) {
		return false
	}
	host, _, _ := strings.Cut(string(s), "/")
	return strings.Contains(host, ".") || strings.HasPrefix(string(s), workingModule()+"/")
}

// workingModule is the module path in the go.mod above the working directory.
func workingModule() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if file, err := os.Open(filepath.Join(dir, "go.mod")); err == nil {
			defer file.Close()
			for lines := bufio.NewScanner(file); lines.Scan(); {
				if path, ok := strings.CutPrefix(lines.Text(), "module "); ok {
					return strings.Trim(strings.TrimSpace(path), `"`)
				}
			}
			return ""
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}
