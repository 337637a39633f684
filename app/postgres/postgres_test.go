package postgres_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func TestMigrateFromSeveralPlacesAtOnce(t *testing.T) {
	t.Parallel()
	owner := dbtest.Empty(t)
	role := postgres.Role{Username: "app_" + owner.Database, Password: "one"}
	var wg sync.WaitGroup
	applied := make([]int, 4)
	errs := make([]error, 4)
	for i := range applied {
		wg.Go(func() {
			schema, err := postgres.Migrate(t.Context(), owner, role, postgres.Plan{})
			applied[i], errs[i] = len(schema.Applied), err
		})
	}
	wg.Wait()
	total := 0
	for i := range applied {
		require.NoError(t, errs[i])
		total += applied[i]
	}
	files, err := filepath.Glob("migrations/*.sql")
	require.NoError(t, err)
	require.Len(t, files, total, "each migration is applied once")

	// A rotated password takes effect with the next run.
	role.Password = "two"
	schema, err := postgres.Migrate(t.Context(), owner, role, postgres.Plan{})
	require.NoError(t, err)
	require.Empty(t, schema.Applied)
	require.Positive(t, schema.Version)
	config := owner
	config.Username, config.Password = role.Username, "two"
	db, err := postgres.Open(t.Context(), config)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.Ping(t.Context()))

	_, err = postgres.Migrate(t.Context(), owner, postgres.Role{Username: owner.Username, Password: "x"}, postgres.Plan{})
	require.ErrorContains(t, err, "must not be the owner's")
}

// raw connects as the application's role, past the stores.
func raw(t *testing.T, c postgres.Config) *pgxpool.Pool {
	t.Helper()
	pc, err := pgxpool.ParseConfig("sslmode=disable")
	require.NoError(t, err)
	p, err := pgx.ParseConfig("postgres://" + c.Address)
	require.NoError(t, err)
	pc.ConnConfig.Host, pc.ConnConfig.Port = p.Host, p.Port
	pc.ConnConfig.Database, pc.ConnConfig.User, pc.ConnConfig.Password = c.Database, c.Username, c.Password
	pc.ConnConfig.TLSConfig = c.TLS
	pool, err := pgxpool.NewWithConfig(t.Context(), pc)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func TestRowLevelSecurityHoldsWithoutWhereClauses(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	mine, other := db.Register(t), db.Register(t)
	now := time.Now()
	for _, o := range []dbtest.Owner{mine, other} {
		require.NoError(t, db.Sessions().Create(t.Context(), app.Session{ID: dbtest.NewID(t), TenantID: o.Tenant.ID, UserID: o.User.ID, TokenHash: hash(t), ExpiresAt: now.Add(time.Hour)}))
		v := newVideo(t, o)
		require.NoError(t, db.Videos().Create(t.Context(), v))
		require.NoError(t, db.Videos().Metered(t.Context(), uuid.New(), now, app.VideoUploaded{TenantID: o.Tenant.ID, VideoID: v.ID, Bytes: 1}))
		require.NoError(t, db.Jobs().Create(t.Context(), newJob(t, o)))
		require.NoError(t, db.Notices().Deliver(t.Context(), app.Notice{TenantID: o.Tenant.ID, Aggregate: v.ID, Sequence: 2}, nil))
		require.NoError(t, db.Webhooks().Set(t.Context(), app.Webhook{TenantID: o.Tenant.ID, URL: "https://example.com", Secret: "x", CreatedAt: now}))
	}
	pool := raw(t, db.Config)
	tables := []string{"tenants", "users", "sessions", "refresh_tokens", "projects", "jobs", "videos", "usage_days", "consumed_events", "notices", "early_notices", "webhooks"}
	for _, table := range tables {
		count := func(tenant string) (n int) {
			require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
				if _, err := tx.Exec(t.Context(), "select set_config('app.tenant_id', $1, true)", tenant); err != nil {
					return err
				}
				return tx.QueryRow(t.Context(), "select count(*) from "+table).Scan(&n)
			}))
			return n
		}
		require.Equal(t, 1, count(mine.Tenant.ID.String()), table)
		require.Equal(t, 0, count(""), table)
	}
	var n int
	require.NoError(t, pool.QueryRow(t.Context(), "select count(*) from outbox").Scan(&n))
	require.Zero(t, n, "only the relay reads the outbox")

	// Another tenant's rows cannot be written either.
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "select set_config('app.tenant_id', $1, true)", mine.Tenant.ID.String()); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), "insert into usage_days (tenant_id, day, bytes) values ($1, '2026-01-01', 1)", other.Tenant.ID)
		return err
	})
	require.ErrorContains(t, err, "row-level security")

	// Every table of the schema has the wall, whatever a later migration adds.
	var unprotected []string
	rows, err := pool.Query(t.Context(), `select relname::text from pg_class
		where relkind = 'r' and relnamespace = 'public'::regnamespace and not relrowsecurity and relname <> 'goose_db_version'`)
	require.NoError(t, err)
	unprotected, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Empty(t, unprotected)
}

