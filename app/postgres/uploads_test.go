package postgres_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
)

func used(t *testing.T, s postgres.Storage, tenant uuid.UUID) int64 {
	t.Helper()
	u, err := s.Usage(t.Context(), tenant)
	require.NoError(t, err)
	return u.Used
}

func claimed(t *testing.T, db dbtest.Database) map[string]string {
	t.Helper()
	all, err := db.Removals().Claim(t.Context(), 100, 0)
	require.NoError(t, err)
	keys := map[string]string{}
	for _, r := range all {
		keys[r.Key] = r.Multipart
	}
	return keys
}

func TestStorageFollowsTheRows(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o, other := db.Register(t), db.Register(t)
	s := db.Storage(10_000)
	later := time.Now().Add(time.Hour)
	require.Zero(t, used(t, s, o.Tenant.ID))

	// A reservation becomes the video's, at the size that was really stored.
	v := newVideo(t, o)
	granted, err := s.Reserve(t.Context(), o.Tenant.ID, v.Key, 1, 4000, later)
	require.NoError(t, err)
	require.EqualValues(t, 4000, granted)
	require.EqualValues(t, 4000, used(t, s, o.Tenant.ID))
	require.NoError(t, db.Videos().Create(t.Context(), v))
	require.Equal(t, v.Bytes, used(t, s, o.Tenant.ID))
	released, err := s.Release(t.Context(), o.Tenant.ID, v.Key)
	require.NoError(t, err)
	require.False(t, released, "what is named is not released")
	require.Equal(t, v.Bytes, used(t, s, o.Tenant.ID))

	// A video of a program that reserves nothing counts too.
	w := newVideo(t, o)
	require.NoError(t, db.Videos().Create(t.Context(), w))
	require.Equal(t, v.Bytes+w.Bytes, used(t, s, o.Tenant.ID))
	_, err = db.Videos().Delete(t.Context(), o.Tenant.ID, w.ID)
	require.NoError(t, err)
	require.Equal(t, v.Bytes, used(t, s, o.Tenant.ID))
	require.Contains(t, claimed(t, db), w.Key)

	// As much as there is, and not one byte more.
	granted, err = s.Reserve(t.Context(), o.Tenant.ID, "k", 1, 50_000, later)
	require.NoError(t, err)
	require.Equal(t, 10_000-v.Bytes, granted)
	_, err = s.Reserve(t.Context(), o.Tenant.ID, "l", 1, 1, later)
	require.Equal(t, app.CodeQuotaExceeded, app.CodeOf(err))
	require.ErrorContains(t, err, "10000 of 10000 bytes are used")
	_, err = s.Reserve(t.Context(), other.Tenant.ID, "m", 10_000, 10_000, later)
	require.NoError(t, err, "another tenant has a quota of its own")
	granted, err = s.Reserve(t.Context(), o.Tenant.ID, "k", 7, 7, later)
	require.NoError(t, err)
	require.EqualValues(t, 7, granted)
	for _, want := range []bool{true, false} {
		released, err = s.Release(t.Context(), o.Tenant.ID, "k")
		require.NoError(t, err)
		require.Equal(t, want, released)
	}
	require.Equal(t, v.Bytes, used(t, s, o.Tenant.ID))

	// An image counts what was reserved for its original.
	j := newJob(t, o)
	_, err = s.Reserve(t.Context(), o.Tenant.ID, j.SourceKey, 500, 500, later)
	require.NoError(t, err)
	require.NoError(t, db.Jobs().Create(t.Context(), j))
	require.NoError(t, db.Jobs().Finish(t.Context(), o.Tenant.ID, j.ID, []app.Rendition{{Width: 1, Height: 1, Bytes: 9, ContentType: "image/png", Key: "rendition"}}))
	require.Equal(t, v.Bytes+500, used(t, s, o.Tenant.ID))

	// A tenant's own quota goes before the default.
	owner, err := pgx.Connect(t.Context(), dsn(db.Owner))
	require.NoError(t, err)
	defer func() { _ = owner.Close(t.Context()) }()
	_, err = owner.Exec(t.Context(), "update tenants set quota_bytes = 20000 where id = $1", o.Tenant.ID)
	require.NoError(t, err)
	u, err := s.Usage(t.Context(), o.Tenant.ID)
	require.NoError(t, err)
	require.Equal(t, app.QuotaError{Used: v.Bytes + 500, Allowed: 20_000}, u)

	// A project takes all of it along.
	require.NoError(t, db.Projects().Delete(t.Context(), o.Tenant.ID, o.Project.ID))
	require.Zero(t, used(t, s, o.Tenant.ID))
	gone := claimed(t, db)
	for _, key := range []string{v.Key, j.SourceKey, "rendition"} {
		require.Contains(t, gone, key)
	}
}

