// Package migration knows the two phases in which a release changes the schema of
// the database while two versions of the service run on it.
//
// It expands the schema before its version gets traffic, and contracts it when
// the version before has gone. An expanding migration (NAME.sql) changes nothing
// that the running version relies on, and holds no lock that its statements wait
// for: it adds. A contracting one (NAME.contract.sql) takes away what only the
// version before used, or forbids what only it wrote. Package lint refuses what does
// not keep to that.
package migration

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// Phase is when a migration runs.
type Phase string

// The phases. All runs both, in the order of their versions: for a database that
// no version uses yet, or one that may stand still.
const (
	All      Phase = ""
	Expand   Phase = "expand"   // before the release's version gets traffic
	Contract Phase = "contract" // after the version before has gone
)

// Validate tells whether there is such a phase.
func (p Phase) Validate() error {
	if p != All && p != Expand && p != Contract {
		return fmt.Errorf("phase %q: want %q, %q or none for both", p, Expand, Contract)
	}
	return nil
}

const contractSuffix = ".contract.sql"

// PhaseOf returns the phase of a migration by the name of its file:
// 00007_drop_filename.contract.sql contracts, any other expands.
func PhaseOf(name string) Phase {
	if strings.HasSuffix(name, contractSuffix) {
		return Contract
	}
	return Expand
}

// Of returns the migrations of a phase. Names stay as they are.
func (p Phase) Of(files fs.FS) fs.FS {
	if p == All {
		return files
	}
	return phased{files, p}
}

// phased shows the migrations of one phase.
type phased struct {
	fs.FS
	phase Phase
}

// Glob implements fs.GlobFS, by which goose finds migrations.
func (p phased) Glob(pattern string) ([]string, error) {
	names, err := fs.Glob(p.FS, pattern)
	return slices.DeleteFunc(names, func(name string) bool { return PhaseOf(name) != p.phase }), err
}

// Event is what the migrate function is asked for. Nothing set applies all that
// is missing of what it was built with.
type Event struct {
	Phase Phase `json:"phase,omitempty"`
	// Migrations are those of a release, packed by Archive. Default: those the
	// function was built with.
	Migrations *contract.Artifact `json:"migrations,omitempty"`
	// Check says what is missing, and refuses what must not be, and applies nothing.
	Check bool `json:"check,omitempty"`
}

// Result is what the migrate function answers.
type Result struct {
	Version int64    `json:"version"` // of the schema, after
	Applied []string `json:"applied"` // files of the migrations this run applied, in order; never null
	Pending []string `json:"pending"` // files of those that are still missing, of both phases; never null
}

// File is one migration.
type File struct {
	Name    string
	Version int64
	SQL     string
}

// Files returns the migrations at the root of files by version. It is an error
// for two to have the same one.
func Files(files fs.FS) ([]File, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("list the migrations: %w", err)
	}
	list := make([]File, 0, len(names))
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil || version < 1 {
			return nil, fmt.Errorf("migration %s: want a name that begins with its version, as 00007_name.sql", name)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", name, err)
		}
		list = append(list, File{name, version, string(text)})
	}
	slices.SortFunc(list, func(a, b File) int { return cmp.Compare(a.Version, b.Version) })
	for i := 1; i < len(list); i++ {
		if list[i].Version == list[i-1].Version {
			return nil, fmt.Errorf("migrations %s and %s have the same version", list[i-1].Name, list[i].Name)
		}
	}
	return list, nil
}

// Archive packs the migrations at the root of files into a ZIP file whose bytes
// depend on their names and texts alone.
func Archive(files fs.FS) ([]byte, error) {
	list, err := Files(files)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("pack the migrations: there are none")
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range list {
		entry, err := w.CreateHeader(&zip.FileHeader{Name: f.Name, Method: zip.Deflate}) // no time of modification
		if err == nil {
			_, err = io.WriteString(entry, f.SQL)
		}
		if err != nil {
			return nil, fmt.Errorf("pack migration %s: %w", f.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack the migrations: %w", err)
	}
	return b.Bytes(), nil
}

// mostBytes of one migration from an archive: a ZIP file of some kilobytes can
// unpack to gigabytes.
const mostBytes = 1 << 20

// Open unpacks what Archive packed.
func Open(archive []byte) (fs.FS, error) {
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return nil, fmt.Errorf("open the archive of migrations: %w", err)
	}
	if len(r.File) == 0 {
		return nil, errors.New("open the archive of migrations: it holds none")
	}
	for _, f := range r.File {
		if path.Base(f.Name) != f.Name || path.Ext(f.Name) != ".sql" {
			return nil, fmt.Errorf("open the archive of migrations: it holds %q; want *.sql files at its root", f.Name)
		}
		if f.UncompressedSize64 > mostBytes {
			return nil, fmt.Errorf("open the archive of migrations: %s has %d bytes; at most %d", f.Name, f.UncompressedSize64, mostBytes)
		}
	}
	return r, nil
}
