package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/loadbearing/loadbearing/app"
)

// Sessions implements app.Sessions.
type Sessions struct{ db *DB }

var _ app.Sessions = Sessions{}

// Sessions returns the store of sessions.
func (db *DB) Sessions() Sessions { return Sessions{db} }

const insertToken = "insert into refresh_tokens (hash, tenant_id, session_id) values ($1, $2, $3)"

// Create implements app.Sessions.
func (s Sessions) Create(ctx context.Context, n app.Session) error {
	return s.db.batch(ctx, "create a session", n.TenantID, func(b *pgx.Batch) {
		b.Queue("insert into sessions (id, tenant_id, user_id, expires_at) values ($1, $2, $3, $4)",
			n.ID, n.TenantID, n.UserID, n.ExpiresAt)
		b.Queue(insertToken, n.TokenHash, n.TenantID, n.ID)
	})
}

// Rotate implements app.Sessions. The old token's row is locked, so of two
// callers with the same token one rotates it and the other finds it used.
func (s Sessions) Rotate(ctx context.Context, old, replacement []byte, expires time.Time) (app.Session, app.User, error) {
	const what = "rotate a refresh token"
	refused := app.Errorf(app.CodeUnauthenticated, "the session is over; log in again")

	tenant, found, err := s.db.tenantOf(ctx, what, "select tenant_of_refresh_token($1)", old)
	if err != nil {
		return app.Session{}, app.User{}, err
	}
	if !found {
		return app.Session{}, app.User{}, refused
	}

	n := app.Session{TenantID: tenant, TokenHash: replacement, ExpiresAt: expires}
	var u app.User
	valid := false
	err = s.db.tx(ctx, what, tenant, func(tx pgx.Tx) error {
		var used, live bool
		err := tx.QueryRow(ctx, `select t.used_at is not null, s.revoked_at is null and s.expires_at > now(),
				s.id, u.id, u.tenant_id, u.email, u.password_hash, u.role, u.created_at
			from refresh_tokens t
			join sessions s on s.tenant_id = t.tenant_id and s.id = t.session_id
			join users u on u.tenant_id = s.tenant_id and u.id = s.user_id
			where t.tenant_id = $1 and t.hash = $2
			for update of t, s`, tenant, old).
			Scan(&used, &live, &n.ID, &u.ID, &u.TenantID, &u.Email, &u.PasswordHash, &u.Role, &u.CreatedAt)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		n.UserID = u.ID
		if used {
			// Somebody else holds this token too: nobody may go on with the session.
			_, err := tx.Exec(ctx, "update sessions set revoked_at = now() where tenant_id = $1 and id = $2 and revoked_at is null", tenant, n.ID)
			return err
		}
		if !live {
			return nil
		}
		var b pgx.Batch
		b.Queue("update refresh_tokens set used_at = now() where tenant_id = $1 and hash = $2", tenant, old)
		b.Queue(insertToken, replacement, tenant, n.ID)
		b.Queue("update sessions set expires_at = $3 where tenant_id = $1 and id = $2", tenant, n.ID, expires)
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		valid = true
		return nil
	})
	if err != nil {
		return app.Session{}, app.User{}, err
	}
	if !valid {
		return app.Session{}, app.User{}, refused
	}
	return n, u, nil
}

// Revoke implements app.Sessions. Revoking twice, or what never was, is no error.
func (s Sessions) Revoke(ctx context.Context, tenant, id uuid.UUID) error {
	return s.db.batch(ctx, "revoke a session", tenant, func(b *pgx.Batch) {
		b.Queue("update sessions set revoked_at = now() where tenant_id = $1 and id = $2 and revoked_at is null", tenant, id)
	})
}

// RevokeUser implements app.Sessions.
func (s Sessions) RevokeUser(ctx context.Context, tenant, user uuid.UUID) error {
	return s.db.batch(ctx, "revoke a user's sessions", tenant, func(b *pgx.Batch) {
		b.Queue("update sessions set revoked_at = now() where tenant_id = $1 and user_id = $2 and revoked_at is null", tenant, user)
	})
}

// Active implements app.Sessions.
func (s Sessions) Active(ctx context.Context, tenant, id uuid.UUID) (bool, error) {
	var active bool
	err := s.db.batch(ctx, "read a session", tenant, func(b *pgx.Batch) {
		b.Queue(`select exists (select from sessions
			where tenant_id = $1 and id = $2 and revoked_at is null and expires_at > now())`, tenant, id).
			QueryRow(func(row pgx.Row) error { return row.Scan(&active) })
	})
	return active, err
}
