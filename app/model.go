package app

import (
	"time"

	"github.com/google/uuid"
)

// Role is what a user may do in their tenant or in one project.
type Role string

// Roles, from least to most.
const (
	RoleViewer Role = "viewer"
	RoleEditor Role = "editor"
	RoleOwner  Role = "owner"
)

// Tenant is a customer: the wall no data crosses.
type Tenant struct {
	ID        uuid.UUID
	Name      string
	CreatedAt time.Time
}

// User is a person in one tenant. Email is unique over the service, stored in
// lower case.
type User struct {
	ID           uuid.UUID
	TenantID     uuid.UUID
	Email        string
	PasswordHash string
	Role         Role
	CreatedAt    time.Time
}

// Caller is an authenticated user on whose behalf something happens.
type Caller struct {
	UserID    uuid.UUID
	TenantID  uuid.UUID
	SessionID uuid.UUID
	Role      Role
}

// Project groups a tenant's media. Version counts changes and is its ETag.
type Project struct {
	ID          uuid.UUID
	TenantID    uuid.UUID
	Name        string
	Description string
	Version     int64
	CreatedBy   uuid.UUID
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// JobStatus is the state of asynchronous work.
type JobStatus string

// Job states. Done is final, and so is Failed unless the job was given up: see
// Jobs.
const (
	JobQueued  JobStatus = "queued"
	JobRunning JobStatus = "running"
	JobDone    JobStatus = "done"
	JobFailed  JobStatus = "failed"
)

// Job resizes one uploaded image into renditions. The image and its job share
// the upload; ImageID names what is served, ID the work.
type Job struct {
	ID          uuid.UUID
	TenantID    uuid.UUID
	ProjectID   uuid.UUID
	ImageID     uuid.UUID
	Status      JobStatus
	Reason      string // why it failed, for the user
	SourceKey   string // object key of the original
	ContentType string // of the original, as sniffed
	Widths      []int  // asked for, pixels
	Renditions  []Rendition
	CreatedBy   uuid.UUID // who uploaded the image; zero when that is not known
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Rendition is one stored size of an image. Its key is derived from its
// content, so storing it twice changes nothing.
type Rendition struct {
	Width       int    `json:"width"`  // pixels
	Height      int    `json:"height"` // pixels
	Bytes       int64  `json:"bytes"`
	ContentType string `json:"content_type"`
	Key         string `json:"key"`
}

// VideoStatus is the state of a video.
type VideoStatus string

// Video states. A video is ready when every service in VideoServices has
// reported, failed when one of them could not.
const (
	VideoProcessing VideoStatus = "processing"
	VideoReady      VideoStatus = "ready"
	VideoFailed     VideoStatus = "failed"
)

// Services that work on an uploaded video in parallel.
const (
	ServiceProbe  = "probe"  // what the container says
	ServiceIndex  = "index"  // full-text search
	ServiceMeter  = "meter"  // bytes and seconds of each tenant and day
	ServiceNotify = "notify" // tells the browser and the tenant's webhook
)

// VideoServices are the services a video waits for. Nothing waits for
// ServiceNotify, which tells of what the others did.
func VideoServices() []string { return []string{ServiceProbe, ServiceIndex, ServiceMeter} }

// Video is one uploaded file and what the services found in it.
type Video struct {
	ID          uuid.UUID
	TenantID    uuid.UUID
	ProjectID   uuid.UUID
	Filename    string
	ContentType string
	Bytes       int64
	Key         string // object key
	Status      VideoStatus
	Reason      string    // why it failed, for the user
	Probe       *Probe    // nil until probed
	Indexed     bool      // search finds it
	Metered     bool      // its bytes are in the tenant's usage
	CreatedBy   uuid.UUID // who uploaded it; zero when that is not known
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Probe is what the container of a video says about it.
type Probe struct {
	Container string  `json:"container"` // "mp4", "mov", "webm" or "matroska"
	Seconds   float64 `json:"seconds"`
	Tracks    []Track `json:"tracks"`
	Width     int     `json:"width"`    // pixels of the first video track
	Height    int     `json:"height"`   // pixels of the first video track
	Bitrate   int64   `json:"bit_rate"` // bits per second over the whole file
}

// Track is one stream in a container.
type Track struct {
	Kind  string `json:"kind"`  // "video", "audio" or "other"
	Codec string `json:"codec"` // RFC 6381, such as avc1.64001f
}

// Page asks for a slice of a list in keyset order: the items after After, at
// most Limit of them.
type Page struct {
	After uuid.UUID // zero for the first page
	Limit int
}
