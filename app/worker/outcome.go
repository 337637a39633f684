package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Causes of a handler's context that has ended.
var (
	ErrDrained = errors.New("the worker is being drained")
	ErrLost    = errors.New("the visibility timeout of the message could not be extended: another worker may have it")
	ErrRuntime = errors.New("the handler ran longer than it may")
)

// verdict marks an error with what is to become of its message.
type verdict struct {
	error
	kind  verdictKind
	delay time.Duration // of retryAfter
}

type verdictKind int

const (
	permanent verdictKind = iota + 1
	retryAfter
	drop
)

func (v verdict) Unwrap() error { return v.error }

// Permanent marks an error as one that handling the message again will not
// cure: the message goes to the dead-letter queue now. nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return verdict{error: err, kind: permanent}
}

// RetryAfter marks an error as one to try again after d, rounded up to whole
// seconds and cut where SQS ends: 12 h after the message's receive. It counts as a
// receive like any failure. nil stays nil.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return verdict{error: err, kind: retryAfter, delay: max(d, 0)}
}

// Drop marks an error as the reason why nobody needs the message any more: it
// is deleted, and the reason is logged. nil stays nil.
func Drop(err error) error {
	if err == nil {
		return nil
	}
	return verdict{error: err, kind: drop}
}

// JSON returns a Handler that decodes the message's body into a T. A body that
// is no such JSON is a Permanent error; members that T does not have are
// ignored.
func JSON[T any](handle func(ctx context.Context, value T) error) Handler {
	return func(ctx context.Context, m Message) error {
		var value T
		if err := json.Unmarshal([]byte(m.Body), &value); err != nil {
			return Permanent(fmt.Errorf("decode the body of message %s: %w", m.ID, err))
		}
		return handle(ctx, value)
	}
}

// Versions returns a Handler that chooses among handlers by the member
// "version" of the message's JSON body, a number; a body without one is version
// 1. A version without a handler is a Permanent error, as is a body that is no
// JSON object: a producer that is ahead of its consumers loses nothing, its
// messages wait in the dead-letter queue.
func Versions(handlers map[int]Handler) Handler {
	return func(ctx context.Context, m Message) error {
		var head struct {
			Version *int `json:"version"`
		}
		if err := json.Unmarshal([]byte(m.Body), &head); err != nil {
			return Permanent(fmt.Errorf("read the version of message %s: %w", m.ID, err))
		}
		version := 1
		if head.Version != nil {
			version = *head.Version
		}
		handle, ok := handlers[version]
		if !ok {
			return Permanent(fmt.Errorf("message %s has version %d; this worker knows %v", m.ID, version, slices.Sorted(maps.Keys(handlers))))
		}
		return handle(ctx, m)
	}
}