func dsn(c postgres.Config) string {
	return "postgres://" + c.Username + ":" + c.Password + "@" + c.Address + "/" + c.Database
}

func TestTwentyReserveTheLastBytes(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	s := db.Storage(1000)
	for range 10 {
		o := db.Register(t)
		_, err := s.Reserve(t.Context(), o.Tenant.ID, uuid.NewString(), 50, 50, time.Now().Add(time.Hour))
		require.NoError(t, err)
		var wg sync.WaitGroup
		var won, lost atomic.Int64
		start := make(chan struct{})
		for range 20 {
			key := uuid.NewString()
			wg.Go(func() {
				<-start
				switch _, err := s.Reserve(t.Context(), o.Tenant.ID, key, 300, 300, time.Now().Add(time.Hour)); app.CodeOf(err) {
				case "":
					won.Add(1)
				case app.CodeQuotaExceeded:
					lost.Add(1)
				}
			})
		}
		close(start)
		wg.Wait()
		require.EqualValues(t, 3, won.Load())
		require.EqualValues(t, 17, lost.Load())
		require.EqualValues(t, 950, used(t, s, o.Tenant.ID))
	}
}

func newUpload(t *testing.T, o dbtest.Owner) app.Upload {
	t.Helper()
	v := newVideo(t, o)
	return app.Upload{
		ID: v.ID, TenantID: v.TenantID, ProjectID: v.ProjectID, Key: v.Key, Multipart: "m-" + v.ID.String(), Filename: v.Filename,
		ContentType: v.ContentType, Bytes: 1000, PartBytes: 300, CreatedAt: v.CreatedAt, ExpiresAt: v.CreatedAt.Add(time.Hour),
	}
}

