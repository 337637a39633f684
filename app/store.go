package app

import (
	"context"
	"io"
	"time"

	"github.com/google/uuid"
)

// Every method that reads or writes one tenant's data takes the tenant and
// answers CodeNotFound for another tenant's id, as for one that never was.

// Users stores tenants and their users.
type Users interface {
	// Register stores a tenant and its first user together; CodeConflict when the email is taken.
	Register(ctx context.Context, t Tenant, u User) error
	ByEmail(ctx context.Context, email string) (User, error)
	ByID(ctx context.Context, tenant, id uuid.UUID) (User, Tenant, error)
}

// Session is one login of a user: a chain of refresh tokens of which only the
// newest is valid.
type Session struct {
	ID        uuid.UUID
	TenantID  uuid.UUID
	UserID    uuid.UUID
	TokenHash []byte // SHA-256 of the valid refresh token
	ExpiresAt time.Time
}

// Sessions stores logins.
type Sessions interface {
	Create(ctx context.Context, s Session) error
	// Rotate replaces the refresh token whose hash is old and returns the session with its user;
	// an unknown, expired or revoked one is CodeUnauthenticated, and one used before revokes its session.
	Rotate(ctx context.Context, old, replacement []byte, expires time.Time) (Session, User, error)
	Revoke(ctx context.Context, tenant, id uuid.UUID) error
	RevokeUser(ctx context.Context, tenant, user uuid.UUID) error
	// Active tells whether a session is neither revoked nor expired.
	Active(ctx context.Context, tenant, id uuid.UUID) (bool, error)
}

// Projects stores projects.
type Projects interface {
	Create(ctx context.Context, p Project) error
	Get(ctx context.Context, tenant, id uuid.UUID) (Project, error)
	// List returns a tenant's projects, newest first (ids are time-ordered).
	List(ctx context.Context, tenant uuid.UUID, page Page) ([]Project, error)
	// Update stores name and description if the stored version is p.Version, else CodeConflict; it returns the new state.
	Update(ctx context.Context, p Project) (Project, error)
	Delete(ctx context.Context, tenant, id uuid.UUID) error
}

// Jobs stores image jobs.
type Jobs interface {
	// Create stores a queued job and, in the same transaction, its message for the job queue.
	Create(ctx context.Context, j Job) error
	Get(ctx context.Context, tenant, id uuid.UUID) (Job, error)
	// ByImage returns the job that made an image.
	ByImage(ctx context.Context, tenant, image uuid.UUID) (Job, error)
	// Start marks the job running and returns it. A final job is returned as it is: its work is done already.
	Start(ctx context.Context, tenant, id uuid.UUID) (Job, error)
	// Finish marks the job done with its renditions unless it is final already.
	Finish(ctx context.Context, tenant, id uuid.UUID, renditions []Rendition) error
	// Fail marks the job failed for a reason shown to the user unless it is final already.
	Fail(ctx context.Context, tenant, id uuid.UUID, reason string) error
}

// Videos stores videos and what the services report of them.
type Videos interface {
	// Create stores a video and, in the same transaction, its VideoUploaded event.
	Create(ctx context.Context, v Video) error
	Get(ctx context.Context, tenant, id uuid.UUID) (Video, error)
	// List returns a project's videos, newest first.
	List(ctx context.Context, tenant, project uuid.UUID, page Page) ([]Video, error)
	Delete(ctx context.Context, tenant, id uuid.UUID) (Video, error)
	// Probed records the probe's finding, or the reason why there is none, once.
	Probed(ctx context.Context, tenant, id uuid.UUID, p *Probe, reason string) error
	// Metered adds the bytes of a video to its tenant's usage of the day, exactly once per event.
	Metered(ctx context.Context, event uuid.UUID, day time.Time, u VideoUploaded) error
}

// Usage is a tenant's consumption on one UTC day.
type Usage struct {
	Day   time.Time
	Bytes int64
}

// Object is a stored object being read. Close releases its connection.
type Object struct {
	io.ReadCloser
	Bytes         int64 // of this body
	ContentType   string
	ETag          string // quoted, as HTTP has it
	ContentRange  string // set for a partial body
	LastModified  time.Time
	AcceptsRanges bool
}

// Objects stores bytes by key.
type Objects interface {
	// Put stores what r yields until EOF without holding it whole; the bytes stored are returned. A failing reader stores nothing.
	Put(ctx context.Context, key, contentType string, r io.Reader) (int64, error)
	// Get opens an object. rng is an HTTP Range header's value or empty.
	Get(ctx context.Context, key, rng string) (Object, error)
	Delete(ctx context.Context, key string) error
}
