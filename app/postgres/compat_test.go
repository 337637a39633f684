package postgres_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
	"github.com/loadbearing/loadbearing/internal/migration"
)

var update = flag.Bool("update", false, "record the statements of this version as those of the last release")

const (
	recording = "testdata/released.json"
	about     = "What the last release asks of the database, for TestBothVersionsRunOnEverySchema. " +
		"When a release is cut, and only then, rewrite it in the released commit: go test ./app/postgres -run TestBothVersionsRunOnEverySchema -update"
)

// statement is one SQL statement of a version of the service. What is only
// known at run time stands in it as {expression}.
type statement struct {
	From string `json:"from"` // file:line
	SQL  string `json:"sql"`
}

// surface is what a version of the service asks of the database.
type surface struct {
	About      string      `json:"about,omitempty"`
	Migration  string      `json:"migration"` // file of the last one it came with
	Statements []statement `json:"statements"`
}

// standIns are for what statements get at run time: PostgreSQL cannot prepare
// them as they stand. What really comes there is, but for the conditions, a
// statement that is prepared by itself.
func standIns() map[string]string {
	return map[string]string{
		"{condition}":        "true",                                                         // Jobs.settle: what its callers require of the job's status
		"{update} returning": "update videos set updated_at = now() where id = $1 returning", // Videos.report: its callers' updates
	}
}

// While a release goes on, two versions run on one schema. Every statement of
// the version before is prepared on the schema it came with and on the expanded
// one; every statement of this version on the expanded and on the contracted
// one. So a column that a contract migration drops has to be gone from the code.
//
// Preparing finds missing or renamed tables, columns and functions, and types
// that do not fit. It does not find: values and rows that the other version does
// not know or a new constraint refuses; what row-level security and grants let
// through; what stands in the bodies of functions, which PostgreSQL reads when
// they run; the conditions that standIns replaces; result types that the scan does not take; slow plans and locks.
func TestBothVersionsRunOnEverySchema(t *testing.T) {
	t.Parallel()
	now, err := statements(os.DirFS("."))
	require.NoError(t, err)
	if *update {
		list, err := migration.Files(postgres.Migrations())
		require.NoError(t, err)
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		require.NoError(t, e.Encode(surface{about, list[len(list)-1].Name, now}))
		require.NoError(t, os.WriteFile(recording, b.Bytes(), 0o600))
	}
	text, err := os.ReadFile(recording)
	require.NoError(t, err)
	var before surface
	require.NoError(t, json.Unmarshal(text, &before))
	require.Equal(t, about, before.About)
	require.Greater(t, len(now), 60)
	require.Greater(t, len(before.Statements), 60)
	require.Empty(t, incompatible(t, postgres.Migrations(), before, now, standIns()))
}

// incompatible builds each state of the schema that a release from one version
// to the next goes through, and returns what does not run on it.
func incompatible(t *testing.T, files fs.FS, before surface, now []statement, standIns map[string]string) (findings []string) {
	t.Helper()
	list, err := migration.Files(files)
	require.NoError(t, err)
	last := slices.IndexFunc(list, func(f migration.File) bool { return f.Name == before.Migration })
	require.GreaterOrEqual(t, last, 0, "there is no migration %s, the last release's last", before.Migration)
	released := fstest.MapFS{}
	for _, f := range list[:last+1] {
		released[f.Name] = &fstest.MapFile{Data: []byte(f.SQL)}
	}

	owner := dbtest.Empty(t)
	role := postgres.Role{Username: "app_" + owner.Database, Password: "one"}
	config, err := pgx.ParseConfig("postgres://" + owner.Address + "/" + owner.Database)
	require.NoError(t, err)
	config.User, config.Password, config.TLSConfig, config.Fallbacks = owner.Username, owner.Password, owner.TLS, nil

	needed := map[string]bool{}
	for _, state := range []struct {
		name     string
		plan     postgres.Plan
		versions map[string][]statement
	}{
		{"released", postgres.Plan{Files: released}, map[string][]statement{"the version before": before.Statements}},
		{"expanded", postgres.Plan{Files: files, Phase: migration.Expand}, map[string][]statement{"the version before": before.Statements, "this version": now}},
		{"contracted", postgres.Plan{Files: files, Phase: migration.Contract}, map[string][]statement{"this version": now}},
	} {
		_, err := postgres.Migrate(t.Context(), owner, role, state.plan)
		require.NoError(t, err, state.name)
		conn, err := pgx.ConnectConfig(t.Context(), config)
		require.NoError(t, err)
		for _, version := range slices.Sorted(maps.Keys(state.versions)) {
			for _, s := range state.versions[version] {
				sql := s.SQL
				for part, standIn := range standIns {
					if strings.Contains(sql, part) {
						needed[part], sql = true, strings.ReplaceAll(sql, part, standIn)
					}
				}
				if _, err := conn.Prepare(t.Context(), "", sql); err != nil {
					findings = append(findings, fmt.Sprintf("%s: %s on the %s schema: %v", s.From, version, state.name, err))
				}
			}
		}
		require.NoError(t, conn.Close(t.Context()))
	}
	for _, part := range slices.Sorted(maps.Keys(standIns)) {
		if !needed[part] {
			findings = append(findings, "has a stand-in, and is in no statement: "+part)
		}
	}
	return findings
}

