package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/fstest"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/migration"
	"github.com/loadbearing/loadbearing/internal/migration/lint"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// bucket is S3 with objects by key.
type bucket map[string][]byte

func (b bucket) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	data, found := b[*in.Key]
	if !found {
		return nil, errors.New("NoSuchKey")
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(data))}, nil
}

func newFunction(t *testing.T) (function, bucket) {
	t.Helper()
	owner, b := dbtest.Empty(t), bucket{}
	role := postgres.Role{Username: "migrate_test", Password: "correct horse battery staple"}
	return function{log: slog.New(slog.DiscardHandler), objects: b, connect: as(owner, role)}, b
}

func as(owner postgres.Config, role postgres.Role) connection {
	return func(context.Context) (postgres.Config, postgres.Role, error) { return owner, role, nil }
}

// release puts migrations into the bucket beside those of the service.
func (b bucket) release(t *testing.T, key string, added map[string]string) *contract.Artifact {
	t.Helper()
	files := fstest.MapFS{}
	list, err := migration.Files(postgres.Migrations())
	require.NoError(t, err)
	for _, f := range list {
		files[f.Name] = &fstest.MapFile{Data: []byte(f.SQL)}
	}
	for name, sql := range added {
		files[name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + sql)}
	}
	archive, err := migration.Archive(files)
	require.NoError(t, err)
	b[key] = archive
	sum := sha256.Sum256(archive)
	return &contract.Artifact{Bucket: "releases", Key: key, SHA256: hex.EncodeToString(sum[:])}
}

func TestMigrateAnswersWhatItDid(t *testing.T) {
	t.Parallel()
	f, _ := newFunction(t)
	first, err := f.handle(t.Context(), migration.Event{})
	require.NoError(t, err)
	require.NotEmpty(t, first.Applied)
	require.Positive(t, first.Version)

	again, err := f.handle(t.Context(), migration.Event{})
	require.NoError(t, err)
	require.Equal(t, first.Version, again.Version)
	out, err := json.Marshal(again)
	require.NoError(t, err)
	require.JSONEq(t, `{"version":5,"applied":[],"pending":[]}`, string(out))
}

func TestAReleaseExpandsBeforeAndContractsAfter(t *testing.T) {
	t.Parallel()
	f, b := newFunction(t)
	_, err := f.handle(t.Context(), migration.Event{})
	require.NoError(t, err)
	const takes, adds = "90001_reason.contract.sql", "90002_note.sql"
	release := b.release(t, "releases/1.zip", map[string]string{
		takes: "alter table jobs drop column reason;", adds: "alter table jobs add column note text;",
	})
	checked, err := f.handle(t.Context(), migration.Event{Migrations: release, Check: true})
	require.NoError(t, err)
	require.Equal(t, migration.Result{Version: 5, Applied: []string{}, Pending: []string{takes, adds}}, checked)

	before, err := f.handle(t.Context(), migration.Event{Migrations: release, Phase: migration.Expand})
	require.NoError(t, err)
	require.Equal(t, migration.Result{Version: 90002, Applied: []string{adds}, Pending: []string{takes}}, before)

	// The functions of another deployment know nothing of it.
	own, err := f.handle(t.Context(), migration.Event{Phase: migration.Contract})
	require.NoError(t, err)
	require.Equal(t, migration.Result{Version: 90002, Applied: []string{}, Pending: []string{}}, own)

	after, err := f.handle(t.Context(), migration.Event{Migrations: release, Phase: migration.Contract})
	require.NoError(t, err)
	require.Equal(t, migration.Result{Version: 90002, Applied: []string{takes}, Pending: []string{}}, after)
	again, err := f.handle(t.Context(), migration.Event{Migrations: release})
	require.NoError(t, err)
	require.Empty(t, again.Applied)
}

func TestABreakingMigrationIsRefusedBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	f, b := newFunction(t)
	release := b.release(t, "releases/1.zip", map[string]string{
		"90001_note.sql": "alter table jobs add column note text;", "90002_drop.sql": "alter table jobs drop column reason;",
	})
	for _, event := range []migration.Event{{Migrations: release, Phase: migration.Expand}, {Migrations: release, Phase: migration.Contract}, {Migrations: release, Check: true}} {
		_, err := f.handle(t.Context(), event)
		var refused *lint.RefusedError
		require.ErrorAs(t, err, &refused)
		require.ErrorContains(t, err, "90002_drop.sql:2: drop-column")
		require.ErrorContains(t, err, "N_drop.contract.sql")
	}
	state, err := f.handle(t.Context(), migration.Event{Check: true})
	require.NoError(t, err)
	require.Zero(t, state.Version)
	require.Len(t, state.Pending, 5)
}

func TestOtherBytesThanTheReleaseNamedAreRefused(t *testing.T) {
	t.Parallel()
	f, b := newFunction(t)
	release := b.release(t, "releases/1.zip", nil)
	b["releases/1.zip"] = append(b["releases/1.zip"], 0)
	_, err := f.handle(t.Context(), migration.Event{Migrations: release})
	require.ErrorContains(t, err, "s3://releases/releases/1.zip refused: their SHA-256 is")
	release.Key = "elsewhere"
	_, err = f.handle(t.Context(), migration.Event{Migrations: release})
	require.ErrorContains(t, err, "NoSuchKey")
	_, err = f.handle(t.Context(), migration.Event{Phase: "shrink"})
	require.ErrorContains(t, err, `phase "shrink"`)
}

func TestMigrateSaysWhyItCannot(t *testing.T) {
	t.Parallel()
	f, _ := newFunction(t)
	owner := dbtest.Empty(t)
	owner.Password = "wrong"
	f.connect = as(owner, postgres.Role{Username: "migrate_test", Password: "x"})
	_, err := f.handle(t.Context(), migration.Event{})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "wrong", "the password reached the error")
}
