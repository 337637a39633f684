package app

import "github.com/google/uuid"

// Destination is where a message of the outbox goes.
type Destination string

// Destinations.
const (
	DestinationJobs   Destination = "jobs"   // the job queue
	DestinationEvents Destination = "events" // the event topic
)

// Message is one row of the transactional outbox: what a change promised to
// tell others, stored with the change and published after it.
type Message struct {
	Sequence    int64     // the order in which messages were written
	ID          uuid.UUID // what consumers deduplicate by: the event's or the job's id
	TenantID    uuid.UUID
	Destination Destination
	Aggregate   uuid.UUID // messages of one aggregate are published in order
	EventType   string    // the event_type attribute; empty for jobs
	Body        []byte    // JSON
	Traceparent string    // of what wrote it (W3C Trace Context), which its receiver continues; empty when that is not known
	Attempts    int       // failed attempts to publish so far
}
