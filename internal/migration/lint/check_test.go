package lint_test

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/migration/lint"
	"github.com/loadbearing/loadbearing/local/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// before is a schema in use: more rows than a batch takes.
const before = `-- +goose Up
create table owners (
    id   int primary key,
    name text not null
);
create table things (
    id       int primary key,
    owner    int,
    name     text,
    size     int not null default 0,
    extra    varchar(20),
    seen     timestamptz
);
create index things_name on things (name);
create function twice(int) returns int language sql immutable return $1 * 2;
create type mood as enum ('good');
insert into owners (id, name) values (1, 'a');
insert into things (id, owner, name) select n, 1, 'thing ' || n from generate_series(1, 2500) n;
-- +goose Down
drop table things, owners;
`

func up(statements string) string { return "-- +goose Up\n" + statements + "\n" }

func alone(statements string) string { return "-- +goose NO TRANSACTION\n" + up(statements) }

type sample struct {
	rule     string
	contract bool
	sql      string
	noSafe   bool // there is no sequence that comes to the same
}

func refusedSamples() []sample {
	return []sample{
		{rule: "drop", sql: up("drop table owners;")},
		{rule: "drop", sql: up("drop function twice(int);")},
		{rule: "drop", sql: up("drop type mood;")},
		{rule: "drop-column", sql: up("alter table things drop column extra;")},
		{rule: "drop-constraint", sql: up("alter table owners drop constraint owners_pkey;")},
		{rule: "rename", sql: up("alter table things rename column name to title;")},
		{rule: "rename", contract: true, sql: up("alter table things rename column name to title;")},
		{rule: "rename", sql: up("alter table things rename to objects;")},
		{rule: "rename", sql: up("alter function twice(int) rename to double;"), noSafe: true},
		{rule: "column-type", sql: up("alter table things alter column size type bigint;")},
		{rule: "column-type", contract: true, sql: up("alter table things alter column extra type varchar(40);")},
		{rule: "not-null", sql: up("alter table things alter column name set not null;")},
		{rule: "not-null", contract: true, sql: up("alter table things alter column name set not null;")},
		{rule: "not-null", sql: up("alter table owners add column color text not null;")},
		{rule: "not-null", sql: up("alter table owners add column born timestamptz not null, add column age int not null, add column tags text[] not null;")},
		{rule: "volatile-default", sql: up("alter table things add column token uuid default gen_random_uuid();")},
		{rule: "volatile-default", sql: up("alter table things add column code text default substr(md5(random()::text), 1, 8);")},
		{rule: "volatile-default", sql: up("alter table things add column number bigserial;")},
		{rule: "column-rewrite", sql: up("alter table things add column area int generated always as (size * 2) stored;")},
		{rule: "column-rewrite", sql: up("alter table things add column number bigint generated always as identity;")},
		{rule: "column-constraint", sql: up("alter table things add column weight int check (weight >= 0);")},
		{rule: "column-constraint", sql: up("alter table things add column parent int references owners (id);")},
		{rule: "column-constraint", sql: up("alter table things add column slug text unique;")},
		{rule: "index-not-concurrent", sql: up("create index things_seen on things (seen) where seen is not null;")},
		{rule: "index-not-concurrent", sql: up("create index on things (lower(name));")},
		{rule: "index-not-concurrent", sql: up("drop index things_name;")},
		{rule: "index-not-concurrent", sql: up("reindex table things;")},
		{rule: "concurrent-in-transaction", sql: up("create index concurrently things_seen on things (seen);")},
		{rule: "concurrent-in-transaction", sql: up("drop index concurrently things_name;")},
		{rule: "index-not-repeatable", sql: alone("create index concurrently if not exists things_seen on things (seen);")},
		{rule: "unique-in-expand", sql: up("create unique index things_unique on things (name);")},
		{rule: "unique-in-expand", sql: up("alter table owners add constraint owners_key unique using index owners_unique;")},
		{rule: "constraint-validated", sql: up("alter table things add constraint small check (size < 1000), add foreign key (owner) references owners;")},
		{rule: "constraint-validated", contract: true, sql: up("alter table things add foreign key (owner) references owners (id);")},
		{rule: "constraint-validated", sql: up("alter table things add exclude (name with =);"), noSafe: true},
		{rule: "constraint-in-expand", sql: up("alter table things add constraint small check (size < 1000) not valid;")},
		{rule: "constraint-builds-index", sql: up("alter table things add unique (name, id);")},
		{rule: "constraint-builds-index", contract: true, sql: up("alter table things add constraint things_name_key unique (name);")},
		{rule: "row-security", sql: up("alter table things enable row level security;")},
		{rule: "row-security", contract: true, sql: up("alter table things disable row level security;"), noSafe: true},
		{rule: "heavy-lock", contract: true, sql: up("lock table things;"), noSafe: true},
		{rule: "heavy-lock", contract: true, sql: up("truncate things;"), noSafe: true},
		{rule: "heavy-lock", contract: true, sql: up("cluster things using things_name;"), noSafe: true},
		{rule: "heavy-lock", contract: true, sql: up("alter table things set tablespace other;"), noSafe: true},
		{rule: "heavy-lock", contract: true, sql: up("create table copy as select id from things;"), noSafe: true},
		{rule: "heavy-lock", sql: alone("vacuum full things;"), noSafe: true},
		{rule: "several-tables", sql: up("alter table things add column a int;\nalter table owners add column a int;")},
		{rule: "several-tables", contract: true, sql: up("drop table things, owners;"), noSafe: true},
		{rule: "whole-table", sql: up("update things set size = 7;")},
		{rule: "whole-table", sql: up("update things set seen = now() where seen is null and name like 'thing %';")},
		{rule: "whole-table", contract: true, sql: up("delete from things where size = 0;")},
		{rule: "whole-table", contract: true, sql: up("delete from things;")},
		{rule: "whole-table", sql: up("insert into owners (id, name) select id, name from things;"), noSafe: true},
		{rule: "whole-table", sql: up("do $$ begin update things set size = 7; end $$;")},
		{rule: "whole-table", sql: alone("do $$ begin update things set size = 7; commit; end $$;")},
		{rule: "whole-table", sql: up("do $$ begin update things set size = 7 where id in (select id from things limit 5); end $$;")},
		{rule: "drop-column", sql: alone("do $$ begin alter table things drop column extra; end $$;")},
		{rule: "unknown", sql: up("do $$ begin execute 'drop table things'; end $$;"), noSafe: true},
		{rule: "unknown", sql: up("alter table things replica identity full;"), noSafe: true},
		{rule: "unknown", sql: up("alter system set work_mem = '1GB';"), noSafe: true},
		{rule: "revoke", sql: up("revoke select on things from public;")},
		{rule: "setting", sql: up("set search_path = other;"), noSafe: true},
		{rule: "not-repeatable", sql: alone("alter table things add column a int;")},
	}
}

