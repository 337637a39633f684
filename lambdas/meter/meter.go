package main

import (
	"context"
	"fmt"

	"github.com/loadbearing/loadbearing/app"
)

// meter returns a handler that adds a video's bytes to its tenant's usage of
// the UTC day on which it was uploaded, once per event however often the event
// is delivered.
func meter(videos app.Videos) func(context.Context, app.Event[app.VideoUploaded]) error {
	return func(ctx context.Context, event app.Event[app.VideoUploaded]) error {
		if err := event.Data.Validate(); err != nil {
			return err
		}
		if err := videos.Metered(ctx, event.ID, event.Time.UTC(), event.Data); err != nil {
			return fmt.Errorf("meter video %s: %w", event.Data.VideoID, err)
		}
		return nil
	}
}
