package app

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// CodeQuotaExceeded says that a tenant stores as much as it may; the cause of
// the Error is a *QuotaError.
const CodeQuotaExceeded Code = "quota_exceeded"

// DefaultQuota is what a tenant may store, in bytes, unless its own row says
// otherwise.
const DefaultQuota int64 = 100 << 30

// QuotaError tells how full a tenant's storage is.
type QuotaError struct {
	Used    int64 // bytes stored or reserved
	Allowed int64 // bytes
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("%d of %d bytes are used", e.Used, e.Allowed)
}

// NewQuotaError returns an Error with CodeQuotaExceeded.
func NewQuotaError(used, allowed int64) *Error {
	cause := &QuotaError{Used: used, Allowed: allowed}
	return &Error{Code: CodeQuotaExceeded, Message: "the tenant's storage is full: " + cause.Error(), Err: cause}
}

// Storage accounts for the bytes that tenants store. What is uploaded counts:
// originals and videos; renditions, which the service makes of them, do not.
type Storage interface {
	// Reserve sets aside between least and most bytes for the object under key, or changes what is set aside for it,
	// and returns how many. Less than least left in the quota is CodeQuotaExceeded. A reservation ends at expires
	// unless a video or a job that names the object was stored: then it lasts as long as that.
	Reserve(ctx context.Context, tenant uuid.UUID, key string, least, most int64, expires time.Time) (int64, error)
	// Release ends a reservation that no video or job names and leaves the object, if there is one, to Removals. It tells
	// whether it did: an object that is named stays.
	Release(ctx context.Context, tenant uuid.UUID, key string) (bool, error)
	// Usage returns what a tenant stores and may store.
	Usage(ctx context.Context, tenant uuid.UUID) (QuotaError, error)
}

// Removal is an object that no row names any more.
type Removal struct {
	Key       string
	Multipart string // the multipart upload to abort, if it was one
}

// Removals remembers the objects that are to be removed from the object store,
// however their rows were deleted.
type Removals interface {
	// Expire ends reservations and uploads whose time is over.
	Expire(ctx context.Context, now time.Time) error
	// Claim returns up to limit removals that are not claimed. A claim lasts for lease and is then given to another.
	Claim(ctx context.Context, limit int, lease time.Duration) ([]Removal, error)
	// Removed says that objects are gone.
	Removed(ctx context.Context, keys []string) error
}

// Upload is a video on its way from a client to the object store in parts that
// the client sends there itself. Its ID becomes the video's.
type Upload struct {
	ID          uuid.UUID
	TenantID    uuid.UUID
	ProjectID   uuid.UUID
	Key         string // object key
	Multipart   string // the object store's own id of it
	Filename    string
	ContentType string
	Bytes       int64
	PartBytes   int64 // of every part but the last
	CreatedAt   time.Time
	ExpiresAt   time.Time
}

// Parts returns the number of parts.
func (u Upload) Parts() int { return int((u.Bytes + u.PartBytes - 1) / u.PartBytes) }

// PartSize returns the bytes of a part; the first part's number is 1.
func (u Upload) PartSize(number int) int64 {
	return min(u.PartBytes, u.Bytes-int64(number-1)*u.PartBytes)
}

// Uploads stores uploads that are under way. Storing a video with an upload's
// id ends it.
type Uploads interface {
	Create(ctx context.Context, u Upload) error
	Get(ctx context.Context, tenant, id uuid.UUID) (Upload, error)
	// Delete gives an upload up: its reservation ends and its parts are left to Removals.
	Delete(ctx context.Context, tenant, id uuid.UUID) (Upload, error)
}

// Part is a part of an upload.
type Part struct {
	Number int // from 1
	Bytes  int64
	SHA256 string // base64
	ETag   string // empty until it is stored
}

// PartRequest is a request that a client may send to the object store.
type PartRequest struct {
	Method string
	URL    string
	// Header is sent with it as it is.
	Header map[string]string
}

// Multipart stores objects in parts that come from elsewhere.
type Multipart interface {
	// Begin starts an upload and returns its id.
	Begin(ctx context.Context, key, contentType string) (string, error)
	// Presign allows whoever has the answer to store one part until ttl is over: these bytes and no others.
	Presign(ctx context.Context, key, id string, part Part, ttl time.Duration) (PartRequest, error)
	// Parts returns the parts stored with a number above after, at most limit of them, in order.
	Parts(ctx context.Context, key, id string, after, limit int) ([]Part, error)
	// Complete makes one object of the parts, in order. Again, it changes nothing.
	Complete(ctx context.Context, key, id string, parts []Part) error
	// Abort removes an upload with its parts; one that is not there is no error.
	Abort(ctx context.Context, key, id string) error
}