func TestWhatWouldBreakTheRunningVersionIsRefused(t *testing.T) {
	t.Parallel()
	for i, s := range refusedSamples() {
		t.Run(fmt.Sprintf("%02d %s", i, s.rule), func(t *testing.T) {
			t.Parallel()
			name := "00002_change.sql"
			if s.contract {
				name = "00002_change.contract.sql"
			}
			err := lint.Check(fstest.MapFS{"00001_before.sql": {Data: []byte(before)}, name: {Data: []byte(s.sql)}})
			var refused *lint.RefusedError
			require.ErrorAs(t, err, &refused)
			var found *lint.Finding
			for i, f := range refused.Findings {
				require.Equal(t, name, f.File, "what came before is in use, and not at fault")
				if f.Rule == s.rule && found == nil {
					found = &refused.Findings[i]
				}
			}
			require.NotNil(t, found, err)
			require.Contains(t, err.Error(), name+":")
			require.NotEmpty(t, found.Why)
			require.Equal(t, s.noSafe, len(found.Safe) == 0, err)
			if s.noSafe {
				return
			}

			steps := fstest.MapFS{"00001_before.sql": {Data: []byte(before)}}
			if strings.Contains(s.sql, "owners_unique") {
				steps["00002_unique.contract.sql"] = &fstest.MapFile{Data: []byte(alone("drop index concurrently if exists owners_unique;\ncreate unique index concurrently owners_unique on owners (name);"))}
			}
			for i, step := range found.Safe {
				require.Contains(t, err.Error(), strings.SplitN(strings.TrimPrefix(step.SQL, "-- +goose NO TRANSACTION\n"), "\n", 3)[1])
				steps[fmt.Sprintf("%05d_%s", 3+i, step.Name)] = &fstest.MapFile{Data: []byte(step.SQL)}
			}
			require.NoError(t, lint.Check(steps), "what is suggested passes")
			run(t, steps)
		})
	}
}

