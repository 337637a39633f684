package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/stream"
	"github.com/loadbearing/loadbearing/app/webhook"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch"
)

// streams is a user's stream of events, from which every browser of theirs
// reads. Appending the same id again does nothing.
type streams interface {
	Append(ctx context.Context, user uuid.UUID, e stream.Entry) error
}

// sender sends one event to a webhook.
type sender interface {
	Send(ctx context.Context, w app.Webhook, id string, body []byte) error
}

type notifier struct {
	notices  app.Notices
	webhooks app.Webhooks
	streams  streams
	sender   sender
	log      *slog.Logger
}

// handlers tell of each event the user who uploaded what it is about, in the
// order of the changes, and the tenant's webhook, in any order.
func (n *notifier) handlers() batch.Handlers {
	return batch.Handlers{
		app.EventVideoUploaded: told(n, func(d app.VideoUploaded) (audience, any) {
			return audience{d.TenantID, d.CreatedBy}, video{VideoID: d.VideoID, ProjectID: d.ProjectID, Status: app.VideoProcessing, Filename: d.Filename}
		}),
		app.EventVideoProbed: told(n, func(d app.VideoProbed) (audience, any) {
			return audience{d.TenantID, d.CreatedBy}, video{VideoID: d.VideoID, ProjectID: d.ProjectID, Status: app.VideoProcessing, Probe: &d.Probe}
		}),
		app.EventVideoReady: told(n, func(d app.VideoIsReady) (audience, any) {
			return audience{d.TenantID, d.CreatedBy}, video{VideoID: d.VideoID, ProjectID: d.ProjectID, Status: app.VideoReady}
		}),
		app.EventVideoFailed: told(n, func(d app.VideoHasFailed) (audience, any) {
			return audience{d.TenantID, d.CreatedBy}, video{VideoID: d.VideoID, ProjectID: d.ProjectID, Status: app.VideoFailed, Reason: d.Reason}
		}),
		app.EventImageDone: told(n, func(d app.ImageDone) (audience, any) {
			return audience{d.TenantID, d.CreatedBy}, image{JobID: d.JobID, ImageID: d.ImageID, ProjectID: d.ProjectID, Status: app.JobDone, Renditions: d.Renditions}
		}),
		app.EventImageFailed: told(n, func(d app.ImageFailed) (audience, any) {
			return audience{d.TenantID, d.CreatedBy}, image{JobID: d.JobID, ImageID: d.ImageID, ProjectID: d.ProjectID, Status: app.JobFailed, Reason: d.Reason}
		}),
	}
}

// audience is whom an event is told.
type audience struct {
	tenant uuid.UUID
	user   uuid.UUID // zero when nobody knows who uploaded it
}

// video is what the outside is told of a video. It is listed here member by
// member: what an event gains stays inside until somebody decides otherwise.
type video struct {
	VideoID   uuid.UUID       `json:"video_id"`
	ProjectID uuid.UUID       `json:"project_id"`
	Status    app.VideoStatus `json:"status"`
	Filename  string          `json:"filename,omitempty"`
	Probe     *app.Probe      `json:"probe,omitempty"`
	Reason    string          `json:"reason,omitempty"`
}

// image is what the outside is told of an image.
type image struct {
	JobID      uuid.UUID            `json:"job_id"`
	ImageID    uuid.UUID            `json:"image_id"`
	ProjectID  uuid.UUID            `json:"project_id"`
	Status     app.JobStatus        `json:"status"`
	Renditions []app.ImageRendition `json:"renditions,omitempty"`
	Reason     string               `json:"reason,omitempty"`
}

func told[T any](n *notifier, tell func(T) (audience, any)) func(context.Context, app.Event[json.RawMessage]) error {
	return batch.Decode(func(ctx context.Context, e app.Event[T]) error {
		who, what := tell(e.Data)
		if who.tenant == uuid.Nil {
			return errors.New("its data names no tenant")
		}
		data, err := json.Marshal(what)
		if err != nil {
			return fmt.Errorf("encode what is told: %w", err)
		}
		return n.tell(ctx, who, app.Event[json.RawMessage]{
			SpecVersion: e.SpecVersion, ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject,
			Time: e.Time, Sequence: e.Sequence, DataContentType: e.DataContentType, Data: data,
		})
	})
}

// tell puts an event into its user's stream and sends it to the tenant's
// webhook. The stream comes first and once: a webhook that does not answer
// brings the message back, and what the stream has is skipped then.
func (n *notifier) tell(ctx context.Context, who audience, e app.Event[json.RawMessage]) error {
	if who.user != uuid.Nil {
		if err := retry(ctx, func() error { return n.stream(ctx, who, e) }); err != nil {
			return fmt.Errorf("tell user %s: %w", who.user, err)
		}
	}
	if err := n.send(ctx, who.tenant, e); err != nil {
		return fmt.Errorf("tell the webhook of tenant %s: %w", who.tenant, err)
	}
	return nil
}

// notice is an event kept for its turn.
type notice struct {
	User  uuid.UUID                  `json:"user"`
	Event app.Event[json.RawMessage] `json:"event"`
}

func (n *notifier) stream(ctx context.Context, who audience, e app.Event[json.RawMessage]) error {
	appendTo := func(ctx context.Context, told notice) error {
		return n.streams.Append(ctx, told.User, stream.Entry{
			ID: told.Event.ID, Type: told.Event.Type, Subject: told.Event.Subject, Time: told.Event.Time, Data: told.Event.Data,
		})
	}
	if e.Sequence == 0 { // of a version that did not count
		return appendTo(ctx, notice{who.user, e})
	}
	aggregate, err := uuid.Parse(e.Subject)
	if err != nil {
		return fmt.Errorf("its subject %q: %w", e.Subject, err)
	}
	body, err := json.Marshal(notice{who.user, e})
	if err != nil {
		return fmt.Errorf("encode the notice: %w", err)
	}
	return n.notices.Deliver(ctx, app.Notice{TenantID: who.tenant, Aggregate: aggregate, Sequence: e.Sequence, Body: body},
		func(ctx context.Context, body []byte) error {
			var kept notice
			if err := json.Unmarshal(body, &kept); err != nil {
				return fmt.Errorf("decode the notice: %w", err)
			}
			return appendTo(ctx, kept)
		})
}

func (n *notifier) send(ctx context.Context, tenant uuid.UUID, e app.Event[json.RawMessage]) error {
	w, due, err := n.webhooks.Due(ctx, tenant, e.ID)
	if err != nil || !due {
		return err
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode the event: %w", err)
	}
	switch err := n.sender.Send(ctx, w, e.ID.String(), body); {
	case errors.Is(err, webhook.ErrGone):
		n.log.WarnContext(ctx, "webhook gone", "tenant", tenant, "event", e.ID)
	case err != nil:
		return err
	}
	return n.webhooks.Accepted(ctx, tenant, e.ID)
}

// retry tries three times within about a second: the queue brings a message
// back after its visibility timeout only, minutes in which a user sees nothing.
func retry(ctx context.Context, try func() error) error {
	for delay := 100 * time.Millisecond; ; delay *= 4 {
		err := try()
		if err == nil || delay > time.Second || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(delay/2 + rand.N(delay/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}