func TestTheRoleOwnsNothing(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	pool := raw(t, db.Config)
	for _, statement := range []string{
		"create table x (id int)", "drop table outbox", "alter table users disable row level security",
		"truncate projects", "select * from goose_db_version", "delete from tenants",
	} {
		_, err := pool.Exec(t.Context(), statement)
		require.Error(t, err, statement)
	}
}

func TestRegisterAndFindUsers(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)

	got, err := db.Users().ByEmail(t.Context(), o.User.Email)
	require.NoError(t, err)
	require.Equal(t, o.User, got)
	user, tenant, err := db.Users().ByID(t.Context(), o.Tenant.ID, o.User.ID)
	require.NoError(t, err)
	require.Equal(t, o.User, user)
	require.Equal(t, o.Tenant, tenant)

	again := o.User
	again.ID, again.TenantID = dbtest.NewID(t), dbtest.NewID(t)
	err = db.Users().Register(t.Context(), app.Tenant{ID: again.TenantID, Name: "B", CreatedAt: time.Now()}, again)
	require.Equal(t, app.CodeConflict, app.CodeOf(err))
	_, _, err = db.Users().ByID(t.Context(), again.TenantID, again.ID)
	require.Equal(t, app.CodeNotFound, app.CodeOf(err), "a refused registration leaves no tenant")

	_, err = db.Users().ByEmail(t.Context(), "nobody@example.com")
	require.Equal(t, app.CodeNotFound, app.CodeOf(err))
	_, _, err = db.Users().ByID(t.Context(), db.Register(t).Tenant.ID, o.User.ID)
	require.Equal(t, app.CodeNotFound, app.CodeOf(err))
}

func hash(t *testing.T) []byte {
	t.Helper()
	a, b := uuid.New(), uuid.New()
	return append(a[:], b[:]...)
}

func TestRotateRefreshTokens(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	s := db.Sessions()
	expires := time.Now().Add(time.Hour)
	create := func(expires time.Time) app.Session {
		n := app.Session{ID: dbtest.NewID(t), TenantID: o.Tenant.ID, UserID: o.User.ID, TokenHash: hash(t), ExpiresAt: expires}
		require.NoError(t, s.Create(t.Context(), n))
		return n
	}
	active := func(n app.Session) bool {
		ok, err := s.Active(t.Context(), n.TenantID, n.ID)
		require.NoError(t, err)
		return ok
	}

	first, second, third := create(expires), hash(t), hash(t)
	got, user, err := s.Rotate(t.Context(), first.TokenHash, second, expires)
	require.NoError(t, err)
	require.Equal(t, first.ID, got.ID)
	require.Equal(t, o.User, user)
	require.True(t, active(first))

	// The first token again: somebody stole one of the two.
	_, _, err = s.Rotate(t.Context(), first.TokenHash, third, expires)
	require.Equal(t, app.CodeUnauthenticated, app.CodeOf(err))
	require.False(t, active(first))
	_, _, err = s.Rotate(t.Context(), second, third, expires)
	require.Equal(t, app.CodeUnauthenticated, app.CodeOf(err), "reuse ends the session for everyone")

	_, _, err = s.Rotate(t.Context(), hash(t), hash(t), expires)
	require.Equal(t, app.CodeUnauthenticated, app.CodeOf(err), "unknown token")

	old := create(time.Now().Add(-time.Second))
	require.False(t, active(old))
	_, _, err = s.Rotate(t.Context(), old.TokenHash, hash(t), expires)
	require.Equal(t, app.CodeUnauthenticated, app.CodeOf(err), "expired session")

	a, b := create(expires), create(expires)
	require.NoError(t, s.Revoke(t.Context(), o.Tenant.ID, a.ID))
	require.False(t, active(a))
	require.True(t, active(b))
	require.NoError(t, s.RevokeUser(t.Context(), db.Register(t).Tenant.ID, o.User.ID))
	require.True(t, active(b), "another tenant revokes nothing")
	require.NoError(t, s.RevokeUser(t.Context(), o.Tenant.ID, o.User.ID))
	require.False(t, active(b))
}