// verb is what an SQL statement begins with, and no message does.
var verb = regexp.MustCompile(`(?i)^\s*(select\b|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|with\s+\w+\s+as\b|merge\s+into\s|(un)?listen\s|notify\s)`)

// noImports leaves what other packages declare unknown: the statements are made
// of this one's constants.
type noImports struct{}

func (noImports) Import(name string) (*types.Package, error) { return nil, fs.ErrNotExist }

// statements returns the SQL statements in the Go files at the root of files,
// each once, by place.
func statements(files fs.FS) ([]statement, error) {
	names, err := fs.Glob(files, "*.go")
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, file)
	}
	info := types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	check := types.Config{Importer: noImports{}, Error: func(error) {}}
	_, _ = check.Check("postgres", set, parsed, &info) // the imports are missing

	var found []statement
	seen := map[string]bool{}
	sent := map[ast.Expr]bool{} // to PostgreSQL, whatever it begins with
	for _, file := range parsed {
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				f, _ := call.Fun.(*ast.SelectorExpr)
				switch {
				case f != nil && f.Sel.Name == "Queue" && len(call.Args) > 0:
					sent[call.Args[0]] = true
				case f != nil && slices.Contains([]string{"Exec", "Query", "QueryRow"}, f.Sel.Name) && len(call.Args) > 1:
					sent[call.Args[1]] = true // after the context
				}
			}
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			sql, whole := joined(e, info)
			if whole && (verb.MatchString(sql) || sent[e]) && !seen[sql] {
				seen[sql] = true
				at := set.Position(e.Pos())
				found = append(found, statement{fmt.Sprintf("%s:%d", path.Base(at.Filename), at.Line), sql})
			}
			return !whole
		})
	}
	return found, nil
}

// joined returns the text of a constant string or of a sum of strings, and
// whether the expression is one.
func joined(e ast.Expr, info types.Info) (string, bool) {
	if v := info.Types[e].Value; v != nil && v.Kind() == constant.String {
		return constant.StringVal(v), true
	}
	sum, ok := e.(*ast.BinaryExpr)
	if !ok || sum.Op != token.ADD {
		return "", false
	}
	left, some := joined(sum.X, info)
	right, more := joined(sum.Y, info)
	if !some {
		left = "{" + types.ExprString(sum.X) + "}"
	}
	if !more {
		right = "{" + types.ExprString(sum.Y) + "}"
	}
	return left + right, some || more
}

func TestStatementsAreFound(t *testing.T) {
	t.Parallel()
	found, err := statements(fstest.MapFS{
		"a.go": {Data: []byte("package p\n\nimport \"x\"\n\nconst columns = `id,\n\tname`\n\nfunc f(b x.Batch, table string) error {\n" +
			"\tb.Queue(\"select \"+columns+\" from users\")\n\tb.Queue(\"select \" + table + \"($1)\")\n\tb.Queue(\"select \"+columns+\" from users\")\n" +
			"\tif b.Exec(remove) != nil {\n\t\treturn x.Errorf(\"delete a user: update it\")\n\t}\n\treturn nil\n}\n")},
		"c.go":      {Data: []byte("package p\n\nfunc g(c x.Conn, update string) { c.QueryRow(nil, update+\" returning id\", 1) }\n")},
		"b.go":      {Data: []byte("package p\n\nconst remove = \"delete from \" + \"users\"\n")},
		"a_test.go": {Data: []byte("package p\n\nconst test = \"select 1\"\n")},
	})
	require.NoError(t, err)
	require.Equal(t, []statement{
		{"a.go:9", "select id,\n\tname from users"}, {"a.go:10", "select {table}($1)"}, {"a.go:12", "delete from users"}, {"c.go:3", "{update} returning id"},
	}, found)
}

