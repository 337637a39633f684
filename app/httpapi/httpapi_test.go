package httpapi_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/auth"
	"github.com/loadbearing/loadbearing/app/httpapi"
	"github.com/loadbearing/loadbearing/app/trace"
)

func picture(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, image.NewGray(image.Rect(0, 0, 64, 48))))
	return b.Bytes()
}

func cookie(u *user, path, name string) string {
	at, err := url.Parse(u.url + path)
	require.NoError(u.t, err)
	for _, c := range u.jar.Cookies(at) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

func TestRegisterLoginRefreshLogout(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u := s.owner()
	var me struct {
		User   struct{ Email, Role string }
		Tenant struct{ Name string }
		Roles  []string
	}
	u.get("/v1/me").want(200).into(&me)
	require.Equal(t, u.email, me.User.Email)
	require.Equal(t, "Acme", me.Tenant.Name)
	require.Equal(t, []string{"owner"}, me.Roles)

	require.Empty(t, cookie(u, "/v1/projects", "refresh"), "the refresh token goes to /v1/auth only")
	stolen := cookie(u, "/v1/auth/refresh", "refresh")
	u.post("/v1/auth/refresh", nil).want(200)
	u.get("/v1/me").want(200)

	// The stolen token is replayed: it is refused, and its session is over for everyone.
	thief := s.anonymous()
	thief.client.Transport = cookieTransport{"refresh=" + stolen}
	thief.post("/v1/auth/refresh", nil).problem(401, "unauthenticated")
	u.post("/v1/auth/refresh", nil).problem(401, "unauthenticated")
	s.clock.advance(auth.SessionCheck + time.Millisecond)
	u.get("/v1/me").problem(401, "unauthenticated")

	u.login()
	token := cookie(u, "/", "access")
	u.post("/v1/auth/logout", nil).want(204)
	require.Empty(t, cookie(u, "/", "access"))
	late := s.anonymous()
	late.client.Transport = cookieTransport{"access=" + token}
	late.get("/v1/me").problem(401, "unauthenticated")

	u.login()
	elsewhere := s.anonymous()
	elsewhere.email = u.email
	elsewhere.login()
	elsewhere.get("/v1/me").want(200)
	u.delete("/v1/auth/sessions").want(204)
	s.clock.advance(auth.SessionCheck + time.Millisecond)
	elsewhere.get("/v1/me").problem(401, "unauthenticated")

	// With an expired access token the refresh token still logs out.
	u.login()
	refresh := cookie(u, "/v1/auth", "refresh")
	half := s.anonymous()
	half.client.Transport = cookieTransport{"refresh=" + refresh}
	half.post("/v1/auth/logout", nil).want(204)
	half.post("/v1/auth/refresh", nil).problem(401, "unauthenticated")
}

func TestCookiesAreOutOfReachOfScripts(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u := s.owner()
	data := fmt.Sprintf(`{"email":%q,"password":%q}`, u.email, password)
	for _, host := range []string{"", "media.example.com"} {
		req := u.request("POST", "/v1/auth/login", strings.NewReader(data), "Content-Type", "application/json")
		req.Host = host
		cookies := u.do(req).want(200).Cookies()
		require.Len(t, cookies, 2)
		for _, c := range cookies {
			require.True(t, c.HttpOnly)
			require.Equal(t, http.SameSiteLaxMode, c.SameSite)
			require.Equal(t, host != "", c.Secure, "Secure unless on loopback over HTTP")
		}
	}
}

func TestAnExpiredCookieIsRefused(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u := s.owner()
	u.get("/v1/me").want(200)
	s.clock.advance(auth.AccessTTL + time.Second)
	require.Contains(t, u.get("/v1/me").problem(401, "unauthenticated").Detail, "expired")
	u.post("/v1/auth/refresh", nil).want(200)
	u.get("/v1/me").want(200)
}

func TestProjects(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u, stranger := s.owner(), s.owner()
	for i := range 5 {
		u.project(fmt.Sprintf("P%d — Zoë", i))
	}
	var names []string
	cursor := ""
	for {
		var page struct {
			Items      []project
			NextCursor *string `json:"next_cursor"`
		}
		u.get("/v1/projects?limit=2" + cursor).want(200).into(&page)
		require.LessOrEqual(t, len(page.Items), 2)
		for _, p := range page.Items {
			names = append(names, p.Name)
		}
		if page.NextCursor == nil {
			break
		}
		stranger.get("/v1/projects?cursor="+*page.NextCursor).problem(400, "invalid")
		cursor = "&cursor=" + *page.NextCursor
	}
	require.Equal(t, []string{"P4 — Zoë", "P3 — Zoë", "P2 — Zoë", "P1 — Zoë", "P0 — Zoë"}, names)

	p := u.project("One")
	path := "/v1/projects/" + p.ID
	got := u.get(path).want(200)
	require.Equal(t, `"1"`, got.Header.Get("Etag"))
	u.get(path, "If-None-Match", `"1"`).want(304)
	u.json("PATCH", path, map[string]string{"name": "Two"}).problem(428, "precondition_required")
	u.json("PATCH", path, map[string]string{"name": "Two"}, "If-Match", `"9"`).problem(412, "precondition_failed")
	u.json("PATCH", path, map[string]string{"name": "Two"}, "If-Match", `"1"`).want(200).into(&p)
	require.Equal(t, "Two", p.Name)
	require.Equal(t, 2, p.Version)
	u.json("PATCH", path, map[string]any{"name": nil}, "If-Match", `"2"`).problem(400, "invalid")

	stranger.get(path).problem(404, "not_found")
	stranger.json("PATCH", path, map[string]string{"name": "Mine"}, "If-Match", "*").problem(404, "not_found")
	stranger.delete(path).problem(404, "not_found")

	u.with(app.RoleViewer).get(path).want(200)
	u.with(app.RoleViewer).post("/v1/projects", map[string]string{"name": "x"}).problem(403, "forbidden")
	u.with(app.RoleEditor).delete(path).problem(403, "forbidden")
	u.delete(path).want(204)
	u.get(path).problem(404, "not_found")
}

func TestImages(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u, stranger := s.owner(), s.owner()
	p := u.project("Pictures")
	data := picture(t)
	up := u.do(u.request("POST", "/v1/projects/"+p.ID+"/images?widths=640,320,640", bytes.NewReader(data), "Content-Type", "image/png")).want(202)
	var job struct {
		ID      uuid.UUID
		ImageID uuid.UUID `json:"image_id"`
		Status  string
		Widths  []int
	}
	up.into(&job)
	require.Equal(t, "/v1/jobs/"+job.ID.String(), up.Header.Get("Location"))
	require.Equal(t, "queued", job.Status)
	require.Equal(t, []int{320, 640}, job.Widths)

	stored, err := s.db.Outbox().Pending(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, stored, 1)
	tenant := stored[0].TenantID
	require.Equal(t, data, s.objects.bytes[app.OriginalKey(tenant, job.ImageID)])

	content := "/v1/images/" + job.ImageID.String() + "/content"
	u.get(content+"?width=320").problem(404, "not_found")
	var renditions []app.Rendition
	for _, w := range []int{320, 640} {
		key := app.RenditionKey(tenant, job.ImageID, fmt.Sprintf("%064d", w), "png")
		s.objects.bytes[key] = append([]byte(fmt.Sprint(w)), data...)
		renditions = append(renditions, app.Rendition{Width: w, Height: w, Bytes: int64(len(data) + 3), ContentType: "image/png", Key: key})
	}
	require.NoError(t, s.db.Jobs().Finish(t.Context(), tenant, job.ID, renditions))
	var done struct {
		Status     string
		Renditions []struct {
			Width int
			URL   string
		}
	}
	u.get(up.Header.Get("Location")).want(200).into(&done)
	require.Equal(t, "done", done.Status)
	require.Len(t, done.Renditions, 2)
	for query, prefix := range map[string]string{"?width=320": "320", "?width=321": "640", "?width=4000": "640", "?width=1": "320", "": "640"} {
		got := u.get(content + query).want(200)
		require.Equal(t, "image/png", got.Header.Get("Content-Type"))
		require.True(t, strings.HasPrefix(string(got.body), prefix), query)
		u.get(content+query, "If-None-Match", got.Header.Get("Etag")).want(304)
	}
	stranger.get(content).problem(404, "not_found")
	stranger.get(up.Header.Get("Location")).problem(404, "not_found")
	stranger.do(stranger.request("POST", "/v1/projects/"+p.ID+"/images", bytes.NewReader(data), "Content-Type", "image/png")).problem(404, "not_found")
}

func TestVideos(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u, stranger := s.owner(), s.owner()
	p := u.project("Films")
	data := bytes.Repeat([]byte("0123456789"), 10_000)
	path := "/v1/projects/" + p.ID + "/videos"
	up := u.do(u.request("POST", path, bytes.NewReader(data), "Content-Type", "video/mp4", "X-Filename", `C:\films\`+"Zo\u00eb.mp4")).want(202)
	var video struct {
		ID                 uuid.UUID
		Filename, Status   string
		Bytes              int64
		Probe              *app.Probe
		ContentURL, Reason string
	}
	up.into(&video)
	at := up.Header.Get("Location")
	require.Equal(t, "/v1/videos/"+video.ID.String(), at)
	require.Equal(t, "Zoë.mp4", video.Filename)
	require.Equal(t, "processing", video.Status)
	require.Equal(t, int64(len(data)), video.Bytes)

	var list struct{ Items []struct{ ID uuid.UUID } }
	u.get(path).want(200).into(&list)
	require.Len(t, list.Items, 1)
	stranger.get(path).problem(404, "not_found")
	stranger.get(at).problem(404, "not_found")
	stranger.get(at+"/content").problem(404, "not_found")
	stranger.delete(at).problem(404, "not_found")

	events, err := s.db.Outbox().Pending(t.Context(), 10)
	require.NoError(t, err)
	tenant := events[0].TenantID
	require.NoError(t, s.db.Videos().Probed(t.Context(), tenant, video.ID, &app.Probe{Container: "mp4", Seconds: 1.5, Tracks: []app.Track{{Kind: "video", Codec: "avc1.64001f"}}, Width: 16, Height: 9, Bitrate: 8}, ""))
	require.NoError(t, s.db.Videos().Metered(t.Context(), events[0].ID, time.Now(), app.VideoUploaded{TenantID: tenant, VideoID: video.ID, Bytes: 1}))
	require.NoError(t, s.db.Videos().Indexed(t.Context(), tenant, video.ID))
	u.get(at).want(200).into(&video)
	require.Equal(t, "ready", video.Status)
	require.InDelta(t, 1.5, video.Probe.Seconds, 1e-9)

	all := u.get(at + "/content").want(200)
	require.Equal(t, data, all.body)
	require.Equal(t, "video/mp4", all.Header.Get("Content-Type"))
	require.Contains(t, all.Header.Get("Content-Disposition"), "filename*=UTF-8''Zo%C3%AB.mp4")
	for rng, want := range map[string]string{
		"bytes=5-14": "5678901234", "bytes=99995-": "56789", "bytes=-3": "789", "bytes=99998-200000": "89", "bytes=0-0": "0",
	} {
		got := u.get(at+"/content", "Range", rng).want(206)
		require.Equal(t, want, string(got.body), rng)
		require.Contains(t, got.Header.Get("Content-Range"), "/100000")
	}
	require.Contains(t, s.objects.ranges, "bytes=5-14", "the store sends only what is asked for")
	asked := len(s.objects.ranges)
	out := u.get(at+"/content", "Range", "bytes=100000-")
	out.problem(416, "range")
	require.Equal(t, "bytes */100000", out.Header.Get("Content-Range"))
	u.get(at+"/content", "If-None-Match", all.Header.Get("Etag")).want(304)
	u.get(at+"/content", "If-Match", `"other"`).problem(412, "precondition_failed")
	head := u.do(u.request("HEAD", at+"/content", nil)).want(200)
	require.Equal(t, int64(100000), head.ContentLength)
	require.Len(t, s.objects.ranges, asked, "what sends no bytes asks the store for none")
	require.Len(t, u.get(at+"/content", "Range", "bytes=5-14", "If-Range", `"other"`).want(200).body, 100000)
	require.Len(t, u.get(at+"/content", "Range", "bytes=5-14", "If-Range", all.Header.Get("Etag")).want(206).body, 10)

	s.objects.err = &app.Error{Code: app.CodeUnavailable, Message: "the object store does not answer"}
	require.Equal(t, "1", u.get(at+"/content").want(503).Header.Get("Retry-After"))
	s.objects.err = nil

	u.delete(at).want(204)
	u.get(at).problem(404, "not_found")
	require.NotContains(t, s.objects.bytes, app.VideoKey(tenant, video.ID))
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u := s.owner()
	stranger := s.owner()
	p := u.project("Mine")
	foreign := stranger.project("Theirs")
	images, videos := "/v1/projects/"+p.ID+"/images", "/v1/projects/"+p.ID+"/videos"
	png := string(picture(t))
	cursor := s.keys.Cursor(auth.List{Tenant: uuid.New(), Kind: "projects"}, uuid.New())
	flipped := func(c string) string {
		raw, err := base64.RawURLEncoding.DecodeString(c)
		require.NoError(t, err)
		raw[3] ^= 1
		return base64.RawURLEncoding.EncodeToString(raw)
	}

	for _, c := range []struct {
		name                            string
		method, path, contentType, body string
		status                          int
		code                            string
		field                           string
	}{
		{"unknown route", "GET", "/v1/nothing", "", "", 404, "not_found", ""},
		{"root", "GET", "/", "", "", 404, "not_found", ""},
		{"trailing slash", "GET", "/v1/projects/", "", "", 404, "not_found", ""},
		{"method", "PUT", "/v1/projects", "application/json", "{}", 405, "method_not_allowed", ""},
		{"method on an id", "POST", "/v1/projects/" + p.ID, "application/json", "{}", 405, "method_not_allowed", ""},

		{"malformed JSON", "POST", "/v1/projects", "application/json", `{"name":`, 400, "invalid", ""},
		{"two values", "POST", "/v1/projects", "application/json", `{"name":"a"} {"name":"b"}`, 400, "invalid", ""},
		{"trailing garbage", "POST", "/v1/projects", "application/json", `{"name":"a"}x`, 400, "invalid", ""},
		{"empty body", "POST", "/v1/projects", "application/json", "", 400, "invalid", ""},
		{"an array", "POST", "/v1/projects", "application/json", "[]", 400, "invalid", ""},
		{"null", "POST", "/v1/projects", "application/json", "null", 400, "invalid", "name"},
		{"unknown field", "POST", "/v1/projects", "application/json", `{"name":"a","tenant_id":"b"}`, 400, "invalid", "tenant_id"},
		{"wrong JSON type", "POST", "/v1/projects", "application/json", `{"name":1}`, 400, "invalid", "name"},
		{"no JSON", "POST", "/v1/projects", "text/plain", `{"name":"a"}`, 415, "unsupported_type", ""},
		{"no content type", "POST", "/v1/projects", "", `{"name":"a"}`, 415, "unsupported_type", ""},
		{"JSON over its limit", "POST", "/v1/projects", "application/json", `{"name":"` + strings.Repeat("x", 70_000) + `"}`, 413, "too_large", ""},
		{"empty name", "POST", "/v1/projects", "application/json", `{"name":"  "}`, 400, "invalid", "name"},
		{"long name", "POST", "/v1/projects", "application/json", `{"name":"` + strings.Repeat("é", 201) + `"}`, 400, "invalid", "name"},
		{"NUL in a name", "POST", "/v1/projects", "application/json", `{"name":"a\u0000b"}`, 400, "invalid", "name"},
		{"NUL in a description", "POST", "/v1/projects", "application/json", `{"name":"a","description":"\u0000"}`, 400, "invalid", "description"},

		{"no email", "POST", "/v1/auth/register", "application/json", `{"tenant_name":"a","email":"nobody","password":"long enough for us"}`, 400, "invalid", "email"},
		{"email with a name", "POST", "/v1/auth/register", "application/json", `{"tenant_name":"a","email":"A <a@example.com>","password":"long enough for us"}`, 400, "invalid", "email"},
		{"short password", "POST", "/v1/auth/register", "application/json", `{"tenant_name":"a","email":"a@example.com","password":"short"}`, 400, "invalid", "password"},
		{"no tenant name", "POST", "/v1/auth/register", "application/json", `{"email":"a@example.com","password":"long enough for us"}`, 400, "invalid", "tenant_name"},
		{"taken email", "POST", "/v1/auth/register", "application/json", `{"tenant_name":"a","email":"` + strings.ToUpper(u.email) + `","password":"long enough for us"}`, 409, "conflict", ""},
		{"wrong password", "POST", "/v1/auth/login", "application/json", `{"email":"` + u.email + `","password":"wrong password"}`, 401, "unauthenticated", ""},
		{"unknown email", "POST", "/v1/auth/login", "application/json", `{"email":"nobody@example.com","password":"wrong password"}`, 401, "unauthenticated", ""},
		{"huge password", "POST", "/v1/auth/login", "application/json", `{"email":"` + u.email + `","password":"` + strings.Repeat("x", 10_000) + `"}`, 401, "unauthenticated", ""},
		{"NUL in an email", "POST", "/v1/auth/login", "application/json", `{"email":"a\u0000@example.com","password":"wrong password"}`, 400, "invalid", ""},

		{"bad cursor", "GET", "/v1/projects?cursor=nonsense", "", "", 400, "invalid", "cursor"},
		{"empty cursor", "GET", "/v1/projects?cursor=", "", "", 400, "invalid", "cursor"},
		{"another tenant's cursor", "GET", "/v1/projects?cursor=" + cursor, "", "", 400, "invalid", "cursor"},
		{"tampered cursor", "GET", "/v1/projects?cursor=" + flipped(cursor), "", "", 400, "invalid", "cursor"},
		{"limit 0", "GET", "/v1/projects?limit=0", "", "", 400, "invalid", "limit"},
		{"limit 201", "GET", "/v1/projects?limit=201", "", "", 400, "invalid", "limit"},
		{"limit of words", "GET", "/v1/projects?limit=many", "", "", 400, "invalid", "limit"},
		{"unknown parameter", "GET", "/v1/projects?offset=5", "", "", 400, "invalid", "offset"},
		{"parameter twice", "GET", "/v1/projects?limit=5&limit=6", "", "", 400, "invalid", "limit"},
		{"malformed query", "GET", "/v1/projects?limit=%zz", "", "", 400, "invalid", ""},

		{"id that is none", "GET", "/v1/projects/1", "", "", 404, "not_found", ""},
		{"id in another form", "GET", "/v1/projects/urn:uuid:" + p.ID, "", "", 404, "not_found", ""},
		{"unknown id", "GET", "/v1/projects/" + uuid.NewString(), "", "", 404, "not_found", ""},
		{"foreign id", "GET", "/v1/projects/" + foreign.ID, "", "", 404, "not_found", ""},
		{"unknown job", "GET", "/v1/jobs/" + uuid.NewString(), "", "", 404, "not_found", ""},
		{"unknown image", "GET", "/v1/images/" + uuid.NewString() + "/content?width=320", "", "", 404, "not_found", ""},
		{"unknown video", "GET", "/v1/videos/x/content", "", "", 404, "not_found", ""},
		{"image into a foreign project", "POST", "/v1/projects/" + foreign.ID + "/images", "image/png", png, 404, "not_found", ""},
		{"video into a foreign project", "POST", "/v1/projects/" + foreign.ID + "/videos", "video/mp4", "x", 404, "not_found", ""},

		{"picture of 0 bytes", "POST", images, "image/png", "", 400, "invalid", ""},
		{"picture that is text", "POST", images, "image/png", "hello", 415, "unsupported_type", ""},
		{"picture of another type", "POST", images, "image/jpeg", png, 415, "unsupported_type", ""},
		{"picture as a form", "POST", images, "multipart/form-data; boundary=x", png, 415, "unsupported_type", ""},
		{"SVG", "POST", images, "image/svg+xml", "<svg/>", 415, "unsupported_type", ""},
		{"picture over its limit", "POST", images, "image/png", png + strings.Repeat("x", 100_000), 413, "too_large", ""},
		{"no width", "POST", images + "?widths=", "image/png", png, 400, "invalid", "widths"},
		{"width of words", "POST", images + "?widths=wide", "image/png", png, 400, "invalid", "widths"},
		{"narrow", "POST", images + "?widths=15", "image/png", png, 400, "invalid", "widths"},
		{"wide", "POST", images + "?widths=320,4097", "image/png", png, 400, "invalid", "widths"},
		{"nine widths", "POST", images + "?widths=16,17,18,19,20,21,22,23,24", "image/png", png, 400, "invalid", "widths"},
		{"rendition of no width", "GET", "/v1/images/" + uuid.NewString() + "/content?width=0", "", "", 400, "invalid", "width"},

		{"video of 0 bytes", "POST", videos, "video/mp4", "", 400, "invalid", ""},
		{"video of a wrong type", "POST", videos, "video/x-msvideo", "x", 415, "unsupported_type", ""},
		{"video over its limit", "POST", videos, "video/mp4", strings.Repeat("x", 200_001), 413, "too_large", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := *u
			u.setup = &setup{t: t, url: s.url}
			a := u.raw(c.method, c.path, c.contentType, c.body)
			problem := a.problem(c.status, c.code)
			if c.field != "" {
				require.NotEmpty(t, problem.Errors)
				require.Equal(t, c.field, problem.Errors[0].Field)
			}
			if c.status == 405 {
				require.NotEmpty(t, a.Header.Get("Allow"))
			}
		})
	}
	require.Empty(t, s.objects.bytes, "nothing refused is stored")
}

func TestABodyOfUnknownLengthIsCutAtItsLimit(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u := s.owner()
	p := u.project("P")
	endless := io.LimitReader(repeated('x'), 50<<20)
	req := u.request("POST", "/v1/projects/"+p.ID+"/videos", endless, "Content-Type", "video/mp4")
	req.ContentLength = -1
	u.do(req).problem(413, "too_large")
	require.Empty(t, s.objects.bytes)
}

type repeated byte

func (r repeated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}

func TestWithoutASessionNothingIsServed(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	id := uuid.NewString()
	nobody := s.anonymous()
	forged := s.anonymous()
	other, err := auth.NewKeys("another secret of at least thirty-two bytes")
	require.NoError(t, err)
	token, err := other.Issue(app.Caller{UserID: uuid.New(), TenantID: uuid.New(), SessionID: uuid.New(), Role: app.RoleOwner}, time.Now())
	require.NoError(t, err)
	forged.client.Transport = cookieTransport{"access=" + token}
	for _, route := range []string{
		"GET /v1/me", "GET /v1/projects", "POST /v1/projects", "GET /v1/projects/" + id, "PATCH /v1/projects/" + id, "DELETE /v1/projects/" + id,
		"POST /v1/projects/" + id + "/images", "GET /v1/jobs/" + id, "GET /v1/images/" + id + "/content", "POST /v1/projects/" + id + "/videos",
		"GET /v1/projects/" + id + "/videos", "GET /v1/videos/" + id, "DELETE /v1/videos/" + id, "GET /v1/videos/" + id + "/content",
		"GET /v1/webhook", "PUT /v1/webhook", "DELETE /v1/webhook", "DELETE /v1/auth/sessions", "POST /v1/auth/refresh", "POST /v1/auth/logout",
	} {
		method, path, _ := strings.Cut(route, " ")
		for _, u := range []*user{nobody, forged} {
			a := u.raw(method, path, "application/json", "{}")
			a.problem(401, "unauthenticated")
			require.NotEmpty(t, a.Header.Get("Www-Authenticate"))
		}
	}
}

func TestRequestsFromOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u := s.owner()
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		u.post("/v1/projects", map[string]string{"name": "x"}, headers...).problem(403, "forbidden")
		u.get("/v1/projects", headers...).want(200)
	}
	u.post("/v1/projects", map[string]string{"name": "x"}, "Sec-Fetch-Site", "same-origin").want(201)
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	u := newSetup(t).anonymous()
	require.Equal(t, "given-by-the-edge", u.get("/version", "X-Request-Id", "given-by-the-edge").Header.Get("X-Request-Id"))
	for _, bad := range []string{"short", strings.Repeat("x", 129), "has spaces in it", `quoted"quoted"`} {
		got := u.get("/version", "X-Request-Id", bad).Header.Get("X-Request-Id")
		require.NotEqual(t, bad, got)
		require.NoError(t, uuid.Validate(got))
	}
}

// Who receives the messages of a request, and who reads its log, can tell that
// they belong to it.
func TestTracesAreContinued(t *testing.T) {
	t.Parallel()
	const sent, other = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, tc := range map[string]struct {
		header    []string
		continued bool
	}{
		"one":     {[]string{sent}, true},
		"none":    {nil, false},
		"two":     {[]string{sent, other}, false},
		"no such": {[]string{"00-" + sent}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetupWith(t, func(o *httpapi.Options) { o.Log = slog.New(trace.LogHandler(o.Log.Handler())) })
			u := s.owner()
			req := u.request("POST", "/v1/projects/"+u.project("P").ID+"/images", bytes.NewReader(picture(t)), "Content-Type", "image/png")
			req.Header["Traceparent"] = tc.header
			u.do(req).want(202)
			stored, err := s.db.Outbox().Pending(t.Context(), 10)
			require.NoError(t, err)
			require.Len(t, stored, 1)
			received := trace.Continue(stored[0].Traceparent, "")
			require.Equal(t, tc.continued, received.Trace == "4bf92f3577b34da6a3ce929d0e0e4736")
			require.NotEqual(t, "00f067aa0ba902b7", received.Parent, "the request is a span of its own")
			require.NotEmpty(t, received.Parent)

			s.server.Close() // logs what is being served
			lines := bytes.Split(bytes.TrimSpace(s.log.Bytes()), []byte("\n"))
			var last struct {
				Trace string `json:"trace_id"`
				Span  string `json:"span_id"`
			}
			require.NoError(t, json.Unmarshal(lines[len(lines)-1], &last))
			require.Equal(t, received.Trace, last.Trace)
			require.Equal(t, received.Parent, last.Span)
		})
	}
}

func TestRequestsAreLogged(t *testing.T) {
	t.Parallel()
	u := newSetup(t).anonymous()
	begin := time.Now()
	id := u.get("/v1/me").want(http.StatusUnauthorized).Header.Get("X-Request-Id")
	took := time.Since(begin)
	u.server.Close()
	var line map[string]any
	require.NoError(t, json.Unmarshal(u.log.Bytes(), &line), "one line of JSON: %s", u.log)
	require.Equal(t, "request", line["msg"])
	require.Equal(t, id, line["request_id"])
	require.EqualValues(t, http.StatusUnauthorized, line["status"], "a number, so that a query can compare it")
	require.Greater(t, line["ms"], 0.0)
	require.Less(t, line["ms"], took.Seconds()*1000)
	require.NotContains(t, line, "aborted")
}

func TestStatus(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u := s.anonymous()
	u.get("/healthz").want(200)
	var version map[string]string
	u.get("/version").want(200).into(&version)
	require.Equal(t, map[string]string{"version": "1.2.3", "color": "blue", "instance": "i-1", "revision": "abc"}, version)
	require.JSONEq(t, `{"status":"ready","checks":{"postgres":"ok","redis":"degraded"}}`, string(u.get("/readyz").want(200).body))
	s.status.Checks[0].Probe = func(context.Context) error { return context.DeadlineExceeded }
	require.JSONEq(t, `{"status":"unready","checks":{"postgres":"failed","redis":"degraded"}}`, string(u.get("/readyz").want(503).body))
	s.status.Drain()
	require.JSONEq(t, `{"status":"draining"}`, string(u.get("/readyz").want(503).body))
	u.get("/healthz").want(200)
	u.get("/v1/openapi.json").want(200)
}
