package migration_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/migration"
)

func up(statements string) string { return "-- +goose Up\n" + statements + "\n" }

func TestPhases(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{
		"00002_b.contract.sql": {Data: []byte(up("select 2;"))}, "00001_a.sql": {Data: []byte(up("select 1;"))}, "00010_c.sql": {Data: []byte(up("select 10;"))},
		"notes.txt": {},
	}
	of := func(p migration.Phase) (names []string) {
		list, err := migration.Files(p.Of(files))
		require.NoError(t, err)
		for _, f := range list {
			names = append(names, f.Name)
		}
		return names
	}
	require.Equal(t, []string{"00001_a.sql", "00002_b.contract.sql", "00010_c.sql"}, of(migration.All))
	require.Equal(t, []string{"00001_a.sql", "00010_c.sql"}, of(migration.Expand))
	require.Equal(t, []string{"00002_b.contract.sql"}, of(migration.Contract))
	require.NoError(t, migration.Expand.Validate())
	require.EqualError(t, migration.Phase("shrink").Validate(), `phase "shrink": want "expand", "contract" or none for both`)

	files["00002_again.sql"] = files["00001_a.sql"]
	_, err := migration.Files(files)
	require.ErrorContains(t, err, "have the same version")
	delete(files, "00002_again.sql")
	files["later.sql"] = files["00001_a.sql"]
	_, err = migration.Files(files)
	require.ErrorContains(t, err, "later.sql: want a name that begins with its version")
}

func TestArchive(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{"00001_a.sql": {Data: []byte(up("select 1;"))}, "00002_b.contract.sql": {Data: []byte(up("select 2;"))}, "README": {}}
	one, err := migration.Archive(files)
	require.NoError(t, err)
	two, err := migration.Archive(files)
	require.NoError(t, err)
	require.Equal(t, one, two, "its name is its content")
	opened, err := migration.Open(one)
	require.NoError(t, err)
	list, err := migration.Files(opened)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, up("select 2;"), list[1].SQL)
	list, err = migration.Files(migration.Contract.Of(opened))
	require.NoError(t, err)
	require.Len(t, list, 1)

	_, err = migration.Archive(fstest.MapFS{})
	require.Error(t, err)
	_, err = migration.Open([]byte("no archive"))
	require.Error(t, err)
	large := fstest.MapFS{"00001_a.sql": {Data: []byte(strings.Repeat(" ", 2<<20))}}
	packed, err := migration.Archive(large)
	require.NoError(t, err)
	require.Less(t, len(packed), 10_000)
	_, err = migration.Open(packed)
	require.ErrorContains(t, err, "at most 1048576")
}
