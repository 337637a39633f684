package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch"
)

// handlers index a video when it is uploaded and again when it is probed. What
// is indexed is what is stored of the video at that moment, so events that come
// twice or in another order lead to the same.
func handlers(videos app.Videos, log *slog.Logger) batch.Handlers {
	index := func(ctx context.Context, tenant, video uuid.UUID) error {
		err := videos.Indexed(ctx, tenant, video)
		if app.CodeOf(err) == app.CodeNotFound {
			log.InfoContext(ctx, "the video was deleted meanwhile", "video", video)
			return nil
		}
		if err != nil {
			return fmt.Errorf("index video %s: %w", video, err)
		}
		return nil
	}
	return batch.Handlers{
		app.EventVideoUploaded: batch.Decode(func(ctx context.Context, e app.Event[app.VideoUploaded]) error {
			return index(ctx, e.Data.TenantID, e.Data.VideoID)
		}),
		app.EventVideoProbed: batch.Decode(func(ctx context.Context, e app.Event[app.VideoProbed]) error {
			return index(ctx, e.Data.TenantID, e.Data.VideoID)
		}),
	}
}
