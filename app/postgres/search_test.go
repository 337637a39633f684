package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
)

func TestSearch(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	s := db.Videos()
	add := func(name string, p *app.Probe) {
		v := newVideo(t, o)
		v.Filename = name
		require.NoError(t, s.Create(t.Context(), v))
		require.NoError(t, s.Indexed(t.Context(), v.TenantID, v.ID))
		if p != nil {
			require.NoError(t, s.Probed(t.Context(), v.TenantID, v.ID, p, ""))
			require.NoError(t, s.Indexed(t.Context(), v.TenantID, v.ID))
		}
	}
	video := func(container, codec string, width, height int) *app.Probe {
		return &app.Probe{Container: container, Width: width, Height: height, Tracks: []app.Track{{Kind: "video", Codec: codec}}}
	}
	add("IMG_2024-05-01 Zoë’s HolidayClip.mp4", video("mp4", "avc1.64001f", 1080, 1920))
	add("東京タワー.mov", video("mov", "hvc1.1.6.L93.B0", 3840, 2160))
	add("Straße'; drop table videos; --.webm", video("webm", "vp09.00.10.08", 1280, 720))
	add("ｆｕｌｌｗｉｄｔｈ & ! | ( ) :* '.mp4", nil)
	for query, want := range map[string]int{
		"zoe": 1, "ZOË": 1, "holiday clip": 1, "clip": 1, "holidayclip": 1, "HolidayClip": 1, "holi": 1, "2024": 1, "lip": 0,
		"h264": 1, "avc1.64001f": 1, "1080p portrait": 1, "1080x1920": 1, "hevc": 1, "4k": 1, "uhd landscape": 1, "vp9 hd": 1,
		"東京": 1, "タワー": 1, "京都": 0, "strasse": 1, "fullwidth": 1, "mp4": 2, "img clip zoe 2024": 1, "img tower": 0,
		"": 0, "!&|()": 0, "'": 0, `\`: 0, "zz:*": 0, "strasse:*": 1,
	} {
		got, err := s.Search(t.Context(), o.Tenant.ID, o.Project.ID, query, app.Page{Limit: 10})
		require.NoError(t, err, query)
		require.Len(t, got, want, "query %q", query)
	}
	_, err := s.Search(t.Context(), o.Tenant.ID, o.Project.ID, strings.Join(strings.Split("abcdefghijklmnopqrst", ""), " "), app.Page{Limit: 10})
	require.Equal(t, app.CodeInvalid, app.CodeOf(err), "too many words")

	// A page ends where the next one begins.
	all, err := s.Search(t.Context(), o.Tenant.ID, o.Project.ID, "mp4", app.Page{Limit: 10})
	require.NoError(t, err)
	page, err := s.Search(t.Context(), o.Tenant.ID, o.Project.ID, "mp4", app.Page{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, all[:1], page)
	page, err = s.Search(t.Context(), o.Tenant.ID, o.Project.ID, "mp4", app.Page{Limit: 1, After: all[0].ID})
	require.NoError(t, err)
	require.Equal(t, all[1:], page)

	// Other projects and other tenants have words of their own.
	other := db.Register(t)
	got, err := s.Search(t.Context(), other.Tenant.ID, other.Project.ID, "zoe", app.Page{Limit: 10})
	require.NoError(t, err)
	require.Empty(t, got)
}

// The function that searches reads as the owner: it must know no tenant but
// the transaction's.
func TestSearchHoldsTheWall(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	mine, other := db.Register(t), db.Register(t)
	v := newVideo(t, mine)
	require.NoError(t, db.Videos().Create(t.Context(), v))
	require.NoError(t, db.Videos().Indexed(t.Context(), v.TenantID, v.ID))
	pool := raw(t, db.Config)
	for tenant, want := range map[string]int{mine.Tenant.ID.String(): 1, other.Tenant.ID.String(): 0, "": 0} {
		require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), "select set_config('app.tenant_id', $1, true)", tenant); err != nil {
				return err
			}
			rows, err := tx.Query(t.Context(), "select search_videos($1, 'mp4'::tsquery, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 10)", mine.Project.ID)
			require.NoError(t, err)
			found, err := pgx.CollectRows(rows, pgx.RowTo[any])
			require.Len(t, found, want, tenant)
			return err
		}))
	}
}

// A search looks into the index, at the videos of its project only.
func TestSearchUsesItsIndex(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	owner := raw(t, db.Owner)
	_, err := owner.Exec(t.Context(), `insert into projects (id, tenant_id, name, description, version, created_by, created_at, updated_at)
		select gen_random_uuid(), $1, 'p', '', 1, $2, now(), now() from generate_series(1, 20)`, o.Tenant.ID, o.User.ID)
	require.NoError(t, err)
	_, err = owner.Exec(t.Context(), `insert into videos (id, tenant_id, project_id, filename, content_type, bytes, key, created_at, updated_at, search)
		select gen_random_uuid(), $1, p.id, 'a', 'video/mp4', 1, gen_random_uuid(), now(), now(),
			array_to_tsvector(array['mp4', 'h264', 'clip' || n % 500, p.id::text])
		from projects p, generate_series(1, 500) n where p.tenant_id = $1`, o.Tenant.ID)
	require.NoError(t, err)
	_, err = owner.Exec(t.Context(), "vacuum analyze videos")
	require.NoError(t, err)
	var body string
	require.NoError(t, owner.QueryRow(t.Context(), "select pg_get_functiondef('search_videos'::regproc)").Scan(&body))
	_, body, ok := strings.Cut(body, "BEGIN ATOMIC")
	require.True(t, ok)
	body, _, ok = strings.Cut(body, ";")
	require.True(t, ok)
	body = strings.NewReplacer(
		"search_videos.project", fmt.Sprintf("'%s'::uuid", o.Project.ID), "search_videos.query", fmt.Sprintf("'''%s'' & ''clip7'':*'::tsquery", o.Project.ID),
		"search_videos.before", "'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid", "search_videos.most", "50", "current_tenant()", fmt.Sprintf("'%s'::uuid", o.Tenant.ID),
	).Replace(body)
	rows, err := owner.Query(t.Context(), "explain "+body)
	require.NoError(t, err)
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Contains(t, strings.Join(plan, "\n"), "Bitmap Index Scan on videos_search")
}