func TestIncompatibleMigrationsAreFound(t *testing.T) {
	t.Parallel()
	hash := statement{"users.go:1", "select password_hash from users"}
	trace := statement{"outbox.go:2", "insert into outbox (traceparent) values ($1)"}
	added := statement{"users.go:3", "select nickname from users"}
	sum := statement{"outbox.go:4", "select {function}($1)"}
	const noHash, noTrace, noNickname = `ERROR: column "password_hash" does not exist (SQLSTATE 42703)`,
		`ERROR: column "traceparent" of relation "outbox" does not exist (SQLSTATE 42703)`, `ERROR: column "nickname" does not exist (SQLSTATE 42703)`
	for name, c := range map[string]struct {
		migrations  map[string]string
		before, now []statement
		standIns    map[string]string
		want        []string
	}{
		"an expand migration renames what the version before uses": {
			migrations: map[string]string{"90001_rename.sql": "alter table users rename column password_hash to secret;"},
			before:     []statement{hash, trace}, now: []statement{trace},
			want: []string{"users.go:1: the version before on the expanded schema: " + noHash},
		},
		"an expand migration drops what both use": {
			migrations: map[string]string{"90001_drop.sql": "alter table outbox drop column traceparent;"},
			before:     []statement{trace}, now: []statement{trace},
			want: []string{
				"outbox.go:2: the version before on the expanded schema: " + noTrace, "outbox.go:2: this version on the expanded schema: " + noTrace,
				"outbox.go:2: this version on the contracted schema: " + noTrace,
			},
		},
		"a contract migration drops what the code still uses": {
			migrations: map[string]string{"90001_drop.contract.sql": "alter table outbox drop column traceparent;"},
			before:     []statement{trace}, now: []statement{hash, trace},
			want: []string{"outbox.go:2: this version on the contracted schema: " + noTrace},
		},
		"the code uses what only the contract migration makes": {
			migrations: map[string]string{"90001_add.contract.sql": "alter table users add column nickname text;"},
			now:        []statement{added},
			want:       []string{"users.go:3: this version on the expanded schema: " + noNickname},
		},
		"expand, then contract what only the version before uses": {
			migrations: map[string]string{
				"90001_add.sql":           "alter table users add column nickname text;",
				"90002_drop.contract.sql": "alter table outbox drop column traceparent;",
			},
			before: []statement{hash, trace}, now: []statement{hash, added},
		},
		"the version before never worked": {
			before: []statement{added},
			want: []string{
				"users.go:3: the version before on the released schema: " + noNickname, "users.go:3: the version before on the expanded schema: " + noNickname,
			},
		},
		"one part has no stand-in, one stand-in no part": {
			now:      []statement{{"users.go:4", "select id from users where {condition}"}, sum},
			standIns: map[string]string{"{condition}": "true", "{gone}": "true"},
			want: []string{
				`outbox.go:4: this version on the expanded schema: ERROR: syntax error at or near "{" (SQLSTATE 42601)`,
				`outbox.go:4: this version on the contracted schema: ERROR: syntax error at or near "{" (SQLSTATE 42601)`,
				"has a stand-in, and is in no statement: {gone}",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, err := migration.Files(postgres.Migrations())
			require.NoError(t, err)
			files := fstest.MapFS{}
			for _, f := range list {
				files[f.Name] = &fstest.MapFile{Data: []byte(f.SQL)}
			}
			for name, sql := range c.migrations {
				files[name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + sql + "\n")}
			}
			require.Equal(t, c.want, incompatible(t, files, surface{Migration: list[len(list)-1].Name, Statements: c.before}, c.now, c.standIns))
		})
	}
}
