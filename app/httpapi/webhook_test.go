package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/webhook"
)

type hook struct {
	URL       string
	Secret    string
	CreatedAt time.Time `json:"created_at"`
}

func (u *user) setWebhook(address string) answer {
	return u.json("PUT", "/v1/webhook", map[string]string{"url": address})
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u, stranger := s.owner(), s.owner()
	tenant := u.me().Tenant.ID
	u.get("/v1/webhook").problem(404, "not_found")
	u.delete("/v1/webhook").problem(404, "not_found")

	var first, second, shown hook
	a := u.json("PUT", "/v1/webhook", map[string]string{"url": "https://hooks.example.com/a"}, "Accept-Encoding", "zstd, br, gzip").want(200)
	a.into(&first)
	require.Empty(t, a.Header.Get("Content-Encoding"), "a secret beside what was sent")
	require.Equal(t, "private, no-store", a.Header.Get("Cache-Control"))
	require.Equal(t, "https://hooks.example.com/a", first.URL)
	_, err := webhook.Sign(first.Secret, "id", time.Now(), nil)
	require.NoError(t, err, "the secret signs")
	stored, err := s.db.Webhooks().Get(t.Context(), tenant)
	require.NoError(t, err)
	require.Equal(t, app.Webhook{TenantID: tenant, URL: first.URL, Secret: first.Secret, CreatedAt: first.CreatedAt}, stored)

	a = u.get("/v1/webhook").want(200)
	require.NotContains(t, string(a.body), "secret")
	a.into(&shown)
	require.Equal(t, hook{URL: first.URL, CreatedAt: first.CreatedAt}, shown)

	u.setWebhook("https://hooks.example.com/a").want(200).into(&second)
	require.NotEqual(t, first.Secret, second.Secret, "setting it again rotates the secret")

	stranger.get("/v1/webhook").problem(404, "not_found")
	stranger.delete("/v1/webhook").problem(404, "not_found")
	stranger.setWebhook("https://stranger.example.com/").want(200)
	u.get("/v1/webhook").want(200).into(&shown)
	require.Equal(t, "https://hooks.example.com/a", shown.URL)

	u.delete("/v1/webhook").want(204)
	u.get("/v1/webhook").problem(404, "not_found")
	stranger.get("/v1/webhook").want(200)

	for _, role := range []app.Role{app.RoleViewer, app.RoleEditor} {
		member := u.with(role)
		member.get("/v1/webhook").problem(403, "forbidden")
		member.setWebhook("https://hooks.example.com/a").problem(403, "forbidden")
		member.delete("/v1/webhook").problem(403, "forbidden")
	}
	u.get("/v1/webhook").problem(404, "not_found")
	require.NotContains(t, s.log.String(), strings.TrimPrefix(second.Secret, "whsec_"))
}

func TestAWebhookThatCannotBeReachedIsRefused(t *testing.T) {
	t.Parallel()
	u := newSetup(t).owner()
	for _, address := range []string{"", "http://example.com/", "https://127.0.0.1/", "https://169.254.169.254/", "https://localhost/", "https://me:pw@example.com/"} {
		p := u.setWebhook(address).problem(400, "invalid")
		require.Len(t, p.Errors, 1, address)
		require.Equal(t, "url", p.Errors[0].Field)
		require.NotContains(t, p.Detail, "pw@")
	}
	u.json("PUT", "/v1/webhook", map[string]string{"url": "https://example.com/", "secret": "mine"}).problem(400, "invalid")
	u.get("/v1/webhook").problem(404, "not_found")
}

// Twenty owners set the webhook at once: what is stored is what one of them was
// told, not the address of one with the secret of another.
func TestTwentySetOneWebhook(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	u := s.owner()
	var mu sync.Mutex
	told := map[string]string{}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			a := u.setWebhook(fmt.Sprintf("https://hooks.example.com/%d", i))
			var h hook
			if err := json.Unmarshal(a.body, &h); err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("answered %d %s", a.StatusCode, a.body)
			}
			mu.Lock()
			defer mu.Unlock()
			told[h.Secret] = h.URL
		})
	}
	all.Wait()
	require.Len(t, told, 20)
	stored, err := s.db.Webhooks().Get(t.Context(), u.me().Tenant.ID)
	require.NoError(t, err)
	require.Equal(t, told[stored.Secret], stored.URL)
}
