package httpapi_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestSearchVideos(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u, stranger := s.owner(), s.owner()
	p := u.project("Films")
	path := "/v1/projects/" + p.ID + "/videos"
	names := []string{"Holiday one.mp4", "Zoë on holiday.mp4", "Meeting.mp4"}
	for _, name := range names {
		u.do(u.request("POST", path, strings.NewReader("some bytes"), "Content-Type", "video/mp4", "X-Filename", name)).want(202)
	}
	events, err := s.db.Outbox().Pending(t.Context(), 10)
	require.NoError(t, err)
	for _, e := range events {
		require.NoError(t, s.db.Videos().Indexed(t.Context(), e.TenantID, e.Aggregate))
	}
	type list struct {
		Items []struct {
			ID       uuid.UUID
			Filename string
			Indexed  bool
		}
		NextCursor string `json:"next_cursor"`
	}
	find := func(query string) (l list) {
		u.get(path + "?" + query).want(200).into(&l)
		return l
	}
	require.Len(t, find("q=").Items, 3)
	require.Len(t, find("q=holi").Items, 2)
	require.Empty(t, find("q=holiday+meeting").Items)
	found := find("q=" + url.QueryEscape("ZOE Holiday")).Items
	require.Len(t, found, 1)
	require.Equal(t, names[1], found[0].Filename)
	require.True(t, found[0].Indexed)

	first := find("q=holiday&limit=1")
	require.Equal(t, names[1], first.Items[0].Filename)
	second := find("q=holiday&limit=1&cursor=" + first.NextCursor)
	require.Equal(t, names[0], second.Items[0].Filename)
	require.Empty(t, second.NextCursor)
	u.get(path+"?q=meeting&cursor="+first.NextCursor).problem(400, "invalid")
	u.get(path+"?cursor="+first.NextCursor).problem(400, "invalid")
	u.get(path+"?q="+strings.Repeat("a", 201)).problem(400, "invalid")
	u.get(path+"?q=%00").problem(400, "invalid")
	u.get(path + "?q=" + strings.Repeat("a+b+c+d+", 5)).want(200)
	u.get(path+"?q=a+b+c+d+e+f+g+h+i+j+k+l+m+n+o+p+q").problem(400, "invalid")
	u.get(path+"?q=a&q=b").problem(400, "invalid")
	stranger.get(path+"?q=holiday").problem(404, "not_found")
}
