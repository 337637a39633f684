package httpapi

import (
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/auth"
)

// maxSearch is the longest text to search for, in characters.
const maxSearch = 200

// listVideos answers with the page of a project's videos that have every word
// of the query's q, of all of them without q. A cursor belongs to its search:
// with another q it is refused.
func (a *api) listVideos(w http.ResponseWriter, req *http.Request) error {
	project, err := pathID(req, "project")
	if err != nil {
		return err
	}
	text := strings.TrimSpace(req.URL.Query().Get("q"))
	if why := checkText(text, maxSearch, false); why != "" {
		return invalid("q", why)
	}
	list := auth.List{Tenant: caller(req).TenantID, Kind: "videos", Filter: project.String()}
	if text != "" {
		list.Filter += " " + text
	}
	page, limit, err := a.page(req, list, "q")
	if err != nil {
		return err
	}
	var videos []app.Video
	if text == "" {
		videos, err = a.Videos.List(req.Context(), list.Tenant, project, page)
	} else {
		videos, err = a.Videos.Search(req.Context(), list.Tenant, project, text, page)
	}
	if err != nil {
		return missing(err, "project")
	}
	return writeList(a, w, list, videos, limit, func(v app.Video) uuid.UUID { return v.ID }, showVideo)
}
