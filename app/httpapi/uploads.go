package httpapi

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
)

// Limits of uploads in parts. S3 takes parts of 5 MiB to 5 GiB, but the last
// may have less, and 10,000 of them at most.
const (
	MinPartBytes     = 5 << 20
	MaxPartBytes     = 1 << 30
	defaultPartBytes = 16 << 20
	maxParts         = 10_000
	maxPartRequests  = 100 // in one request

	// uploadTTL is how long an upload in parts may take. The bucket's lifecycle
	// rule removes what was begun and not completed a day before.
	uploadTTL = 24 * time.Hour
	// partTTL is how long a request for a part may begin.
	partTTL = time.Hour
	// completeTimeout limits what S3 takes to make one object of the parts.
	completeTimeout = time.Minute
)

// videoTypes are the types of videos.
func videoTypes() []string { return []string{"video/mp4", "video/quicktime", "video/webm"} }

type partJSON struct {
	Number int    `json:"number"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

type uploadJSON struct {
	ID          uuid.UUID  `json:"id"`
	ProjectID   uuid.UUID  `json:"project_id"`
	Filename    string     `json:"filename"`
	ContentType string     `json:"content_type"`
	Bytes       int64      `json:"bytes"`
	PartBytes   int64      `json:"part_bytes"`
	Parts       int        `json:"parts"`
	Received    []partJSON `json:"received"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   time.Time  `json:"expires_at"`
}

func showUpload(u app.Upload, parts []app.Part) uploadJSON {
	out := uploadJSON{
		ID: u.ID, ProjectID: u.ProjectID, Filename: u.Filename, ContentType: u.ContentType, Bytes: u.Bytes,
		PartBytes: u.PartBytes, Parts: u.Parts(), Received: []partJSON{}, CreatedAt: u.CreatedAt.UTC(), ExpiresAt: u.ExpiresAt.UTC(),
	}
	for _, p := range parts {
		out.Received = append(out.Received, partJSON{p.Number, p.Bytes, p.SHA256})
	}
	return out
}

type newUpload struct {
	Filename    string `json:"filename"`
	ContentType string `json:"content_type"`
	Bytes       int64  `json:"bytes"`
	PartBytes   int64  `json:"part_bytes"`
}

