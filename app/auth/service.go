package auth

import (
	"context"
	"fmt"
	"net/mail"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
)

// Lengths of passwords: at least 12 characters (OWASP ASVS 4.0, 2.1.1) and at
// most 128 (2.1.2).
const (
	MinPassword = 12
	MaxPassword = 128
)

// SessionCheck is how long an instance trusts that a session is active before
// it asks again: a revoked session is refused everywhere within this time.
const SessionCheck = time.Second

// Service logs users in and out and authenticates their requests.
type Service struct {
	users     app.Users
	sessions  app.Sessions
	keys      *Keys
	passwords *Passwords
	now       func() time.Time
	active    activeSessions
}

// NewService returns a service; now is the clock, time.Now outside of tests.
func NewService(users app.Users, sessions app.Sessions, keys *Keys, now func() time.Time) *Service {
	return &Service{
		users: users, sessions: sessions, keys: keys, passwords: NewPasswords(), now: now,
		active: activeSessions{until: map[uuid.UUID]time.Time{}},
	}
}

// Tokens are what a client holds of a session.
type Tokens struct {
	Access  string
	Refresh string
}

// Registration asks for a new tenant with its owner.
type Registration struct {
	TenantName string
	Email      string
	Password   string
}

// Register makes a tenant and its owner. Every field that is wrong is named.
func (s *Service) Register(ctx context.Context, r Registration) (app.User, app.Tenant, error) {
	var fields []app.FieldError
	r.TenantName = strings.TrimSpace(r.TenantName)
	if why := checkName(r.TenantName); why != "" {
		fields = append(fields, app.FieldError{Field: "tenant_name", Message: why})
	}
	email, why := checkEmail(r.Email)
	if why != "" {
		fields = append(fields, app.FieldError{Field: "email", Message: why})
	}
	if n := utf8.RuneCountInString(r.Password); n < MinPassword || n > MaxPassword {
		fields = append(fields, app.FieldError{Field: "password", Message: fmt.Sprintf("must have %d to %d characters", MinPassword, MaxPassword)})
	}
	if len(fields) > 0 {
		return app.User{}, app.Tenant{}, &app.Error{Code: app.CodeInvalid, Message: "the registration is not valid", Fields: fields}
	}

	hash, err := s.passwords.Hash(ctx, r.Password)
	if err != nil {
		return app.User{}, app.Tenant{}, err
	}
	now := s.now().UTC().Truncate(time.Microsecond) // what PostgreSQL keeps
	t := app.Tenant{Name: r.TenantName, CreatedAt: now}
	u := app.User{Email: email, PasswordHash: hash, Role: app.RoleOwner, CreatedAt: now}
	if t.ID, err = uuid.NewV7(); err != nil {
		return app.User{}, app.Tenant{}, fmt.Errorf("register: %w", err)
	}
	if u.ID, err = uuid.NewV7(); err != nil {
		return app.User{}, app.Tenant{}, fmt.Errorf("register: %w", err)
	}
	u.TenantID = t.ID
	return u, t, s.users.Register(ctx, t, u)
}

// Login starts a session. A wrong password and an unknown email take the same
// work and have the same answer.
func (s *Service) Login(ctx context.Context, email, password string) (Tokens, app.User, error) {
	refused := app.Errorf(app.CodeUnauthenticated, "the email or the password is wrong")
	if len(password) > MaxPassword*utf8.UTFMax || len(email) > maxEmail {
		return Tokens{}, app.User{}, refused
	}
	u, err := s.users.ByEmail(ctx, strings.TrimSpace(email))
	if err != nil && app.CodeOf(err) != app.CodeNotFound {
		return Tokens{}, app.User{}, err
	}
	ok, err := s.passwords.Verify(ctx, u.PasswordHash, password)
	if err != nil {
		return Tokens{}, app.User{}, err
	}
	if !ok {
		return Tokens{}, app.User{}, refused
	}
	now := s.now()
	session := app.Session{TenantID: u.TenantID, UserID: u.ID, ExpiresAt: now.Add(RefreshTTL)}
	if session.ID, err = uuid.NewV7(); err != nil {
		return Tokens{}, app.User{}, fmt.Errorf("log in: %w", err)
	}
	var tokens Tokens
	tokens.Refresh, session.TokenHash = newRefreshToken()
	if err := s.sessions.Create(ctx, session); err != nil {
		return Tokens{}, app.User{}, err
	}
	tokens.Access, err = s.keys.Issue(app.Caller{UserID: u.ID, TenantID: u.TenantID, SessionID: session.ID, Role: u.Role}, now)
	return tokens, u, err
}