func TestUploads(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o, other := db.Register(t), db.Register(t)
	s, storage := db.Uploads(), db.Storage(0)
	begin := func() app.Upload {
		u := newUpload(t, o)
		_, err := storage.Reserve(t.Context(), o.Tenant.ID, u.Key, u.Bytes, u.Bytes, u.ExpiresAt)
		require.NoError(t, err)
		require.NoError(t, s.Create(t.Context(), u))
		return u
	}
	video := func(u app.Upload) app.Video {
		return app.Video{
			ID: u.ID, TenantID: u.TenantID, ProjectID: u.ProjectID, Filename: u.Filename, ContentType: u.ContentType,
			Bytes: u.Bytes, Key: u.Key, CreatedAt: u.CreatedAt, UpdatedAt: u.CreatedAt,
		}
	}

	done := begin()
	require.Equal(t, 4, done.Parts())
	require.EqualValues(t, 100, done.PartSize(4))
	got, err := s.Get(t.Context(), o.Tenant.ID, done.ID)
	require.NoError(t, err)
	require.Equal(t, done, got)
	require.Equal(t, app.CodeNotFound, app.CodeOf(second(s.Get(t.Context(), other.Tenant.ID, done.ID))))
	require.Equal(t, app.CodeNotFound, app.CodeOf(second(s.Delete(t.Context(), other.Tenant.ID, done.ID))))
	require.NoError(t, db.Videos().Create(t.Context(), video(done)))
	require.Equal(t, app.CodeNotFound, app.CodeOf(second(s.Get(t.Context(), o.Tenant.ID, done.ID))), "the video ends the upload")
	require.Equal(t, app.CodeNotFound, app.CodeOf(second(s.Delete(t.Context(), o.Tenant.ID, done.ID))))
	require.Empty(t, claimed(t, db), "the object is the video's")

	given := begin()
	_, err = s.Delete(t.Context(), o.Tenant.ID, given.ID)
	require.NoError(t, err)
	require.Equal(t, done.Bytes, used(t, storage, o.Tenant.ID))
	require.Equal(t, map[string]string{given.Key: given.Multipart}, claimed(t, db))
	require.Equal(t, app.CodeNotFound, app.CodeOf(db.Videos().Create(t.Context(), video(given))), "what was given up cannot become a video")
	require.NoError(t, db.Removals().Removed(t.Context(), []string{given.Key}))
	require.Empty(t, claimed(t, db))
	require.Equal(t, app.CodeNotFound, app.CodeOf(db.Videos().Create(t.Context(), video(given))), "also after it is removed")

	late := begin()
	require.NoError(t, db.Removals().Expire(t.Context(), late.ExpiresAt.Add(-time.Second)))
	require.NoError(t, second(s.Get(t.Context(), o.Tenant.ID, late.ID)))
	require.NoError(t, db.Removals().Expire(t.Context(), late.ExpiresAt.Add(time.Second)))
	require.Equal(t, app.CodeNotFound, app.CodeOf(second(s.Get(t.Context(), o.Tenant.ID, late.ID))))
	require.Equal(t, map[string]string{late.Key: late.Multipart}, claimed(t, db))
	require.Equal(t, done.Bytes, used(t, storage, o.Tenant.ID))

	foreign := newUpload(t, o)
	foreign.ProjectID = other.Project.ID
	require.Equal(t, app.CodeNotFound, app.CodeOf(s.Create(t.Context(), foreign)))
}

// An upload is completed and given up at once: one of the two happens, never both.
func TestCompleteOrDelete(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	for range 20 {
		u := newUpload(t, o)
		_, err := db.Storage(0).Reserve(t.Context(), o.Tenant.ID, u.Key, u.Bytes, u.Bytes, u.ExpiresAt)
		require.NoError(t, err)
		require.NoError(t, db.Uploads().Create(t.Context(), u))
		v := app.Video{ID: u.ID, TenantID: u.TenantID, ProjectID: u.ProjectID, Key: u.Key, Bytes: u.Bytes, CreatedAt: u.CreatedAt, UpdatedAt: u.CreatedAt}
		var wg sync.WaitGroup
		var created, deleted error
		wg.Go(func() { created = db.Videos().Create(t.Context(), v) })
		wg.Go(func() { _, deleted = db.Uploads().Delete(t.Context(), u.TenantID, u.ID) })
		wg.Wait()
		_, doomed := claimed(t, db)[u.Key]
		require.Equal(t, created == nil, deleted != nil, "created: %v, deleted: %v", created, deleted)
		require.Equal(t, deleted == nil, doomed)
		for _, err := range []error{created, deleted} {
			require.Contains(t, []app.Code{"", app.CodeNotFound}, app.CodeOf(err), "%v", err)
		}
		require.NoError(t, db.Removals().Removed(t.Context(), []string{u.Key}))
	}
}

func TestRemovalsAreClaimedOnce(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	for range 5 {
		v := newVideo(t, o)
		require.NoError(t, db.Videos().Create(t.Context(), v))
	}
	require.NoError(t, db.Projects().Delete(t.Context(), o.Tenant.ID, o.Project.ID))
	var wg sync.WaitGroup
	claims := make([][]app.Removal, 4)
	for i := range claims {
		wg.Go(func() { claims[i], _ = db.Removals().Claim(t.Context(), 3, time.Minute) })
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, claim := range claims {
		for _, r := range claim {
			require.False(t, seen[r.Key])
			require.True(t, strings.HasPrefix(r.Key, "tenants/"))
			seen[r.Key] = true
		}
	}
	rest, err := db.Removals().Claim(t.Context(), 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, rest, 5-len(seen))
}
