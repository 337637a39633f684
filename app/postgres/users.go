package postgres

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/loadbearing/loadbearing/app"
)

// Users implements app.Users.
type Users struct{ db *DB }

var _ app.Users = Users{}

// Users returns the store of tenants and users.
func (db *DB) Users() Users { return Users{db} }

// Register implements app.Users.
func (s Users) Register(ctx context.Context, t app.Tenant, u app.User) error {
	err := s.db.batch(ctx, "register a tenant", t.ID, func(b *pgx.Batch) {
		b.Queue("insert into tenants (id, name, created_at) values ($1, $2, $3)", t.ID, t.Name, t.CreatedAt)
		b.Queue(`insert into users (id, tenant_id, email, password_hash, role, created_at)
			values ($1, $2, $3, $4, $5, $6)`,
			u.ID, t.ID, strings.ToLower(u.Email), u.PasswordHash, u.Role, u.CreatedAt)
	})
	if app.CodeOf(err) == app.CodeConflict {
		return &app.Error{Code: app.CodeConflict, Message: "the email is taken", Err: err}
	}
	return err
}

// ByEmail implements app.Users.
func (s Users) ByEmail(ctx context.Context, email string) (app.User, error) {
	email = strings.ToLower(email)
	tenant, found, err := s.db.tenantOf(ctx, "find a user by email", "select tenant_of_email($1)", email)
	if err != nil {
		return app.User{}, err
	}
	if !found {
		return app.User{}, app.Errorf(app.CodeNotFound, "the user does not exist")
	}
	var u app.User
	err = s.db.batch(ctx, "read a user by email", tenant, func(b *pgx.Batch) {
		b.Queue(`select id, tenant_id, email, password_hash, role, created_at
			from users where tenant_id = $1 and email = $2`, tenant, email).
			QueryRow(func(row pgx.Row) error {
				return row.Scan(&u.ID, &u.TenantID, &u.Email, &u.PasswordHash, &u.Role, &u.CreatedAt)
			})
	})
	return u, err
}

// ByID implements app.Users.
func (s Users) ByID(ctx context.Context, tenant, id uuid.UUID) (app.User, app.Tenant, error) {
	var u app.User
	var t app.Tenant
	err := s.db.batch(ctx, "read a user", tenant, func(b *pgx.Batch) {
		b.Queue(`select u.id, u.tenant_id, u.email, u.password_hash, u.role, u.created_at, t.id, t.name, t.created_at
			from users u join tenants t on t.id = u.tenant_id
			where u.tenant_id = $1 and u.id = $2`, tenant, id).
			QueryRow(func(row pgx.Row) error {
				return row.Scan(&u.ID, &u.TenantID, &u.Email, &u.PasswordHash, &u.Role, &u.CreatedAt, &t.ID, &t.Name, &t.CreatedAt)
			})
	})
	return u, t, err
}