// run applies migrations to a database of their own.
func run(t *testing.T, files fs.FS) {
	t.Helper()
	config, err := pgx.ParseConfig(pgtest.New(t).DSN)
	require.NoError(t, err)
	db := stdlib.OpenDB(*config)
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true))
	require.NoError(t, err)
	_, err = provider.Up(t.Context())
	require.NoError(t, err)
}

func TestWhatOnlyAddsPasses(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{"00001_before.sql": {Data: []byte(before)}}
	for i, sql := range []string{
		`create table notes (
		    id    bigint generated always as identity primary key,
		    thing int not null references things (id) on delete cascade,
		    text  text not null check (text <> ''),
		    unique (thing, id)
		);
		create index notes_text on notes (text);
		alter table notes enable row level security, add column late int not null;
		alter table notes alter column late type bigint;
		create policy mine on notes using (true);
-- +goose StatementBegin
		create function note() returns trigger language plpgsql as $$ begin delete from things; return null; end $$;
-- +goose StatementEnd
		revoke execute on function note() from public;
		grant select on notes to public;
		update notes set late = 1;
		alter table notes rename column late to later;
		drop table notes;
		drop function note();`,
		`alter table things add column a int not null default 7, add column b timestamptz default now(), add column c text default 'x' || 'y',
		    add column d int, add constraint d_positive check (d > 0) not valid, alter column name set default '(, default';`,
		`alter table things validate constraint d_positive; alter table things alter column a drop not null;`,
		`alter type mood add value 'bad'; comment on table things is 'all of them'; create view thing_names as select name from things;`,
		`insert into owners (id, name) values (2, 'b');`,
		`set local lock_timeout = '2s'; alter index things_name rename to things_by_name;`,
	} {
		files[fmt.Sprintf("%05d_add.sql", 2+i)] = &fstest.MapFile{Data: []byte(up(sql))}
	}
	require.NoError(t, lint.Check(files))
	run(t, files)
}

func TestContractingMayTakeAway(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{"00001_before.sql": {Data: []byte(before)}}
	for i, sql := range []string{
		"alter table things drop column extra, drop column seen;",
		"drop function twice(int); drop type mood;",
		"alter table things add constraint small check (size < 1000) not valid;",
		"alter table things validate constraint small;",
		"alter table things add constraint has_name check (name is not null) not valid;",
		"alter table things validate constraint has_name;",
		"alter table things alter column name set not null;", // what an earlier one validated counts
		"drop table owners;",
	} {
		files[fmt.Sprintf("%05d_take.contract.sql", 2+i)] = &fstest.MapFile{Data: []byte(up(sql))}
	}
	require.NoError(t, lint.Check(files))
	run(t, files)
}

func TestAFindingSaysWhere(t *testing.T) {
	t.Parallel()
	findings, err := lint.One("00007_size.sql", "-- Why.\n\n-- +goose Up\n-- A comment; with a semicolon.\ncreate table x (id int);\n\n-- Another.\nalter table\n    things drop column size;\n-- +goose Down\ndrop table x;\n")
	require.NoError(t, err)
	require.Len(t, findings, 1)
	require.Equal(t, `00007_size.sql:8: drop-column: alter table things drop column size
  The running version reads and writes the column. Drop it when that has gone.
  Instead:
    1. N_size.contract.sql
       -- +goose Up
       alter table things drop column size;`, findings[0].String())

	_, err = lint.One("00007_size.sql", "select 1;")
	require.ErrorContains(t, err, "no line -- +goose Up")
	_, err = lint.One("00007_size.sql", "-- +goose Up\nalter tabel x;")
	require.ErrorContains(t, err, `00007_size.sql is no SQL that PostgreSQL reads: syntax error at or near "tabel"`)
}
