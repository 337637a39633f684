package app

import (
	"errors"
	"fmt"
)

// Code is a stable, machine-readable kind of error. HTTP turns it into a
// status and into the `code` member of a problem (RFC 9457).
type Code string

// Codes.
const (
	CodeInvalid         Code = "invalid"          // a field or the body is wrong
	CodeUnauthenticated Code = "unauthenticated"  // no valid session
	CodeForbidden       Code = "forbidden"        // known, visible, not allowed
	CodeNotFound        Code = "not_found"        // absent, or another tenant's
	CodeConflict        Code = "conflict"         // unique value taken, or version moved on
	CodeTooLarge        Code = "too_large"        // body over its limit
	CodeUnsupportedType Code = "unsupported_type" // content type not accepted
	CodeRange           Code = "range"            // a byte range outside the object
	CodeUnavailable     Code = "unavailable"      // a dependency does not answer; try again
	CodeInternal        Code = "internal"         // ours
)

// Error is an error a caller may see. Anything that is not one is internal.
type Error struct {
	Code    Code
	Message string       // a sentence for people, without secrets
	Fields  []FieldError // for CodeInvalid
	Err     error        // the cause, for logs only
}

// FieldError says what is wrong with one field of the input.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error; a %w verb in format records the cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// CodeOf returns the code of the first Error in err's chain, CodeInternal for
// any other error and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