// Refresh replaces both tokens. A refresh token that was used before ends the
// session.
func (s *Service) Refresh(ctx context.Context, refresh string) (Tokens, app.User, error) {
	tokens, _, u, err := s.rotate(ctx, refresh)
	return tokens, u, err
}

func (s *Service) rotate(ctx context.Context, refresh string) (Tokens, app.Session, app.User, error) {
	now := s.now()
	var tokens Tokens
	next, hash := newRefreshToken()
	session, u, err := s.sessions.Rotate(ctx, hashToken(refresh), hash, now.Add(RefreshTTL))
	if err != nil {
		return Tokens{}, app.Session{}, app.User{}, err
	}
	tokens.Refresh = next
	tokens.Access, err = s.keys.Issue(app.Caller{UserID: u.ID, TenantID: u.TenantID, SessionID: session.ID, Role: u.Role}, now)
	return tokens, session, u, err
}

// Authenticate returns the caller of an access token whose session is active.
func (s *Service) Authenticate(ctx context.Context, access string) (app.Caller, error) {
	now := s.now()
	c, err := s.keys.Verify(access, now)
	if err != nil {
		return app.Caller{}, err
	}
	if s.active.known(c.SessionID, now) {
		return c, nil
	}
	ok, err := s.sessions.Active(ctx, c.TenantID, c.SessionID)
	if err != nil {
		return app.Caller{}, err
	}
	if !ok {
		return app.Caller{}, app.Errorf(app.CodeUnauthenticated, "the session is over; log in again")
	}
	s.active.add(c.SessionID, now)
	return c, nil
}

// Logout ends the session of either token; the refresh token serves when the
// access token has expired.
func (s *Service) Logout(ctx context.Context, tokens Tokens) error {
	c, err := s.keys.Verify(tokens.Access, s.now())
	if err != nil {
		if tokens.Refresh == "" {
			return err
		}
		_, session, _, err := s.rotate(ctx, tokens.Refresh)
		if err != nil {
			return err
		}
		c = app.Caller{TenantID: session.TenantID, SessionID: session.ID}
	}
	s.active.remove(c.SessionID)
	return s.sessions.Revoke(ctx, c.TenantID, c.SessionID)
}

// LogoutEverywhere ends all sessions of the caller.
func (s *Service) LogoutEverywhere(ctx context.Context, c app.Caller) error {
	s.active.remove(c.SessionID)
	return s.sessions.RevokeUser(ctx, c.TenantID, c.UserID)
}

// activeSessions remembers which sessions were active a moment ago.
type activeSessions struct {
	mu    sync.Mutex
	until map[uuid.UUID]time.Time
}

// maxActive bounds the memory; when it is reached all is forgotten, which
// costs one look-up per session.
const maxActive = 10_000

func (a *activeSessions) known(id uuid.UUID, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return now.Before(a.until[id])
}

func (a *activeSessions) add(id uuid.UUID, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.until) >= maxActive {
		clear(a.until)
	}
	a.until[id] = now.Add(SessionCheck)
}

func (a *activeSessions) remove(id uuid.UUID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.until, id)
}

const maxEmail = 254 // RFC 5321, 4.5.3.1.3, less the angle brackets

func checkEmail(text string) (email, why string) {
	text = strings.TrimSpace(text)
	a, err := mail.ParseAddress(text)
	switch {
	case len(text) > maxEmail:
		return "", fmt.Sprintf("must have at most %d bytes", maxEmail)
	case err != nil || a.Address != text || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return "", "must be an email address such as ada@example.com"
	}
	return strings.ToLower(text), ""
}

const maxName = 200

func checkName(name string) string {
	switch {
	case name == "":
		return "must not be empty"
	case utf8.RuneCountInString(name) > maxName:
		return fmt.Sprintf("must have at most %d characters", maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return "must be text without control characters"
	}
	return ""
}
