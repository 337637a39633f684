package httpapi

import (
	"context"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
)

const maxFilename = 255

type videoJSON struct {
	ID          uuid.UUID       `json:"id"`
	ProjectID   uuid.UUID       `json:"project_id"`
	Filename    string          `json:"filename"`
	ContentType string          `json:"content_type"`
	Bytes       int64           `json:"bytes"`
	Status      app.VideoStatus `json:"status"`
	Reason      string          `json:"reason,omitempty"`
	Probe       *app.Probe      `json:"probe"`
	Indexed     bool            `json:"indexed"`
	Metered     bool            `json:"metered"`
	ContentURL  string          `json:"content_url"`
	CreatedAt   time.Time       `json:"created_at"`
	UpdatedAt   time.Time       `json:"updated_at"`
}

func showVideo(v app.Video) videoJSON {
	return videoJSON{
		ID: v.ID, ProjectID: v.ProjectID, Filename: v.Filename, ContentType: v.ContentType, Bytes: v.Bytes,
		Status: v.Status, Reason: v.Reason, Probe: v.Probe, Indexed: v.Indexed, Metered: v.Metered,
		ContentURL: "/v1/videos/" + v.ID.String() + "/content", CreatedAt: v.CreatedAt.UTC(), UpdatedAt: v.UpdatedAt.UTC(),
	}
}

func (a *api) uploadVideo(w http.ResponseWriter, req *http.Request) error {
	ctx, cancel := context.WithTimeout(req.Context(), uploadTimeout)
	defer cancel()
	if _, err := query(req); err != nil {
		return err
	}
	filename, err := askedFilename(req)
	if err != nil {
		return err
	}
	p, err := a.project(req)
	if err != nil {
		return err
	}
	// What the file really is, the probe finds out: containers differ too much
	// for the first bytes to tell.
	now, id, err := a.stamp()
	if err != nil {
		return err
	}
	key := app.VideoKey(p.TenantID, id)
	u, err := a.upload(ctx, w, req, key, a.MaxVideoBytes, videoTypes()...)
	if err != nil {
		return err
	}
	defer u.close(ctx)
	v := app.Video{
		ID: id, TenantID: p.TenantID, ProjectID: p.ID, Filename: filename, ContentType: u.ContentType,
		Key: key, Status: app.VideoProcessing, CreatedBy: caller(req).UserID, CreatedAt: now, UpdatedAt: now,
	}
	if v.Bytes, err = u.store(ctx); err != nil {
		return err
	}
	if err := a.Videos.Create(ctx, v); err != nil {
		return missing(err, "project")
	}
	u.keep()
	w.Header().Set("Location", "/v1/videos/"+id.String())
	return writeJSON(w, http.StatusAccepted, showVideo(v))
}

// askedFilename returns X-Filename, in which non-ASCII characters come as RFC
// 2047 encoded words or as plain UTF-8, without any folders.
func askedFilename(req *http.Request) (string, error) {
	name := req.Header.Get("X-Filename")
	if decoded, err := new(mime.WordDecoder).DecodeHeader(name); err == nil {
		name = decoded
	}
	name, why := cleanFilename(name)
	if why != "" {
		return "", invalid("X-Filename", why)
	}
	return name, nil
}

// cleanFilename returns a name without any folders, or what is wrong with it.
func cleanFilename(name string) (clean, why string) {
	name = strings.TrimSpace(name)
	if name == "" {
		return "video", ""
	}
	if why := checkText(name, maxFilename, false); why != "" {
		return "", why
	}
	name = strings.TrimSpace(path.Base(strings.ReplaceAll(name, `\`, "/")))
	if name == "" || name == "." || name == ".." || name == "/" {
		return "", "must be the name of a file"
	}
	return name, ""
}

func (a *api) video(req *http.Request) (app.Video, error) {
	id, err := pathID(req, "video")
	if err != nil {
		return app.Video{}, err
	}
	v, err := a.Videos.Get(req.Context(), caller(req).TenantID, id)
	return v, missing(err, "video")
}

func (a *api) getVideo(w http.ResponseWriter, req *http.Request) error {
	v, err := a.video(req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, showVideo(v))
}

func (a *api) deleteVideo(w http.ResponseWriter, req *http.Request) error {
	id, err := pathID(req, "video")
	if err != nil {
		return err
	}
	v, err := a.Videos.Delete(req.Context(), caller(req).TenantID, id)
	if err != nil {
		return missing(err, "video")
	}
	a.discard(req.Context(), v.Key)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *api) videoContent(w http.ResponseWriter, req *http.Request) error {
	v, err := a.video(req)
	if err != nil {
		return err
	}
	return a.serveObject(w, req, object{
		key: v.Key, bytes: v.Bytes, contentType: v.ContentType, modified: v.CreatedAt,
		tag: v.ID.String(), filename: v.Filename, // stored once, so the id names the content
	})
}
