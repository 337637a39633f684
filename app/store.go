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
	// Start marks the job running and returns it. A final job is returned as it is: its work is done already. One
	// that was given up is not final: it runs again, and the reason why it failed is forgotten.
	Start(ctx context.Context, tenant, id uuid.UUID) (Job, error)
	// Finish marks the job done with its renditions and, in the same transaction, writes its ImageDone event,
	// unless it is final already. A job that was given up meanwhile is done all the same.
	Finish(ctx context.Context, tenant, id uuid.UUID, renditions []Rendition) error
	// Fail marks the job failed for good, for a reason shown to the user and, in the same transaction, writes its
	// ImageFailed event, unless it is final already.
	Fail(ctx context.Context, tenant, id uuid.UUID, reason string) error
	// GiveUp marks the job failed for a reason shown to the user and, in the same transaction, writes its ImageFailed
	// event, unless it is done or failed already. Its message waits in the dead-letter queue; redriven, it starts the
	// job again, and the event of how that ends follows. Two deliveries may overlap: whatever one of them reports as
	// given up, what another finishes stands.
	GiveUp(ctx context.Context, tenant, id uuid.UUID, reason string) error
}

// Videos stores videos and what the services report of them.
type Videos interface {
	// Create stores a video and, in the same transaction, its VideoUploaded event.
	Create(ctx context.Context, v Video) error
	Get(ctx context.Context, tenant, id uuid.UUID) (Video, error)
	// List returns a project's videos, newest first.
	List(ctx context.Context, tenant, project uuid.UUID, page Page) ([]Video, error)
	Delete(ctx context.Context, tenant, id uuid.UUID) (Video, error)
	// Search returns a project's videos that have every word of text in their name or in what the probe found,
	// newest first. A word matches what begins with it. A text without a word finds nothing.
	Search(ctx context.Context, tenant, project uuid.UUID, text string, page Page) ([]Video, error)
	// Probed records the probe's finding, or the reason why there is none, once, with its VideoProbed or VideoFailed event.
	Probed(ctx context.Context, tenant, id uuid.UUID, p *Probe, reason string) error
	// Indexed makes search find the video by all that is known of it now.
	Indexed(ctx context.Context, tenant, id uuid.UUID) error
	// Metered adds the bytes of a video to its tenant's usage of the day, exactly once per event.
	Metered(ctx context.Context, event uuid.UUID, day time.Time, u VideoUploaded) error
	// MeteredDuration adds the duration of a video to its tenant's usage of the day it was uploaded on, exactly once per event.
	MeteredDuration(ctx context.Context, event uuid.UUID, p VideoProbed) error
}

// Webhook is where a tenant wants its events. docs/webhooks.md is for who
// receives them.
type Webhook struct {
	TenantID  uuid.UUID
	URL       string // https
	Secret    string // signs; "whsec_" and the key in base64, as Standard Webhooks has it
	CreatedAt time.Time
}

// Webhooks stores at most one webhook for each tenant.
type Webhooks interface {
	// Set stores or replaces the tenant's webhook.
	Set(ctx context.Context, w Webhook) error
	Get(ctx context.Context, tenant uuid.UUID) (Webhook, error)
	Delete(ctx context.Context, tenant uuid.UUID) error
	// Due returns the tenant's webhook if it has one that has not accepted the event yet.
	Due(ctx context.Context, tenant, event uuid.UUID) (w Webhook, due bool, err error)
	// Accepted records that the webhook has the event.
	Accepted(ctx context.Context, tenant, event uuid.UUID) error
}

// Notices brings the events of each aggregate into their order.
type Notices interface {
	// Deliver hands over an event once those before it were: it calls deliver with its body and then with the
	// bodies of those that came too early, or keeps it when it is early itself. An event that was delivered is not
	// delivered again, except after a crash between deliver and the end of its transaction. Events of one aggregate
	// wait for each other; deliver must take no longer than a second.
	Deliver(ctx context.Context, n Notice, deliver func(ctx context.Context, body []byte) error) error
}

// Notice is an event on its way to those who want to know.
type Notice struct {
	TenantID  uuid.UUID
	Aggregate uuid.UUID
	Sequence  Sequence // from 1
	Body      []byte   // JSON
}

// Usage is a tenant's consumption on one UTC day.
type Usage struct {
	Day      time.Time
	Bytes    int64         // uploaded
	Duration time.Duration // of the videos uploaded, to the millisecond
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