func TestTwentyRotateOneToken(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	n := app.Session{ID: dbtest.NewID(t), TenantID: o.Tenant.ID, UserID: o.User.ID, TokenHash: hash(t), ExpiresAt: time.Now().Add(time.Hour)}
	require.NoError(t, db.Sessions().Create(t.Context(), n))
	var wg sync.WaitGroup
	codes := make([]app.Code, 20)
	for i := range codes {
		next := hash(t)
		wg.Go(func() {
			_, _, err := db.Sessions().Rotate(context.WithoutCancel(t.Context()), n.TokenHash, next, n.ExpiresAt)
			codes[i] = app.CodeOf(err)
		})
	}
	wg.Wait()
	won := 0
	for _, c := range codes {
		if c == "" {
			won++
		} else {
			require.Equal(t, app.CodeUnauthenticated, c)
		}
	}
	require.Equal(t, 1, won)
}

func TestProjects(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o, other := db.Register(t), db.Register(t)
	s := db.Projects()

	ids := []uuid.UUID{o.Project.ID}
	for range 4 {
		p := o.Project
		p.ID = dbtest.NewID(t)
		require.NoError(t, s.Create(t.Context(), p))
		ids = append(ids, p.ID)
	}
	var seen []uuid.UUID
	page := app.Page{Limit: 2}
	for {
		ps, err := s.List(t.Context(), o.Tenant.ID, page)
		require.NoError(t, err)
		if len(ps) == 0 {
			break
		}
		for _, p := range ps {
			seen = append(seen, p.ID)
		}
		page.After = ps[len(ps)-1].ID
	}
	require.Equal(t, []uuid.UUID{ids[4], ids[3], ids[2], ids[1], ids[0]}, seen)

	p := o.Project
	p.Name, p.Description = "Renamed", "more"
	got, err := s.Update(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, int64(2), got.Version)
	_, err = s.Update(t.Context(), p)
	require.Equal(t, app.CodeConflict, app.CodeOf(err), "stale version")
	read, err := s.Get(t.Context(), o.Tenant.ID, p.ID)
	require.NoError(t, err)
	require.Equal(t, got, read)

	foreign := p
	foreign.TenantID = other.Tenant.ID
	_, err = s.Update(t.Context(), foreign)
	require.Equal(t, app.CodeNotFound, app.CodeOf(err))
	_, err = s.Get(t.Context(), other.Tenant.ID, p.ID)
	require.Equal(t, app.CodeNotFound, app.CodeOf(err))
	require.Equal(t, app.CodeNotFound, app.CodeOf(s.Delete(t.Context(), other.Tenant.ID, p.ID)))
	require.NoError(t, s.Delete(t.Context(), o.Tenant.ID, p.ID))
	require.Equal(t, app.CodeNotFound, app.CodeOf(s.Delete(t.Context(), o.Tenant.ID, p.ID)))
}

func newJob(t *testing.T, o dbtest.Owner) app.Job {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	id := dbtest.NewID(t)
	return app.Job{
		ID: dbtest.NewID(t), TenantID: o.Tenant.ID, ProjectID: o.Project.ID, ImageID: id, Status: app.JobQueued,
		SourceKey: app.OriginalKey(o.Tenant.ID, id), ContentType: "image/png", Widths: []int{320, 1280},
		Renditions: []app.Rendition{}, CreatedBy: o.User.ID, CreatedAt: now, UpdatedAt: now,
	}
}

