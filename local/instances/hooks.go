package instances

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// Transitions that lifecycle hooks hold instances in.
const (
	launching   = "autoscaling:EC2_INSTANCE_LAUNCHING"
	terminating = "autoscaling:EC2_INSTANCE_TERMINATING"
)

// resultContinue is the result that lets an instance go on; any other abandons
// its launch. Both let a termination go on.
const resultContinue = "CONTINUE"

// waiting is a lifecycle action of an instance. Manager.mu guards it.
type waiting struct {
	hook     Hook
	token    string
	deadline time.Time // of the heartbeat
	beat     time.Time // the latest heartbeat
	done     bool
	result   string
}

func (w *waiting) end(result string) {
	if !w.done {
		w.done, w.result = true, result
	}
}

// errAbandoned says that a lifecycle hook ended a launch.
var errAbandoned = errors.New("lifecycle action abandoned")

// hold puts an instance into Wait for the hooks of a transition. A heartbeat
// timeout lasts as long here as on AWS: what it bounds is a process that boots
// or drains, and not a minute of CloudWatch.
func (m *Manager) hold(i *instance, transition, state string, a *activity) {
	m.update(func() {
		i.waiting = nil
		for _, h := range i.group.hooks {
			if h.Transition == transition {
				i.waiting = append(i.waiting, &waiting{
					hook: h, token: uuid.NewString(), deadline: time.Now().Add(time.Duration(h.HeartbeatTimeout) * time.Second),
				})
			}
		}
		if i.waiting != nil {
			i.Lifecycle = state
			a.goOn(statusMidHook, 50)
		}
	})
}

// complete ends the lifecycle action of one of the deployed hooks, which on EC2
// the boot script completes.
func (m *Manager) complete(i *instance, hook string) {
	m.update(func() {
		for _, w := range i.waiting {
			if w.hook.Name == hook {
				w.end(resultContinue)
			}
		}
	})
}

// released waits until no hook holds the instance any more. It is errAbandoned
// when one did not end with CONTINUE.
func (m *Manager) released(ctx context.Context, i *instance) error {
	for {
		m.mu.Lock()
		now, next := time.Now(), time.Time{}
		for _, w := range i.waiting {
			if !w.done && !now.Before(w.deadline) {
				w.end(w.hook.DefaultResult)
				m.o.Log.Warn("lifecycle hook timed out", "instance", i.ID, "group", i.Group, "hook", w.hook.Name,
					"after", time.Duration(w.hook.HeartbeatTimeout)*time.Second, "result", w.result)
			}
			if !w.done && (next.IsZero() || w.deadline.Before(next)) {
				next = w.deadline
			}
		}
		changed, all := m.changed, i.waiting
		if next.IsZero() {
			i.waiting = nil
		}
		m.mu.Unlock()
		if next.IsZero() {
			for _, w := range all {
				if w.result != resultContinue {
					return fmt.Errorf("%w by hook %s: %s", errAbandoned, w.hook.Name, w.result)
				}
			}
			return nil
		}
		timeout := time.NewTimer(time.Until(next))
		select {
		case <-changed:
		case <-timeout.C:
		case <-ctx.Done():
			timeout.Stop()
			return ctx.Err()
		}
		timeout.Stop()
	}
}

// hear takes what API calls have said of the lifecycle actions of an instance.
func (i *instance) hear(o InstanceOrders) (changed bool) {
	for _, w := range i.waiting {
		if result, ok := o.Completed[w.hook.Name]; ok && !w.done {
			w.end(result)
			changed = true
		}
		if beat := o.Heartbeats[w.hook.Name]; beat.After(w.beat) {
			w.beat, w.deadline = beat, beat.Add(time.Duration(w.hook.HeartbeatTimeout)*time.Second)
			changed = true
		}
	}
	return changed
}

// stopLimit is how long a process of a group may take from SIGTERM: as long as
// the hook holds its instance, on EC2.
func (g *group) stopLimit(otherwise time.Duration) time.Duration {
	n := slices.IndexFunc(g.hooks, func(h Hook) bool { return h.Name == contract.HookDrain && h.Transition == terminating })
	if n < 0 {
		return otherwise
	}
	return time.Duration(g.hooks[n].HeartbeatTimeout) * time.Second
}
