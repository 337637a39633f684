package auth

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
)

const (
	current  = "the current secret, at least 32 bytes"
	previous = "the secret before it, at least 32 bytes"
)

func newKeys(t *testing.T, secret string, previous ...string) *Keys {
	t.Helper()
	k, err := NewKeys(secret, previous...)
	require.NoError(t, err)
	return k
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	p := NewPasswords()
	hash, err := p.Hash(t.Context(), "correct horse battery")
	require.NoError(t, err)
	require.Regexp(t, `^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`, hash)
	again, err := p.Hash(t.Context(), "correct horse battery")
	require.NoError(t, err)
	require.NotEqual(t, hash, again, "each hash has a salt of its own")

	for _, c := range []struct {
		hash, password string
		ok             bool
	}{{hash, "correct horse battery", true}, {hash, "correct horse batterz", false}, {hash, "", false}, {"", "", false}, {"", "x", false}} {
		ok, err := p.Verify(t.Context(), c.hash, c.password)
		require.NoError(t, err)
		require.Equal(t, c.ok, ok, "%q", c.password)
	}
	for _, broken := range []string{"x", "$2b$10$abc", "$argon2id$v=18$m=1,t=1,p=1$AA$AA", "$argon2id$v=19$m=19456,t=2,p=1$!$AA", "$argon2id$v=19$m=19456,t=2,p=1$AA$"} {
		_, err := p.Verify(t.Context(), broken, "x")
		require.Error(t, err, broken)
	}
}

// Waiting for a turn ends with the request.
func TestHashingIsBounded(t *testing.T) {
	t.Parallel()
	p := NewPasswords()
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.Hash(ctx, "x")
	require.Equal(t, app.CodeUnavailable, app.CodeOf(err))
}

func TestAccessTokens(t *testing.T) {
	t.Parallel()
	now := time.Now()
	k := newKeys(t, current)
	c := app.Caller{UserID: uuid.New(), TenantID: uuid.New(), SessionID: uuid.New(), Role: app.RoleEditor}
	token, err := k.Issue(c, now)
	require.NoError(t, err)
	got, err := k.Verify(token, now.Add(AccessTTL-time.Second))
	require.NoError(t, err)
	require.Equal(t, c, got)
	got, err = newKeys(t, "a rotated secret, at least 32 bytes long", current).Verify(token, now)
	require.NoError(t, err, "a rotated secret logs nobody out")
	require.Equal(t, c, got)

	forge := func(method jwt.SigningMethod, key any, change func(*claims, map[string]any)) string {
		cl := claims{
			RegisteredClaims: jwt.RegisteredClaims{Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: c.UserID.String(), ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour))},
			Tenant:           c.TenantID, Session: c.SessionID, Role: c.Role,
		}
		t := jwt.New(method)
		t.Header["kid"] = k.kid
		change(&cl, t.Header)
		t.Claims = cl
		signed, err := t.SignedString(key)
		if err != nil {
			panic(err)
		}
		return signed
	}
	key := k.access[k.kid]
	nothing := func(*claims, map[string]any) {}
	_, err = k.Verify(forge(jwt.SigningMethodHS256, key, nothing), now)
	require.NoError(t, err, "the forger's tokens are good but for what is changed")
	for name, bad := range map[string]string{
		"expired":       forge(jwt.SigningMethodHS256, key, func(c *claims, _ map[string]any) { c.ExpiresAt = jwt.NewNumericDate(now.Add(-time.Second)) }),
		"never expires": forge(jwt.SigningMethodHS256, key, func(c *claims, _ map[string]any) { c.ExpiresAt = nil }),
		"issuer":        forge(jwt.SigningMethodHS256, key, func(c *claims, _ map[string]any) { c.Issuer = "x" }),
		"audience":      forge(jwt.SigningMethodHS256, key, func(c *claims, _ map[string]any) { c.Audience = jwt.ClaimStrings{"x"} }),
		"subject":       forge(jwt.SigningMethodHS256, key, func(c *claims, _ map[string]any) { c.Subject = "x" }),
		"kid":           forge(jwt.SigningMethodHS256, key, func(_ *claims, h map[string]any) { h["kid"] = "x" }),
		"key":           forge(jwt.SigningMethodHS256, []byte("another"), nothing),
		"algorithm":     forge(jwt.SigningMethodHS512, key, nothing),
		"none":          forge(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nothing),
		"another key":   mustIssue(newKeys(t, previous), c, now),
		"cut":           token[:len(token)-4],
		"empty":         "",
		"text":          "a.b.c",
	} {
		_, err := k.Verify(bad, now)
		require.Equal(t, app.CodeUnauthenticated, app.CodeOf(err), name)
	}
	_, err = NewKeys("short")
	require.Error(t, err)
}

