// Package lint refuses migrations that would break the version that runs while
// they do, or hold it up, each with the sequence of migrations that would not.
//
// What no parser can see is left to tests and reviews: whether the new version
// copes with rows the old one writes, and the old one with values it does not know.
package lint

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"

	"github.com/loadbearing/loadbearing/internal/migration"
)

// Finding is a statement that a migration must not have.
type Finding struct {
	File      string
	Line      int    // of the statement, from 1
	Rule      string // stable: "drop-column"
	Statement string // as written, on one line
	Why       string
	Safe      []Step // migrations that come to the same, in order; none when there is no such sequence
}

// Step is one migration of a safe sequence.
type Step struct {
	Name string // of the file, without the version: "name.sql" or "name.contract.sql"
	SQL  string // the whole file
}

func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: %s: %s\n  %s", f.File, f.Line, f.Rule, f.Statement, f.Why)
	if len(f.Safe) > 0 {
		b.WriteString("\n  Instead:")
	}
	for i, s := range f.Safe {
		fmt.Fprintf(&b, "\n    %d. N_%s\n", i+1, s.Name)
		b.WriteString("       " + strings.ReplaceAll(strings.TrimSpace(s.SQL), "\n", "\n       "))
	}
	return b.String()
}

// RefusedError is the error of migrations that do more than they may.
type RefusedError struct{ Findings []Finding }

func (r *RefusedError) Error() string {
	lines := make([]string, 0, len(r.Findings)+1)
	noun := "statements"
	if len(r.Findings) == 1 {
		noun = "statement"
	}
	lines = append(lines, fmt.Sprintf("migrations refused: %d %s would break the version that runs, or hold it up", len(r.Findings), noun))
	for _, f := range r.Findings {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

// grandfathered are migrations from before there was a check, by name, with the
// SHA-256 of their text. They built the schema of a service that nobody ran: every
// database runs them while it is empty, so what they lock and fill is empty
// too. None is ever added: an empty table in a new migration passes by itself.
var grandfathered = map[string]string{
	"00001_first.sql":    "241d2988a65caa8eeafa5049a30572656305b437bba8230f536ff7ebebc5a4f8",
	"00002_services.sql": "336bfe9836c5fa06b45cb14d4752f009bc8c7c2aecaa870011869552ccfd2a11",
	"00003_uploads.sql":  "aa862abdcf526a2b91dc5a7ff22d235d858bd713bd9c630c691d0635b87759b5",
	"00004_redrive.sql":  "a59644dda997f162bee1f15ddc9737c9d762542733bd8df525512bb913e198a0",
	"00005_trace.sql":    "77f1cc029078c565a2012aad9e013c726ee1489bdf6a6e38b17a7968e0b2b443",
}

// Check returns *RefusedError when a migration at the root of files does more than its
// phase allows, and an error of another kind when one cannot be read as SQL. A
// later migration is judged by what the ones before it made.
func Check(files fs.FS) error {
	list, err := migration.Files(files)
	if err != nil {
		return err
	}
	l := newLinter()
	var findings []Finding
	for _, f := range list {
		found, err := l.lint(f.Name, f.SQL)
		if err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(f.SQL))
		if grandfathered[f.Name] != hex.EncodeToString(sum[:]) {
			findings = append(findings, found...)
		}
	}
	if len(findings) > 0 {
		return &RefusedError{findings}
	}
	return nil
}

// One checks a migration by itself, against tables that it knows nothing of.
func One(name, sql string) ([]Finding, error) { return newLinter().lint(name, sql) }
