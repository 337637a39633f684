package app

import (
	"context"
	"errors"

	"github.com/google/uuid"
)

// Subscriptions lets users follow what happens to what is theirs.
type Subscriptions interface {
	// Subscribe follows a user's events after the position last, or from now on when it is empty. It returns at
	// once, also when the events cannot be read now: they come when they can be. Close the subscription.
	Subscribe(user uuid.UUID, last string) Subscription
	// Recheck asks every subscription of a user, on all instances, to see whether it is still allowed.
	Recheck(ctx context.Context, user uuid.UUID) error
}

// Subscription is one listener's place among a user's events.
type Subscription interface {
	// Wake holds a value when Take may have something new.
	Wake() <-chan struct{}
	// Take returns, without waiting, what has come since the last call. After ErrSlow nothing comes any more.
	Take() ([]Signal, error)
	Close()
}

// ErrSlow ends a subscription whose listener did not take what there was for
// too long. It has missed nothing if it subscribes anew behind the last event
// it has seen.
var ErrSlow = errors.New("the listener is too slow")

// Signal is what a subscription tells.
type Signal struct {
	Kind     SignalKind
	Position string // behind it follows all that has not been told; empty for SignalRecheck
	Body     []byte // JSON, of SignalEvent
}

// SignalKind is the kind of a Signal.
type SignalKind int

// Kinds of signals. The first one about events is SignalReady or SignalGap.
const (
	SignalReady   SignalKind = iota // from here on nothing is missed
	SignalGap                       // something may have been missed before this: read the state anew
	SignalEvent                     // an event
	SignalRecheck                   // see whether the listener may still listen
)
