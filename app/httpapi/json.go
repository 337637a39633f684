package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/auth"
)

func writeJSON(w http.ResponseWriter, status int, v any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the client may be gone
	return nil
}

// readJSON decodes a request's body, which must be one JSON value of the given
// media types with no member that T does not have.
func readJSON[T any](req *http.Request, types ...string) (T, error) {
	var v T
	types = append(types, "application/json")
	media, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(types, media) {
		return v, app.Errorf(app.CodeUnsupportedType, "the body must be %s", strings.Join(types, " or "))
	}
	dec := json.NewDecoder(req.Body)
	dec.DisallowUnknownFields()
	err = dec.Decode(&v)
	if err == nil {
		// A second value, or anything that is none, is not what was meant.
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return v, nil
		}
		if err == nil {
			err = errors.New("more than one JSON value")
		}
	}
	return v, jsonError(err)
}

func jsonError(err error) error {
	if known, ok := errors.AsType[*app.Error](err); ok {
		return known
	}
	if big, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &app.Error{Code: app.CodeTooLarge, Message: fmt.Sprintf("the body must have at most %d bytes", big.Limit), Err: err}
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return invalid(wrong.Field, "must not be a JSON "+wrong.Value)
	}
	// The decoder has no type for this error.
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		if field, unquoteErr := strconv.Unquote(name); unquoteErr == nil {
			return invalid(field, "is not known")
		}
	}
	if errors.Is(err, io.EOF) {
		return &app.Error{Code: app.CodeInvalid, Message: "the body is empty", Err: err}
	}
	return &app.Error{Code: app.CodeInvalid, Message: "the body is not valid JSON of the shape this request takes", Err: err}
}

// optional is a member that may be left out but not be null.
type optional[T any] struct{ value *T }

func (o *optional[T]) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return app.Errorf(app.CodeInvalid, "a member may be left out, it must not be null")
	}
	return json.Unmarshal(data, &o.value)
}

// pathID returns an id of the path. What is no UUID is no id of anything.
func pathID(req *http.Request, name string) (uuid.UUID, error) {
	const canonical = 36
	text := req.PathValue(name)
	id, err := uuid.Parse(text)
	if err != nil || len(text) != canonical {
		return uuid.Nil, app.Errorf(app.CodeNotFound, "the %s does not exist", name)
	}
	return id, nil
}

// query returns the parsed query. An unknown parameter is refused: a filter
// that is silently ignored gives an answer to another question.
func query(req *http.Request, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return nil, &app.Error{Code: app.CodeInvalid, Message: "the query is malformed", Err: err}
	}
	for name, values := range q {
		if !slices.Contains(known, name) {
			return nil, invalid(name, "is not a parameter of this request")
		}
		if len(values) > 1 {
			return nil, invalid(name, "must be given once")
		}
	}
	return q, nil
}

const (
	defaultLimit = 50
	maxLimit     = 200
)

// page reads limit and cursor; known names the other parameters the request
// takes. The page asks for one item more than the limit,
// which tells whether there is a next page.
func (a *api) page(req *http.Request, list auth.List, known ...string) (page app.Page, limit int, err error) {
	q, err := query(req, append(known, "limit", "cursor")...)
	if err != nil {
		return app.Page{}, 0, err
	}
	limit = defaultLimit
	if q.Has("limit") {
		limit, err = strconv.Atoi(q.Get("limit"))
		if err != nil || limit < 1 || limit > maxLimit {
			return app.Page{}, 0, invalid("limit", fmt.Sprintf("must be a number from 1 to %d", maxLimit))
		}
	}
	page.Limit = limit + 1
	if q.Has("cursor") {
		page.After, err = a.Keys.OpenCursor(list, q.Get("cursor"))
	}
	return page, limit, err
}

type listJSON[T any] struct {
	Items      []T     `json:"items"`
	NextCursor *string `json:"next_cursor"`
}

// writeList answers with a page of items, of which one too many was read.
func writeList[T, J any](a *api, w http.ResponseWriter, list auth.List, items []T, limit int, id func(T) uuid.UUID, show func(T) J) error {
	out := listJSON[J]{Items: []J{}}
	if len(items) > limit {
		items = items[:limit]
		out.NextCursor = new(a.Keys.Cursor(list, id(items[limit-1])))
	}
	for _, item := range items {
		out.Items = append(out.Items, show(item))
	}
	return writeJSON(w, http.StatusOK, out)
}

// checkText says what is wrong with a text of at most limit characters.
func checkText(text string, limit int, lines bool) string {
	switch {
	case utf8.RuneCountInString(text) > limit:
		return fmt.Sprintf("must have at most %d characters", limit)
	case !utf8.ValidString(text):
		return "must be UTF-8"
	case strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsControl(r) && (!lines || !strings.ContainsRune("\n\r\t", r))
	}):
		return "must not contain control characters"
	}
	return ""
}
