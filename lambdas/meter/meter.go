package main

import (
	"context"
	"fmt"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch"
)

// handlers add a video's bytes, when it is uploaded, and its duration, when
// that is known, to its tenant's usage of the UTC day on which it was uploaded:
// each once per event, however often and in whatever order they are delivered.
func handlers(videos app.Videos) batch.Handlers {
	return batch.Handlers{
		app.EventVideoUploaded: batch.Decode(func(ctx context.Context, event app.Event[app.VideoUploaded]) error {
			if err := videos.Metered(ctx, event.ID, event.Time, event.Data); err != nil {
				return fmt.Errorf("meter the bytes of video %s: %w", event.Data.VideoID, err)
			}
			return nil
		}),
		app.EventVideoProbed: batch.Decode(func(ctx context.Context, event app.Event[app.VideoProbed]) error {
			if err := videos.MeteredDuration(ctx, event.ID, event.Data); err != nil {
				return fmt.Errorf("meter the duration of video %s: %w", event.Data.VideoID, err)
			}
			return nil
		}),
	}
}