func TestJobs(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o, other := db.Register(t), db.Register(t)
	s := db.Jobs()

	j := newJob(t, o)
	require.NoError(t, s.Create(t.Context(), j))
	got, err := s.Get(t.Context(), o.Tenant.ID, j.ID)
	require.NoError(t, err)
	require.Equal(t, j, got)
	got, err = s.ByImage(t.Context(), o.Tenant.ID, j.ImageID)
	require.NoError(t, err)
	require.Equal(t, j, got)
	for _, err := range []error{
		second(s.Get(t.Context(), other.Tenant.ID, j.ID)), second(s.ByImage(t.Context(), other.Tenant.ID, j.ImageID)),
		second(s.Start(t.Context(), other.Tenant.ID, j.ID)), s.Finish(t.Context(), other.Tenant.ID, j.ID, nil),
		s.Fail(t.Context(), other.Tenant.ID, j.ID, "x"), s.GiveUp(t.Context(), other.Tenant.ID, j.ID, "x"),
	} {
		require.Equal(t, app.CodeNotFound, app.CodeOf(err))
	}

	ms, err := db.Outbox().Pending(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, ms, 1)
	require.Equal(t, app.DestinationJobs, ms[0].Destination)
	require.JSONEq(t, `{"job_id":"`+j.ID.String()+`","tenant_id":"`+o.Tenant.ID.String()+`"}`, string(ms[0].Body))

	got, err = s.Start(t.Context(), o.Tenant.ID, j.ID)
	require.NoError(t, err)
	require.Equal(t, app.JobRunning, got.Status)
	renditions := []app.Rendition{{Width: 320, Height: 200, Bytes: 9, ContentType: "image/jpeg", Key: "k"}}
	require.NoError(t, s.Finish(t.Context(), o.Tenant.ID, j.ID, renditions))
	require.NoError(t, s.Fail(t.Context(), o.Tenant.ID, j.ID, "late"), "a final job stays as it is")
	got, err = s.Start(t.Context(), o.Tenant.ID, j.ID)
	require.NoError(t, err)
	require.Equal(t, app.JobDone, got.Status)
	require.Equal(t, renditions, got.Renditions)
	require.Empty(t, got.Reason)

	orphan := newJob(t, o)
	orphan.ProjectID = other.Project.ID
	require.Equal(t, app.CodeNotFound, app.CodeOf(s.Create(t.Context(), orphan)), "another tenant's project")
}

func second[T any](_ T, err error) error { return err }

func newVideo(t *testing.T, o dbtest.Owner) app.Video {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	id := dbtest.NewID(t)
	return app.Video{
		ID: id, TenantID: o.Tenant.ID, ProjectID: o.Project.ID, Filename: "a.mp4", ContentType: "video/mp4", Bytes: 1000,
		Key: app.VideoKey(o.Tenant.ID, id), Status: app.VideoProcessing, CreatedBy: o.User.ID, CreatedAt: now, UpdatedAt: now,
	}
}