func mustIssue(k *Keys, c app.Caller, now time.Time) string {
	token, err := k.Issue(c, now)
	if err != nil {
		panic(err)
	}
	return token
}

func TestCursorsBelongToOneListOfOneTenant(t *testing.T) {
	t.Parallel()
	k := newKeys(t, current)
	list := List{Tenant: uuid.New(), Kind: "videos", Filter: "a"}
	after := uuid.New()
	cursor := k.Cursor(list, after)
	got, err := k.OpenCursor(list, cursor)
	require.NoError(t, err)
	require.Equal(t, after, got)

	refused := func(k *Keys, l List, c string) {
		t.Helper()
		_, err := k.OpenCursor(l, c)
		require.Equal(t, app.CodeInvalid, app.CodeOf(err))
	}
	refused(k, List{Tenant: uuid.New(), Kind: "videos", Filter: "a"}, cursor)
	refused(k, List{Tenant: list.Tenant, Kind: "projects", Filter: "a"}, cursor)
	refused(k, List{Tenant: list.Tenant, Kind: "videos", Filter: "b"}, cursor)
	refused(newKeys(t, previous), list, cursor)
	for i := range cursor { // whichever character is changed
		other := "A"
		if cursor[i] == 'A' {
			other = "B"
		}
		refused(k, list, cursor[:i]+other+cursor[i+1:])
	}
	for _, c := range []string{"", "x", cursor + "AAAA", cursor[:20], strings.Repeat("A", 10_000)} {
		refused(k, list, c)
	}
}

// sessions answers Active from a switch and counts the questions.
type sessions struct {
	app.Sessions
	active bool
	asked  int
}

func (s *sessions) Active(context.Context, uuid.UUID, uuid.UUID) (bool, error) {
	s.asked++
	return s.active, nil
}

func TestARevokedSessionIsRefusedWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKeys(t, current)
		store := &sessions{active: true}
		s := NewService(nil, store, k, time.Now)
		token := mustIssue(k, app.Caller{SessionID: uuid.New()}, time.Now())
		for range 10 {
			_, err := s.Authenticate(t.Context(), token)
			require.NoError(t, err)
		}
		require.Equal(t, 1, store.asked)
		store.active = false // on another instance
		time.Sleep(SessionCheck)
		_, err := s.Authenticate(t.Context(), token)
		require.Equal(t, app.CodeUnauthenticated, app.CodeOf(err))
	})
}

// A token that is accepted speaks for whom it was issued to, whatever was done
// to it on the way.
func FuzzVerify(f *testing.F) {
	keys, err := NewKeys(current)
	require.NoError(f, err)
	now := time.Unix(1_800_000_000, 0)
	c := app.Caller{UserID: uuid.Max, TenantID: uuid.Max, SessionID: uuid.Max, Role: app.RoleViewer}
	token := mustIssue(keys, c, now)
	f.Add(token)
	f.Add(token[:len(token)-1])
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		for _, at := range []time.Time{now, now.Add(AccessTTL)} {
			got, err := keys.Verify(token, at)
			switch {
			case err != nil && app.CodeOf(err) != app.CodeUnauthenticated:
				t.Errorf("%q: %v", token, err)
			case err == nil && (got != c || !at.Equal(now)):
				t.Errorf("%q speaks for %+v at %v", token, got, at)
			}
		}
	})
}

// There is one text for each cursor and each list.
func FuzzOpenCursor(f *testing.F) {
	keys, err := NewKeys(current)
	require.NoError(f, err)
	list := List{Tenant: uuid.Max, Kind: "videos", Filter: "a"}
	cursor := keys.Cursor(list, uuid.Max)
	f.Add(cursor)
	f.Add(cursor + "=")
	f.Add(cursor[:40] + "\n" + cursor[40:])
	f.Add(keys.Cursor(List{Tenant: uuid.Max, Kind: "projects"}, uuid.Max))
	f.Fuzz(func(t *testing.T, cursor string) {
		after, err := keys.OpenCursor(list, cursor)
		switch {
		case err != nil && app.CodeOf(err) != app.CodeInvalid:
			t.Errorf("%q: %v", cursor, err)
		case err == nil && keys.Cursor(list, after) != cursor:
			t.Errorf("%q continues behind %s, whose cursor is another one", cursor, after)
		}
	})
}
