package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
)

// Widths of renditions, in pixels.
const (
	MinWidth  = 16
	MaxWidth  = 4096
	MaxWidths = 8
)

// defaultWidths are a thumbnail's and a screen's.
func defaultWidths() []int { return []int{320, 1280} }

type renditionJSON struct {
	Width       int    `json:"width"`
	Height      int    `json:"height"`
	Bytes       int64  `json:"bytes"`
	ContentType string `json:"content_type"`
	URL         string `json:"url"`
}

type jobJSON struct {
	ID         uuid.UUID       `json:"id"`
	ProjectID  uuid.UUID       `json:"project_id"`
	ImageID    uuid.UUID       `json:"image_id"`
	Status     app.JobStatus   `json:"status"`
	Reason     string          `json:"reason,omitempty"`
	Widths     []int           `json:"widths"`
	Renditions []renditionJSON `json:"renditions"`
	CreatedAt  time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`
}

func showJob(j app.Job) jobJSON {
	out := jobJSON{
		ID: j.ID, ProjectID: j.ProjectID, ImageID: j.ImageID, Status: j.Status, Reason: j.Reason, Widths: j.Widths,
		Renditions: []renditionJSON{}, CreatedAt: j.CreatedAt.UTC(), UpdatedAt: j.UpdatedAt.UTC(),
	}
	for _, r := range j.Renditions {
		out.Renditions = append(out.Renditions, renditionJSON{
			Width: r.Width, Height: r.Height, Bytes: r.Bytes, ContentType: r.ContentType,
			URL: fmt.Sprintf("/v1/images/%s/content?width=%d", j.ImageID, r.Width),
		})
	}
	return out
}

func (a *api) uploadImage(w http.ResponseWriter, req *http.Request) error {
	ctx, cancel := context.WithTimeout(req.Context(), uploadTimeout)
	defer cancel()
	widths, err := askedWidths(req)
	if err != nil {
		return err
	}
	p, err := a.project(req)
	if err != nil {
		return err
	}
	now, id, err := a.stamp()
	if err != nil {
		return err
	}
	_, image, err := a.stamp()
	if err != nil {
		return err
	}
	key := app.OriginalKey(p.TenantID, image)
	u, err := a.upload(ctx, w, req, key, a.MaxImageBytes, "image/png", "image/jpeg", "image/gif", "image/webp")
	if err != nil {
		return err
	}
	defer u.close(ctx)
	if found := http.DetectContentType(u.Head); found != u.ContentType {
		return app.Errorf(app.CodeUnsupportedType, "the body is said to be %s but begins like %s", u.ContentType, found)
	}
	if _, err := u.store(ctx); err != nil {
		return err
	}
	j := app.Job{
		ID: id, TenantID: p.TenantID, ProjectID: p.ID, ImageID: image, Status: app.JobQueued, SourceKey: key,
		ContentType: u.ContentType, Widths: widths, CreatedBy: caller(req).UserID, CreatedAt: now, UpdatedAt: now,
	}
	if err := a.Jobs.Create(ctx, j); err != nil {
		return missing(err, "project")
	}
	u.keep()
	w.Header().Set("Location", "/v1/jobs/"+id.String())
	return writeJSON(w, http.StatusAccepted, showJob(j))
}

// askedWidths returns the query's widths in order, each once.
func askedWidths(req *http.Request) ([]int, error) {
	q, err := query(req, "widths")
	if err != nil {
		return nil, err
	}
	if !q.Has("widths") {
		return defaultWidths(), nil
	}
	wrong := invalid("widths", fmt.Sprintf("must be 1 to %d comma-separated numbers from %d to %d", MaxWidths, MinWidth, MaxWidth))
	texts := strings.SplitN(q.Get("widths"), ",", MaxWidths+1)
	if len(texts) > MaxWidths {
		return nil, wrong
	}
	widths := make([]int, len(texts))
	for i, text := range texts {
		n, err := strconv.Atoi(text)
		if err != nil || n < MinWidth || n > MaxWidth {
			return nil, wrong
		}
		widths[i] = n
	}
	slices.Sort(widths)
	return slices.Compact(widths), nil
}

func (a *api) getJob(w http.ResponseWriter, req *http.Request) error {
	id, err := pathID(req, "job")
	if err != nil {
		return err
	}
	j, err := a.Jobs.Get(req.Context(), caller(req).TenantID, id)
	if err != nil {
		return missing(err, "job")
	}
	return writeJSON(w, http.StatusOK, showJob(j))
}

func (a *api) imageContent(w http.ResponseWriter, req *http.Request) error {
	q, err := query(req, "width")
	if err != nil {
		return err
	}
	width := MaxWidth
	if q.Has("width") {
		if width, err = strconv.Atoi(q.Get("width")); err != nil || width < 1 || width > MaxWidth {
			return invalid("width", fmt.Sprintf("must be a number from 1 to %d", MaxWidth))
		}
	}
	id, err := pathID(req, "image")
	if err != nil {
		return err
	}
	j, err := a.Jobs.ByImage(req.Context(), caller(req).TenantID, id)
	if err != nil {
		return missing(err, "image")
	}
	r, ok := pick(j.Renditions, width)
	if !ok {
		return app.Errorf(app.CodeNotFound, "the image has no renditions: its job is %s", j.Status)
	}
	return a.serveObject(w, req, object{
		key: r.Key, bytes: r.Bytes, contentType: r.ContentType, modified: j.UpdatedAt,
		tag: strings.TrimSuffix(path.Base(r.Key), path.Ext(r.Key)), // the key names the content
	})
}

// pick returns the smallest rendition that is at least as wide as asked, or
// the widest there is: a picture is never made wider than its original.
func pick(all []app.Rendition, width int) (app.Rendition, bool) {
	var best app.Rendition
	for _, r := range all {
		enough, bestEnough := r.Width >= width, best.Width >= width
		switch {
		case best.Width == 0,
			enough && !bestEnough,
			enough && r.Width < best.Width,
			!enough && !bestEnough && r.Width > best.Width:
			best = r
		}
	}
	return best, len(all) > 0
}
