package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/container"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch"
)

type prober struct {
	videos  app.Videos
	objects app.Objects
	log     *slog.Logger
}

func (p *prober) handlers() batch.Handlers {
	return batch.Handlers{app.EventVideoUploaded: batch.Decode(p.probe)}
}

// probe stores what the video of an event contains, or why that cannot be
// told. The first report of a video stands, so an event delivered twice
// changes nothing.
func (p *prober) probe(ctx context.Context, event app.Event[app.VideoUploaded]) error {
	video := event.Data
	finding, reason, err := p.read(ctx, video)
	if err != nil {
		return err
	}
	err = p.videos.Probed(ctx, video.TenantID, video.VideoID, finding, reason)
	if app.CodeOf(err) == app.CodeNotFound {
		p.log.InfoContext(ctx, "the video was deleted meanwhile", "video", video.VideoID)
		return nil
	}
	if err != nil {
		return fmt.Errorf("report video %s: %w", video.VideoID, err)
	}
	return nil
}

// read returns a finding or the reason why there is none. An error means that
// neither is known yet.
func (p *prober) read(ctx context.Context, video app.VideoUploaded) (*app.Probe, string, error) {
	object := container.NewReader(ctx, p.objects, video.Key, video.Bytes)
	finding, err := container.Probe(object, video.Bytes)
	if err == nil {
		if wrong := mismatch(video.ContentType, finding.Container); wrong != "" {
			return nil, wrong, nil
		}
		return &finding, "", nil
	}
	switch refused, _ := errors.AsType[*app.Error](err); app.CodeOf(err) {
	case app.CodeInvalid:
		return nil, refused.Message, nil
	case app.CodeNotFound:
		return nil, "the uploaded file is no longer stored", nil
	}
	return nil, "", fmt.Errorf("read video %s: %w", video.VideoID, err)
}

// mismatch tells that a video is of another kind than it was uploaded as, under
// which its content is served. MP4 and QuickTime are one kind, as are WebM and
// Matroska: programs name the one as the other.
func mismatch(contentType, found string) string {
	kinds := map[string][]string{
		"video/mp4": {"mp4", "mov"}, "video/quicktime": {"mp4", "mov"}, "video/webm": {"webm", "matroska"},
	}
	if kind, known := kinds[contentType]; known && !slices.Contains(kind, found) {
		return fmt.Sprintf("the video was uploaded as %s and is a %s file", contentType, found)
	}
	return ""
}