func (in *newUpload) check(limit int64) error {
	var fields []app.FieldError
	wrong := func(field, format string, args ...any) {
		fields = append(fields, app.FieldError{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	var why string
	if in.Filename, why = cleanFilename(in.Filename); why != "" {
		wrong("filename", "%s", why)
	}
	if !slices.Contains(videoTypes(), in.ContentType) {
		wrong("content_type", "must be %s", strings.Join(videoTypes(), ", "))
	}
	if in.PartBytes == 0 {
		in.PartBytes = defaultPartBytes
	}
	if in.Bytes < 1 {
		wrong("bytes", "must be at least 1")
	}
	if in.PartBytes < MinPartBytes || in.PartBytes > MaxPartBytes {
		wrong("part_bytes", "must be from %d to %d", MinPartBytes, MaxPartBytes)
	} else if in.Bytes > in.PartBytes*maxParts {
		wrong("part_bytes", "must not make more than %d parts", maxParts)
	}
	if len(fields) > 0 {
		return &app.Error{Code: app.CodeInvalid, Message: "the upload is not valid", Fields: fields}
	}
	if in.Bytes > limit {
		return tooLarge(limit)
	}
	return nil
}

func (a *api) createUpload(w http.ResponseWriter, req *http.Request) error {
	ctx := req.Context()
	in, err := readJSON[newUpload](req)
	if err != nil {
		return err
	}
	if err := in.check(a.MaxVideoBytes); err != nil {
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
	u := app.Upload{
		ID: id, TenantID: p.TenantID, ProjectID: p.ID, Key: app.VideoKey(p.TenantID, id), Filename: in.Filename,
		ContentType: in.ContentType, Bytes: in.Bytes, PartBytes: in.PartBytes, CreatedAt: now, ExpiresAt: now.Add(uploadTTL),
	}
	if _, err := a.Storage.Reserve(ctx, u.TenantID, u.Key, u.Bytes, u.Bytes, u.ExpiresAt); err != nil {
		return err
	}
	if u.Multipart, err = a.Multipart.Begin(ctx, u.Key, u.ContentType); err == nil {
		err = missing(a.Uploads.Create(ctx, u), "project")
	}
	if err != nil {
		a.giveUp(ctx, u)
		return err
	}
	w.Header().Set("Location", "/v1/uploads/"+id.String())
	return writeJSON(w, http.StatusCreated, showUpload(u, nil))
}

// giveUp takes back what an upload without a row holds.
func (a *api) giveUp(ctx context.Context, u app.Upload) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	if _, err := a.Storage.Release(ctx, u.TenantID, u.Key); err != nil {
		a.Log.WarnContext(ctx, "reservation left behind until it expires", "key", u.Key, "error", err)
	}
	a.abort(ctx, u)
}

// abort removes an upload's parts. It is best effort: the sweeper, or the
// bucket's lifecycle rule, removes what stays.
func (a *api) abort(ctx context.Context, u app.Upload) {
	if u.Multipart == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	if err := a.Multipart.Abort(ctx, u.Key, u.Multipart); err != nil {
		a.Log.WarnContext(ctx, "parts left to the sweeper", "key", u.Key, "error", err)
	}
}

// openUpload returns the upload of the path if it can still be completed.
func (a *api) openUpload(req *http.Request) (app.Upload, error) {
	id, err := pathID(req, "upload")
	if err != nil {
		return app.Upload{}, err
	}
	u, err := a.Uploads.Get(req.Context(), caller(req).TenantID, id)
	if err == nil && !a.Now().Before(u.ExpiresAt) {
		err = app.Errorf(app.CodeNotFound, "the upload has expired")
	}
	return u, missing(err, "upload")
}

func (a *api) getUpload(w http.ResponseWriter, req *http.Request) error {
	u, err := a.openUpload(req)
	if err != nil {
		return err
	}
	parts, err := a.Multipart.Parts(req.Context(), u.Key, u.Multipart, 0, maxParts)
	if err != nil {
		return missing(err, "upload")
	}
	return writeJSON(w, http.StatusOK, showUpload(u, parts))
}

type partRequestJSON struct {
	Number    int               `json:"number"`
	Bytes     int64             `json:"bytes"`
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers"`
	ExpiresAt time.Time         `json:"expires_at"`
}

// requestParts answers with a signed request for each part asked for. S3 takes
// no checksum that is not signed, so the client names the part's SHA-256 first,
// and the request stores these bytes and no others.
func (a *api) requestParts(w http.ResponseWriter, req *http.Request) error {
	in, err := readJSON[struct {
		Parts []struct {
			Number int    `json:"number"`
			SHA256 string `json:"sha256"`
		} `json:"parts"`
	}](req)
	if err != nil {
		return err
	}
	if len(in.Parts) == 0 || len(in.Parts) > maxPartRequests {
		return invalid("parts", fmt.Sprintf("must be 1 to %d", maxPartRequests))
	}
	u, err := a.openUpload(req)
	if err != nil {
		return err
	}
	now := a.Now()
	ttl := min(partTTL, u.ExpiresAt.Sub(now)).Truncate(time.Second)
	out := struct {
		Items []partRequestJSON `json:"items"`
	}{[]partRequestJSON{}}
	for _, p := range in.Parts {
		if p.Number < 1 || p.Number > u.Parts() {
			return invalid("number", fmt.Sprintf("must be from 1 to %d", u.Parts()))
		}
		if sum, err := base64.StdEncoding.DecodeString(p.SHA256); err != nil || len(sum) != 32 {
			return invalid("sha256", "must be 32 bytes in base64")
		}
		part := app.Part{Number: p.Number, Bytes: u.PartSize(p.Number), SHA256: p.SHA256}
		r, err := a.Multipart.Presign(req.Context(), u.Key, u.Multipart, part, max(ttl, time.Second))
		if err != nil {
			return err
		}
		out.Items = append(out.Items, partRequestJSON{part.Number, part.Bytes, r.Method, r.URL, r.Header, now.Add(ttl).UTC()})
	}
	return writeJSON(w, http.StatusOK, out)
}

// completeUpload makes the upload a video. It can be repeated at any point:
// until the video is stored it goes on where it was, and then it answers with
// the video.
func (a *api) completeUpload(w http.ResponseWriter, req *http.Request) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Now().Add(completeTimeout + 2*requestTimeout))
	ctx, cancel := context.WithTimeout(req.Context(), completeTimeout)
	defer cancel()
	req = req.WithContext(ctx)

	tenant := caller(req).TenantID
	u, err := a.openUpload(req)
	if app.CodeOf(err) == app.CodeNotFound {
		return a.completed(w, req, tenant, err)
	}
	if err != nil {
		return err
	}
	if err := a.assemble(ctx, u); err != nil {
		return err
	}
	v := app.Video{
		ID: u.ID, TenantID: u.TenantID, ProjectID: u.ProjectID, Filename: u.Filename, ContentType: u.ContentType, Bytes: u.Bytes,
		Key: u.Key, Status: app.VideoProcessing, CreatedBy: caller(req).UserID,
	}
	if v.CreatedAt, _, err = a.stamp(); err != nil {
		return err
	}
	v.UpdatedAt = v.CreatedAt
	switch err := a.Videos.Create(ctx, v); app.CodeOf(err) {
	case "":
	case app.CodeConflict: // another request was first
		return a.completed(w, req, tenant, err)
	default:
		return missing(err, "upload")
	}
	w.Header().Set("Location", "/v1/videos/"+v.ID.String())
	return writeJSON(w, http.StatusAccepted, showVideo(v))
}

// completed answers with the video that an upload has become, or with err.
func (a *api) completed(w http.ResponseWriter, req *http.Request, tenant uuid.UUID, err error) error {
	id, idErr := pathID(req, "upload")
	if idErr != nil {
		return idErr
	}
	v, videoErr := a.Videos.Get(req.Context(), tenant, id)
	if videoErr != nil {
		if app.CodeOf(videoErr) == app.CodeNotFound {
			return err
		}
		return videoErr
	}
	w.Header().Set("Location", "/v1/videos/"+v.ID.String())
	return writeJSON(w, http.StatusAccepted, showVideo(v))
}

// assemble makes one object of an upload's parts when all are there.
func (a *api) assemble(ctx context.Context, u app.Upload) error {
	parts, err := a.Multipart.Parts(ctx, u.Key, u.Multipart, 0, maxParts)
	if app.CodeOf(err) == app.CodeNotFound {
		// Completed by a request that came no further, or given up.
		o, err := a.Objects.Get(ctx, u.Key, "")
		if err != nil {
			return missing(err, "upload")
		}
		return o.Close()
	}
	if err != nil {
		return err
	}
	if len(parts) != u.Parts() {
		return app.Errorf(app.CodeConflict, "%d of %d parts are stored", len(parts), u.Parts())
	}
	for i, p := range parts {
		if p.Number != i+1 || p.Bytes != u.PartSize(p.Number) || p.SHA256 == "" {
			return app.Errorf(app.CodeConflict, "part %d must have %d bytes and a SHA-256; it has %d", p.Number, u.PartSize(p.Number), p.Bytes)
		}
	}
	return a.Multipart.Complete(ctx, u.Key, u.Multipart, parts)
}

func (a *api) deleteUpload(w http.ResponseWriter, req *http.Request) error {
	id, err := pathID(req, "upload")
	if err != nil {
		return err
	}
	u, err := a.Uploads.Delete(req.Context(), caller(req).TenantID, id)
	if err != nil {
		return missing(err, "upload")
	}
	a.abort(req.Context(), u)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
