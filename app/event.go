package app

import (
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Types of events. The last part is the major version of the type's data: a
// change that a consumer could trip over gets a new one, and both are emitted
// until no consumer knows the old one. The JSON Schemas stand in package schema.
const (
	EventVideoUploaded = "com.loadbearing.video.uploaded.v1" // the bytes are stored
	EventVideoProbed   = "com.loadbearing.video.probed.v1"   // what the container says is known
	EventVideoReady    = "com.loadbearing.video.ready.v1"    // every service in VideoServices has reported
	EventVideoFailed   = "com.loadbearing.video.failed.v1"   // the file is no readable video
	EventImageDone     = "com.loadbearing.image.done.v1"     // the renditions are stored
	EventImageFailed   = "com.loadbearing.image.failed.v1"   // there are no renditions; a job that was given up may be done later
)

// EventTypes lists every type this version emits.
func EventTypes() []string {
	return []string{
		EventVideoUploaded, EventVideoProbed, EventVideoReady, EventVideoFailed, EventImageDone, EventImageFailed,
	}
}

// Event is a CloudEvents 1.0 envelope in its JSON format. Consumers ignore
// members they do not know.
type Event[T any] struct {
	SpecVersion     string    `json:"specversion"` // "1.0"
	ID              uuid.UUID `json:"id"`          // the key consumers deduplicate by
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject"` // the aggregate: a video's or an image job's id
	Time            time.Time `json:"time"`
	Sequence        Sequence  `json:"sequence,omitzero"`
	DataContentType string    `json:"datacontenttype"` // application/json
	Data            T         `json:"data"`
}

// Sequence counts the events of one aggregate from 1, without gaps, in the
// order of the changes they tell of. Zero is an event without one: those of
// versions before it was introduced. On the wire it is text of ten digits, for
// the CloudEvents extension "sequence" compares as text.
type Sequence int64

// MarshalText implements encoding.TextMarshaler.
func (s Sequence) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%010d", int64(s)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sequence) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 63) // no sign
	if err != nil {
		return fmt.Errorf("sequence %q: want digits", text)
	}
	*s = Sequence(n)
	return nil
}

// NewEvent returns an event with an id of its own.
func NewEvent[T any](source, kind string, subject uuid.UUID, sequence Sequence, at time.Time, data T) (Event[T], error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Event[T]{}, fmt.Errorf("make an event %s: %w", kind, err)
	}
	return Event[T]{
		SpecVersion: "1.0", ID: id, Source: source, Type: kind, Subject: subject.String(), Time: at.UTC(),
		Sequence: sequence, DataContentType: "application/json", Data: data,
	}, nil
}

// VideoUploaded is the data of EventVideoUploaded.
type VideoUploaded struct {
	TenantID    uuid.UUID `json:"tenant_id"`
	ProjectID   uuid.UUID `json:"project_id"`
	VideoID     uuid.UUID `json:"video_id"`
	CreatedBy   uuid.UUID `json:"created_by,omitzero"` // who uploaded it, zero when that is not known
	Key         string    `json:"key"`                 // in the media bucket
	Bytes       int64     `json:"bytes"`
	ContentType string    `json:"content_type"`
	Filename    string    `json:"filename"`
}

// Validate tells what no VideoUploaded may lack, nil when nothing is missing.
func (v VideoUploaded) Validate() error {
	if v.TenantID == uuid.Nil || v.VideoID == uuid.Nil || v.Key == "" || v.Bytes < 0 {
		return fmt.Errorf("event data %+v: want tenant_id, video_id, key, and bytes from 0", v)
	}
	return nil
}

// VideoProbed is the data of EventVideoProbed.
type VideoProbed struct {
	TenantID   uuid.UUID `json:"tenant_id"`
	ProjectID  uuid.UUID `json:"project_id"`
	VideoID    uuid.UUID `json:"video_id"`
	CreatedBy  uuid.UUID `json:"created_by,omitzero"`
	UploadedAt time.Time `json:"uploaded_at"` // its UTC day is the one the video is metered on
	Probe      Probe     `json:"probe"`
}

// Validate tells what no VideoProbed may lack, nil when nothing is missing.
func (v VideoProbed) Validate() error {
	if v.TenantID == uuid.Nil || v.VideoID == uuid.Nil || v.UploadedAt.IsZero() || !(v.Probe.Seconds >= 0) {
		return fmt.Errorf("event data %+v: want tenant_id, video_id, uploaded_at, and probe.seconds from 0", v)
	}
	return nil
}

// VideoIsReady is the data of EventVideoReady.
type VideoIsReady struct {
	TenantID  uuid.UUID `json:"tenant_id"`
	ProjectID uuid.UUID `json:"project_id"`
	VideoID   uuid.UUID `json:"video_id"`
	CreatedBy uuid.UUID `json:"created_by,omitzero"`
}

// VideoHasFailed is the data of EventVideoFailed.
type VideoHasFailed struct {
	TenantID  uuid.UUID `json:"tenant_id"`
	ProjectID uuid.UUID `json:"project_id"`
	VideoID   uuid.UUID `json:"video_id"`
	CreatedBy uuid.UUID `json:"created_by,omitzero"`
	Reason    string    `json:"reason"` // for the user
}

// ImageDone is the data of EventImageDone.
type ImageDone struct {
	TenantID   uuid.UUID        `json:"tenant_id"`
	ProjectID  uuid.UUID        `json:"project_id"`
	ImageID    uuid.UUID        `json:"image_id"`
	JobID      uuid.UUID        `json:"job_id"`
	CreatedBy  uuid.UUID        `json:"created_by,omitzero"`
	Renditions []ImageRendition `json:"renditions"`
}

// ImageRendition is what an event tells of a Rendition.
type ImageRendition struct {
	Width       int    `json:"width"`  // pixels
	Height      int    `json:"height"` // pixels
	Bytes       int64  `json:"bytes"`
	ContentType string `json:"content_type"`
}

// ImageFailed is the data of EventImageFailed.
type ImageFailed struct {
	TenantID  uuid.UUID `json:"tenant_id"`
	ProjectID uuid.UUID `json:"project_id"`
	ImageID   uuid.UUID `json:"image_id"`
	JobID     uuid.UUID `json:"job_id"`
	CreatedBy uuid.UUID `json:"created_by,omitzero"`
	Reason    string    `json:"reason"` // for the user
}

// ImageJob is the message in the job queue. The work itself is read from the
// database, so a message carries no state that can be stale.
type ImageJob struct {
	JobID    uuid.UUID `json:"job_id"`
	TenantID uuid.UUID `json:"tenant_id"`
}
