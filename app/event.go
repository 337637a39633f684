package app

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

// EventVideoUploaded says that a video's bytes are stored.
const EventVideoUploaded = "com.loadbearing.video.uploaded.v1"

// Event is a CloudEvents 1.0 envelope in its JSON format. Consumers ignore
// members they do not know.
type Event[T any] struct {
	SpecVersion     string    `json:"specversion"` // "1.0"
	ID              uuid.UUID `json:"id"`          // the key consumers deduplicate by
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject"` // the aggregate: a video's id
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"` // application/json
	Data            T         `json:"data"`
}

// VideoUploaded is the data of EventVideoUploaded.
type VideoUploaded struct {
	TenantID    uuid.UUID `json:"tenant_id"`
	ProjectID   uuid.UUID `json:"project_id"`
	VideoID     uuid.UUID `json:"video_id"`
	Key         string    `json:"key"` // in the media bucket
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

// ImageJob is the message in the job queue. The work itself is read from the
// database, so a message carries no state that can be stale.
type ImageJob struct {
	JobID    uuid.UUID `json:"job_id"`
	TenantID uuid.UUID `json:"tenant_id"`
}
