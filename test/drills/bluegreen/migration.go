package bluegreen

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/migration"
	"github.com/loadbearing/loadbearing/internal/migration/lint"
	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/internal/release"
	"github.com/loadbearing/loadbearing/test/drill"
	"github.com/loadbearing/loadbearing/test/drills/internal/traffic"
)

// Migrations of the drill have versions above all others, so that they can be
// told apart and taken back.
const (
	firstVersion = 9001
	create       = "-- +goose Up\nCREATE TABLE drill_notes (id bigint PRIMARY KEY, body text NOT NULL DEFAULT '');\n"
	rename       = "-- +goose Up\nALTER TABLE drill_notes RENAME COLUMN body TO words;\n"
)

// migrations: a release with a migration under which the running version would
// break is refused by the controller, before anything of it has happened. The
// sequence that the refusal suggests passes.
func migrations(ctx context.Context, r *drill.Run) error {
	restore, err := r.Keep(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if _, err := r.Primary().Exec(context.WithoutCancel(ctx), fmt.Sprintf("drop table if exists drill_notes; delete from goose_db_version where version_id >= %d", firstVersion)); err != nil {
			r.Check(false, "the drill's table is left behind: %v", err)
		}
	}()
	versions, err := versions(ctx, r)
	if err != nil {
		return err
	}
	t, err := traffic.Start(ctx, r, traffic.Options{PerSecond: 40})
	if err != nil {
		return err
	}
	findings, err := lint.One("9002_rename.sql", rename)
	if err != nil || len(findings) != 1 || len(findings[0].Safe) == 0 {
		return fmt.Errorf("the lint has %d findings in %q, and no sequence instead: %w", len(findings), rename, err)
	}

	p := plan(versions[0])
	if p.Migrations, err = pack(ctx, r, lint.Step{Name: "create.sql", SQL: create}, lint.Step{Name: "rename.sql", SQL: rename}); err != nil {
		return err
	}
	refused, err := r.Release(ctx, p, func(s release.State) { r.Check(s.Weight == 0, "it got %d %% of the traffic", s.Weight) })
	if err != nil {
		return err
	}
	if _, err := r.Over(ctx, refused.Number); err != nil {
		return err
	}
	columns, err := columnsOf(ctx, r)
	if err != nil {
		return err
	}
	its, _ := t.Served(p.Version)
	r.Check(refused.Phase == release.RolledBack || refused.Phase == release.Withdrawing, "the release is %s", refused.Phase)
	r.Check(strings.Contains(refused.Reason, findings[0].Rule), "the reason does not name the rule %s: %s", findings[0].Rule, refused.Reason)
	r.Check(columns == "" && its == 0, "something of it happened: columns %q, %d requests", columns, its)
	r.Figure("migrations_refused_by_rule", findings[0].Rule)

	if p.Migrations, err = pack(ctx, r, append([]lint.Step{{Name: "create.sql", SQL: create}}, findings[0].Safe...)...); err != nil {
		return err
	}
	passed, err := r.Release(ctx, p, nil)
	if err != nil {
		return err
	}
	last, err := r.Over(ctx, passed.Number)
	if err != nil {
		return err
	}
	if columns, err = columnsOf(ctx, r); err != nil {
		return err
	}
	r.Check(last.Phase == release.Done && last.Reason == "", "with the sequence that was suggested it is %s: %s", last.Phase, last.Reason)
	r.Check(strings.Contains(columns, "words") && !strings.Contains(columns, "body"), "afterwards the table has the columns %q", columns)
	r.Figure("migrations_suggested", len(findings[0].Safe))
	if err := restore(ctx); err != nil {
		return err
	}
	return t.Stop(ctx, "migrations")
}

// columnsOf returns the columns of the drill's table, "" when there is none.
func columnsOf(ctx context.Context, r *drill.Run) (columns string, err error) {
	err = r.Primary().QueryRow(ctx, "select coalesce(string_agg(column_name, ',' order by column_name), '') from information_schema.columns where table_name = 'drill_notes'").Scan(&columns)
	return columns, err
}

// pack uploads the service's migrations and those of the drill after them, past
// the lint that an operator's command has.
func pack(ctx context.Context, r *drill.Run, steps ...lint.Step) (*contract.Artifact, error) {
	found, err := project.Find()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "migrations")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(found.Root, "app", "postgres", "migrations"))); err != nil {
		return nil, err
	}
	for i, s := range steps {
		name := fmt.Sprintf("%05d_drill_%d_%s", firstVersion+i, i, s.Name)
		if err := os.WriteFile(filepath.Join(folder, name), []byte(s.SQL), 0o600); err != nil {
			return nil, err
		}
	}
	archive, err := migration.Archive(os.DirFS(folder))
	if err != nil {
		return nil, err
	}
	target, err := r.Releases().Target(ctx)
	if err != nil {
		return nil, err
	}
	objects := s3.NewFromConfig(r.AWS, func(o *s3.Options) { o.UsePathStyle = true })
	a, err := release.Upload(ctx, objects, target.Artifacts, "migrations.zip", bytes.NewReader(archive))
	return &a, err
}
