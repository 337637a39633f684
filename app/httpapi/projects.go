package httpapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/auth"
)

const (
	maxProjectName        = 200
	maxProjectDescription = 10_000
)

type projectJSON struct {
	ID          uuid.UUID `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Version     int64     `json:"version"`
	CreatedBy   uuid.UUID `json:"created_by"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

func showProject(p app.Project) projectJSON {
	return projectJSON{
		ID: p.ID, Name: p.Name, Description: p.Description, Version: p.Version,
		CreatedBy: p.CreatedBy, CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(),
	}
}

func checkProject(p app.Project) error {
	var fields []app.FieldError
	if why := checkText(p.Name, maxProjectName, false); why != "" {
		fields = append(fields, app.FieldError{Field: "name", Message: why})
	} else if p.Name == "" {
		fields = append(fields, app.FieldError{Field: "name", Message: "must not be empty"})
	}
	if why := checkText(p.Description, maxProjectDescription, true); why != "" {
		fields = append(fields, app.FieldError{Field: "description", Message: why})
	}
	if len(fields) > 0 {
		return &app.Error{Code: app.CodeInvalid, Message: "the project is not valid", Fields: fields}
	}
	return nil
}

func (a *api) listProjects(w http.ResponseWriter, req *http.Request) error {
	list := auth.List{Tenant: caller(req).TenantID, Kind: "projects"}
	page, limit, err := a.page(req, list)
	if err != nil {
		return err
	}
	projects, err := a.Projects.List(req.Context(), list.Tenant, page)
	if err != nil {
		return err
	}
	return writeList(a, w, list, projects, limit, func(p app.Project) uuid.UUID { return p.ID }, showProject)
}

func (a *api) createProject(w http.ResponseWriter, req *http.Request) error {
	in, err := readJSON[struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	}](req)
	if err != nil {
		return err
	}
	now, id, err := a.stamp()
	if err != nil {
		return err
	}
	c := caller(req)
	p := app.Project{
		ID: id, TenantID: c.TenantID, Name: strings.TrimSpace(in.Name), Description: in.Description,
		Version: 1, CreatedBy: c.UserID, CreatedAt: now, UpdatedAt: now,
	}
	if err := checkProject(p); err != nil {
		return err
	}
	if err := a.Projects.Create(req.Context(), p); err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/projects/"+id.String())
	return writeProject(w, http.StatusCreated, p)
}

// stamp returns the time, as precise as PostgreSQL keeps it, and a new id.
func (a *api) stamp() (time.Time, uuid.UUID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return time.Time{}, uuid.Nil, fmt.Errorf("make an id: %w", err)
	}
	return a.Now().UTC().Truncate(time.Microsecond), id, nil
}

func (a *api) project(req *http.Request) (app.Project, error) {
	id, err := pathID(req, "project")
	if err != nil {
		return app.Project{}, err
	}
	p, err := a.Projects.Get(req.Context(), caller(req).TenantID, id)
	return p, missing(err, "project")
}

// missing says of what was not found which kind of thing it is.
func missing(err error, kind string) error {
	if app.CodeOf(err) == app.CodeNotFound {
		return &app.Error{Code: app.CodeNotFound, Message: "the " + kind + " does not exist", Err: err}
	}
	return err
}

func (a *api) getProject(w http.ResponseWriter, req *http.Request) error {
	p, err := a.project(req)
	if err != nil {
		return err
	}
	if matches(req.Header["If-None-Match"], etag(p), true) {
		w.Header().Set("Etag", etag(p))
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return writeProject(w, http.StatusOK, p)
}

func (a *api) updateProject(w http.ResponseWriter, req *http.Request) error {
	in, err := readJSON[struct {
		Name        optional[string] `json:"name"`
		Description optional[string] `json:"description"`
	}](req, "application/merge-patch+json")
	if err != nil {
		return err
	}
	p, err := a.project(req)
	if err != nil {
		return err
	}
	// Without the condition, two editors would overwrite each other unseen (RFC 6585, section 3).
	match := req.Header["If-Match"]
	if len(match) == 0 {
		return app.Errorf(codePreconditionRequired, "send If-Match with the project's ETag")
	}
	stale := app.Errorf(codePreconditionFailed, "the project has changed; read it again")
	if !matches(match, etag(p), false) {
		return stale
	}
	if in.Name.value != nil {
		p.Name = strings.TrimSpace(*in.Name.value)
	}
	if in.Description.value != nil {
		p.Description = *in.Description.value
	}
	if err := checkProject(p); err != nil {
		return err
	}
	p.UpdatedAt = a.Now().UTC().Truncate(time.Microsecond)
	p, err = a.Projects.Update(req.Context(), p)
	if app.CodeOf(err) == app.CodeConflict {
		return stale
	}
	if err != nil {
		return missing(err, "project")
	}
	return writeProject(w, http.StatusOK, p)
}

func (a *api) deleteProject(w http.ResponseWriter, req *http.Request) error {
	id, err := pathID(req, "project")
	if err != nil {
		return err
	}
	if err := a.Projects.Delete(req.Context(), caller(req).TenantID, id); err != nil {
		return missing(err, "project")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func etag(p app.Project) string { return `"` + strconv.FormatInt(p.Version, 10) + `"` }

// matches tells whether the values of If-Match or If-None-Match name a tag, of
// which none has a comma. If-None-Match compares weakly, If-Match strongly (RFC
// 9110, 13.1): a weak tag is no ground for a change.
func matches(values []string, tag string, weakly bool) bool {
	for _, line := range values {
		for member := range strings.SplitSeq(line, ",") {
			member = strings.TrimSpace(member)
			if weakly {
				member = strings.TrimPrefix(member, "W/")
			}
			if member == "*" || member == tag {
				return true
			}
		}
	}
	return false
}

func writeProject(w http.ResponseWriter, status int, p app.Project) error {
	w.Header().Set("Etag", etag(p))
	return writeJSON(w, status, showProject(p))
}
