package postgres_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// star is a list of columns that says all of them. count(*) is none.
var star = regexp.MustCompile(`(?i)\b(select|returning|distinct|all)\s+(\w+\.)?\*|,\s*\w+\.\*`)

// A statement that takes all columns means others once a migration has added or
// dropped one: the version before would scan what it has no place for. Each
// string of the service is looked at, and each migration.
func TestNoStatementTakesAllColumns(t *testing.T) {
	t.Parallel()
	for text, banned := range map[string]bool{
		"select * from jobs": true, "select\n\t* from jobs": true, "SELECT j.* from jobs j": true, "insert into jobs (id) values ($1) returning *": true,
		"select id, v.* from videos v": true, "select distinct * from jobs": true,
		"select count(*) from jobs": false, "select size * 2 from jobs": false, "select from jobs": false, "video/*, image/*": false,
	} {
		require.Equal(t, banned, star.MatchString(text), text)
	}

	files := 0
	require.NoError(t, filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(path, ".sql"):
			files++
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NotRegexp(t, star, string(text), path)
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			files++
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			ast.Inspect(file, func(n ast.Node) bool {
				if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					text, err := strconv.Unquote(literal.Value)
					require.NoError(t, err)
					require.NotRegexp(t, star, text, set.Position(n.Pos()))
				}
				return true
			})
		}
		return nil
	}))
	require.Greater(t, files, 50)
}