func TestVideoStatusFollowsTheReports(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	s := db.Videos()
	day := time.Date(2026, 11, 23, 23, 30, 0, 0, time.UTC)
	probe := &app.Probe{Container: "mp4", Seconds: 2, Tracks: []app.Track{{Kind: "video", Codec: "avc1.64001f"}}, Width: 16, Height: 9, Bitrate: 1}
	status := func(v app.Video) app.VideoStatus {
		got, err := s.Get(t.Context(), v.TenantID, v.ID)
		require.NoError(t, err)
		return got.Status
	}
	meter := func(v app.Video, event uuid.UUID) {
		require.NoError(t, s.Metered(t.Context(), event, day, app.VideoUploaded{TenantID: v.TenantID, VideoID: v.ID, Bytes: v.Bytes}))
	}
	report := func(v app.Video, p *app.Probe, reason string) {
		require.NoError(t, s.Probed(t.Context(), v.TenantID, v.ID, p, reason))
	}
	create := func() app.Video {
		v := newVideo(t, o)
		require.NoError(t, s.Create(t.Context(), v))
		return v
	}

	good, bad := create(), create()
	require.Equal(t, app.VideoProcessing, status(good))
	event := uuid.New()
	meter(good, event)
	meter(good, event)
	require.Equal(t, app.VideoProcessing, status(good))
	report(good, probe, "")
	report(good, nil, "a second report changes nothing")
	require.Equal(t, app.VideoProcessing, status(good))
	require.NoError(t, s.Indexed(t.Context(), good.TenantID, good.ID))
	require.Equal(t, app.VideoReady, status(good))
	got, err := s.Get(t.Context(), o.Tenant.ID, good.ID)
	require.NoError(t, err)
	require.Equal(t, probe, got.Probe)
	require.True(t, got.Metered)
	require.True(t, got.Indexed)
	require.Equal(t, o.User.ID, got.CreatedBy)

	report(bad, nil, "it is text")
	require.Equal(t, app.VideoFailed, status(bad))
	meter(bad, uuid.New())
	require.Equal(t, app.VideoFailed, status(bad))

	usage, err := s.Usage(t.Context(), o.Tenant.ID, day, day)
	require.NoError(t, err)
	require.Len(t, usage, 1)
	require.Equal(t, int64(2000), usage[0].Bytes, "an event delivered twice counts once")

	videos, err := s.List(t.Context(), o.Tenant.ID, o.Project.ID, app.Page{Limit: 10})
	require.NoError(t, err)
	require.Len(t, videos, 2)
	require.Equal(t, bad.ID, videos[0].ID, "newest first")

	other := db.Register(t)
	for _, err := range []error{
		second(s.Get(t.Context(), other.Tenant.ID, good.ID)), second(s.Delete(t.Context(), other.Tenant.ID, good.ID)),
		second(s.List(t.Context(), other.Tenant.ID, o.Project.ID, app.Page{Limit: 1})),
		s.Probed(t.Context(), other.Tenant.ID, good.ID, probe, ""), s.Indexed(t.Context(), other.Tenant.ID, good.ID),
		second(s.Search(t.Context(), other.Tenant.ID, o.Project.ID, "a", app.Page{Limit: 1})),
	} {
		require.Equal(t, app.CodeNotFound, app.CodeOf(err))
	}
	gone, err := s.Delete(t.Context(), o.Tenant.ID, good.ID)
	require.NoError(t, err)
	require.Equal(t, good.Key, gone.Key)
}

func TestVideoUploadedIsWrittenWithTheVideo(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	v := newVideo(t, o)
	require.NoError(t, db.Videos().Create(t.Context(), v))
	ms, err := db.Outbox().Pending(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, ms, 1)
	require.Equal(t, app.EventVideoUploaded, ms[0].EventType)
	var e app.Event[app.VideoUploaded]
	require.NoError(t, json.Unmarshal(ms[0].Body, &e))
	require.Equal(t, ms[0].ID, e.ID)
	require.Equal(t, v.ID.String(), e.Subject)
	require.Equal(t, app.VideoUploaded{TenantID: v.TenantID, ProjectID: v.ProjectID, VideoID: v.ID, Key: v.Key, Bytes: v.Bytes, ContentType: v.ContentType, Filename: v.Filename, CreatedBy: o.User.ID}, e.Data)

	// Half a change is no change: the video that is refused has no event.
	require.Equal(t, app.CodeConflict, app.CodeOf(db.Videos().Create(t.Context(), v)))
	ms, err = db.Outbox().Pending(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, ms, 1)
}

func TestADatabaseThatDoesNotAnswerIsUnavailable(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), postgres.Config{Address: "127.0.0.1:1", Database: "x", Username: "x", ConnectTimeout: time.Second})
	require.NoError(t, err)
	defer db.Close()
	require.Equal(t, app.CodeUnavailable, app.CodeOf(db.Ping(t.Context())))
	_, err = db.Projects().Get(t.Context(), uuid.New(), uuid.New())
	require.Equal(t, app.CodeUnavailable, app.CodeOf(err))
}
