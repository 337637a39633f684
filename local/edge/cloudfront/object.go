package cloudfront

import (
	"cmp"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithymiddleware "github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// serveObject serves a request from an S3 origin.
func (s *Server) serveObject(w http.ResponseWriter, r *http.Request, x *exchange) {
	key := strings.TrimPrefix(x.origin.Path+r.URL.Path, "/")
	if r.Method != http.MethodGet && r.Method != http.MethodHead || !x.origin.Access.Get {
		x.s3Error(w, r, http.StatusForbidden, "AccessDenied", "Access Denied")
		return
	}
	metadata, body, err := s.fetch(r, x.origin.Bucket, key)
	if err != nil {
		s.objectError(w, r, x, key, err)
		return
	}
	defer body.Close()
	raw, ok := middleware.GetRawResponse(metadata).(*smithyhttp.Response)
	if !ok {
		x.fail(w, http.StatusBadGateway, "The S3 origin gave no HTTP response.")
		return
	}
	copyObjectHeaders(w.Header(), raw.Header)
	x.finish(w.Header(), raw.StatusCode)
	w.WriteHeader(raw.StatusCode)
	if _, err := io.Copy(w, body); err != nil {
		s.log.Debug("object was not sent in full", "bucket", x.origin.Bucket, "key", key, "error", err)
		panic(http.ErrAbortHandler) // the viewer must not take it for the whole
	}
}

// fetch reads an object, passing on ranges and conditions.
func (s *Server) fetch(r *http.Request, bucket, key string) (metadata smithymiddleware.Metadata, body io.ReadCloser, err error) {
	field := func(name string) *string {
		if v := r.Header.Get(name); v != "" {
			return &v
		}
		return nil
	}
	instant := func(name string) *time.Time {
		if t, err := http.ParseTime(r.Header.Get(name)); err == nil {
			return &t
		}
		return nil
	}
	if r.Method == http.MethodHead {
		out, err := s.s3.HeadObject(r.Context(), &s3.HeadObjectInput{
			Bucket: &bucket, Key: &key, Range: field("Range"), IfMatch: field("If-Match"), IfNoneMatch: field("If-None-Match"),
			IfModifiedSince: instant("If-Modified-Since"), IfUnmodifiedSince: instant("If-Unmodified-Since"),
		})
		if err != nil {
			return smithymiddleware.Metadata{}, nil, err
		}
		return out.ResultMetadata, http.NoBody, nil
	}
	out, err := s.s3.GetObject(r.Context(), &s3.GetObjectInput{
		Bucket: &bucket, Key: &key, Range: field("Range"), IfMatch: field("If-Match"), IfNoneMatch: field("If-None-Match"),
		IfModifiedSince: instant("If-Modified-Since"), IfUnmodifiedSince: instant("If-Unmodified-Since"),
	})
	if err != nil {
		return smithymiddleware.Metadata{}, nil, err
	}
	return out.ResultMetadata, out.Body, nil
}

// objectError answers as S3 answers a distribution: a missing key is 404 only
// to those who may list the bucket, conditions and ranges keep their status.
func (s *Server) objectError(w http.ResponseWriter, r *http.Request, x *exchange, key string, err error) {
	status, code, message := 0, "", ""
	if resp, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = resp.HTTPStatusCode()
		if status == http.StatusNotModified {
			copyObjectHeaders(w.Header(), resp.Response.Header)
			x.finish(w.Header(), status)
			w.WriteHeader(status)
			return
		}
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		code, message = api.ErrorCode(), api.ErrorMessage()
	}
	switch {
	case code == "NoSuchKey" || code == "NotFound" || status == http.StatusNotFound && code != "NoSuchBucket":
		if x.origin.Access.List {
			x.s3Error(w, r, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
			return
		}
		x.s3Error(w, r, http.StatusForbidden, "AccessDenied", "Access Denied")
	case status >= 400 && status < 500:
		x.s3Error(w, r, status, code, message)
	case r.Context().Err() != nil:
	default:
		s.log.Warn("S3 origin did not answer", "bucket", x.origin.Bucket, "key", key, "error", err)
		x.fail(w, http.StatusBadGateway, "CloudFront wasn't able to connect to the origin.")
	}
}

// s3Error answers with an error document of S3.
func (x *exchange) s3Error(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	document := struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId"`
	}{Code: cmp.Or(code, strings.ReplaceAll(http.StatusText(status), " ", "")), Message: message, RequestID: x.id}
	body, err := xml.Marshal(document)
	if err != nil {
		body = nil // three strings always marshal
	}
	body = append([]byte(xml.Header), body...)
	h := w.Header()
	h.Set("Server", "AmazonS3")
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.finish(h, status)
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the viewer may be gone
	}
}

// copyObjectHeaders passes on what S3 says of an object, not of the emulator.
func copyObjectHeaders(to, from http.Header) {
	for name, values := range from {
		switch name {
		case "Connection", "Keep-Alive", "Transfer-Encoding", "Date", "Server", "Via",
			"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Expose-Headers", "Access-Control-Max-Age":
			continue
		}
		to[name] = values
	}
	to["Server"] = []string{"AmazonS3"}
}
