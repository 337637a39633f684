package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/auth"
)

const (
	accessCookie  = "access"
	refreshCookie = "refresh"
	refreshPath   = "/v1/auth"
)

type userJSON struct {
	ID        uuid.UUID `json:"id"`
	Email     string    `json:"email"`
	Role      app.Role  `json:"role"`
	CreatedAt time.Time `json:"created_at"`
}

type tenantJSON struct {
	ID        uuid.UUID `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
}

func showUser(u app.User) userJSON {
	return userJSON{ID: u.ID, Email: u.Email, Role: u.Role, CreatedAt: u.CreatedAt.UTC()}
}

func showTenant(t app.Tenant) tenantJSON {
	return tenantJSON{ID: t.ID, Name: t.Name, CreatedAt: t.CreatedAt.UTC()}
}

func (a *api) register(w http.ResponseWriter, req *http.Request) error {
	in, err := readJSON[struct {
		TenantName string `json:"tenant_name"`
		Email      string `json:"email"`
		Password   string `json:"password"`
	}](req)
	if err != nil {
		return err
	}
	u, t, err := a.Auth.Register(req.Context(), auth.Registration{TenantName: in.TenantName, Email: in.Email, Password: in.Password})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, struct {
		User   userJSON   `json:"user"`
		Tenant tenantJSON `json:"tenant"`
	}{showUser(u), showTenant(t)})
}

type loginJSON struct {
	User userJSON `json:"user"`
}

func (a *api) login(w http.ResponseWriter, req *http.Request) error {
	in, err := readJSON[struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	}](req)
	if err != nil {
		return err
	}
	tokens, u, err := a.Auth.Login(req.Context(), in.Email, in.Password)
	if err != nil {
		return err
	}
	setCookies(w, req, tokens)
	return writeJSON(w, http.StatusOK, loginJSON{showUser(u)})
}

func (a *api) refresh(w http.ResponseWriter, req *http.Request) error {
	cookie, err := req.Cookie(refreshCookie)
	if err != nil {
		return app.Errorf(app.CodeUnauthenticated, "log in first")
	}
	// A refused token clears no cookie: another tab may have rotated it a
	// moment ago, and its cookies are the good ones.
	tokens, u, err := a.Auth.Refresh(req.Context(), cookie.Value)
	if err != nil {
		return err
	}
	setCookies(w, req, tokens)
	return writeJSON(w, http.StatusOK, loginJSON{showUser(u)})
}

func (a *api) logout(w http.ResponseWriter, req *http.Request) error {
	var tokens auth.Tokens
	if c, err := req.Cookie(accessCookie); err == nil {
		tokens.Access = c.Value
	}
	if c, err := req.Cookie(refreshCookie); err == nil {
		tokens.Refresh = c.Value
	}
	if tokens == (auth.Tokens{}) {
		return app.Errorf(app.CodeUnauthenticated, "log in first")
	}
	if err := a.Auth.Logout(req.Context(), tokens); err != nil {
		return err
	}
	clearCookies(w, req)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *api) logoutEverywhere(w http.ResponseWriter, req *http.Request) error {
	if err := a.Auth.LogoutEverywhere(req.Context(), caller(req)); err != nil {
		return err
	}
	clearCookies(w, req)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *api) me(w http.ResponseWriter, req *http.Request) error {
	c := caller(req)
	u, t, err := a.Users.ByID(req.Context(), c.TenantID, c.UserID)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		User   userJSON   `json:"user"`
		Tenant tenantJSON `json:"tenant"`
		Roles  []app.Role `json:"roles"`
	}{showUser(u), showTenant(t), []app.Role{u.Role}})
}

func setCookies(w http.ResponseWriter, req *http.Request, t auth.Tokens) {
	setCookie(w, req, accessCookie, "/", t.Access, auth.AccessTTL)
	setCookie(w, req, refreshCookie, refreshPath, t.Refresh, auth.RefreshTTL)
}

func clearCookies(w http.ResponseWriter, req *http.Request) {
	setCookie(w, req, accessCookie, "/", "", -time.Second)
	setCookie(w, req, refreshCookie, refreshPath, "", -time.Second)
}

func setCookie(w http.ResponseWriter, req *http.Request, name, path, value string, ttl time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: path, MaxAge: int(ttl / time.Second),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: secure(req),
	})
}

// secure tells whether cookies must carry Secure; the package comment says why
// there is an exception.
func secure(req *http.Request) bool {
	host := req.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	loopback := strings.EqualFold(host, "localhost") || (err == nil && addr.IsLoopback())
	scheme := req.Header.Get("CloudFront-Forwarded-Proto")
	if scheme == "" {
		scheme = req.Header.Get("X-Forwarded-Proto")
	}
	if scheme == "" && req.TLS == nil {
		scheme = "http"
	}
	return !loopback || !strings.EqualFold(scheme, "http")
}
