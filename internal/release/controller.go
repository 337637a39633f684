package release

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	ebtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/migration"
)

// TaskName is a task of the state machine.
type TaskName string

// The tasks. Expand and Contract invoke the migrate function; the others are the
// Controller's.
const (
	TaskBegin    TaskName = "begin"    // take the lease, or take over what another execution left
	TaskExpand   TaskName = "expand"   // run expand migrations
	TaskPrepare  TaskName = "prepare"  // start the candidate
	TaskShift    TaskName = "shift"    // set the weights
	TaskAnalyze  TaskName = "analyze"  // watch
	TaskFinish   TaskName = "finish"   // empty the former color
	TaskContract TaskName = "contract" // run contract migrations
	TaskRollback TaskName = "rollback" // give up, empty the candidate
	TaskEnd      TaskName = "end"      // nothing is left to do
)

// Task is the input of one invocation.
type Task struct {
	Name      TaskName `json:"task"`
	Execution string   `json:"execution"` // ARN
	Number    int      `json:"number"`
	Input     *Input   `json:"input,omitempty"` // of the execution; TaskBegin
	Cause     string   `json:"cause,omitempty"` // what another task failed with; TaskRollback, TaskFinish
}

// Input is that of an execution.
type Input struct {
	Number int    `json:"number"`
	Plan   Plan   `json:"plan"`
	By     string `json:"by"`
	// Token makes the inputs of two operators differ: Step Functions takes the same
	// name with the same input for one request.
	Token string `json:"token"`
	// Continue takes over a release that no execution works on; RollBack gives it up.
	Continue bool   `json:"continue,omitempty"`
	RollBack string `json:"roll_back,omitempty"` // why
}

// Next is the answer: which task comes next, after how long.
type Next struct {
	Next   TaskName `json:"next"`
	Wait   int      `json:"wait"` // seconds
	Number int      `json:"number"`
	Phase  Phase    `json:"phase"`
	// Migrate is what the migrate function gets.
	Migrate migration.Event `json:"migrate"`
}

// Refusal says that a release may not begin. It fails the execution and changes
// nothing.
type Refusal struct{ Reason string } //nolint:errname // The state machine retries no error of this name.

func (r *Refusal) Error() string { return r.Reason }

// Controller runs the tasks.
type Controller struct {
	Fleet Fleet
	Cloud Cloud
	Log   *slog.Logger
	Now   func() time.Time // default time.Now
}

// Run runs one task. After an error nothing is lost: run it again.
func (c *Controller) Run(ctx context.Context, t Task) (Next, error) {
	r, err := c.open(ctx)
	if err != nil {
		return Next{}, err
	}
	if t.Name == TaskBegin {
		return r.begin(ctx, t)
	}
	if r.state.Number != t.Number || r.state.Execution != t.Execution {
		c.Log.InfoContext(ctx, "left to another execution", "number", t.Number, "to", r.state.Execution)
		return Next{Next: TaskEnd, Number: t.Number}, nil
	}
	if err := r.obey(ctx); err != nil {
		return Next{}, err
	}
	if t.Name == TaskRollback && t.Cause != "" && !r.goingBack() && !r.late() {
		if err := r.giveUp(ctx, "a step failed: "+cause(t.Cause)); err != nil {
			return Next{}, err
		}
		return r.next(), nil
	}
	if !r.asks(t.Name) {
		return r.next(), nil // the phase has changed; each task may do what its function is permitted to
	}
	switch t.Name {
	case TaskPrepare:
		err = r.prepare(ctx)
	case TaskShift:
		err = r.shift(ctx)
	case TaskAnalyze:
		err = r.analyze(ctx)
	case TaskFinish:
		err = r.finish(ctx, t)
	case TaskRollback:
		err = r.withdraw(ctx)
	default:
		return Next{}, fmt.Errorf("task %q is none of the controller's", t.Name)
	}
	if err != nil {
		return Next{}, err
	}
	return r.next(), nil
}

// asks says that the phase asks for a task. After the migrate function, which
// knows nothing of phases, comes the task that notes it.
func (r *run) asks(task TaskName) bool {
	switch r.state.Phase {
	case Migrating:
		return task == TaskPrepare
	case Contracting:
		return task == TaskFinish
	}
	return task == r.next().Next
}

// run is one look at a release.
type run struct {
	*Controller
	target contract.ReleaseTarget
	state  State
	now    time.Time
	wait   time.Duration // until the next task
}

func (c *Controller) open(ctx context.Context) (*run, error) {
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	r := &run{Controller: c, now: now().UTC()}
	var err error
	if r.target, err = c.Cloud.target(ctx, c.Fleet); err != nil {
		return nil, err
	}
	r.state, err = c.Cloud.state(ctx, c.Fleet)
	return r, err
}

// save writes the state.
func (r *run) save(ctx context.Context) error {
	r.state.Updated = r.now
	return r.Cloud.write(ctx, contract.ReleaseStateParameter(r.Fleet.Environment, r.Fleet.Name), r.state)
}

// enter begins a phase: saved, logged and sent as an event.
func (r *run) enter(ctx context.Context, p Phase) error {
	r.state.Phase, r.state.Entered = p, r.now
	r.wait = 0
	if err := r.save(ctx); err != nil {
		return err
	}
	r.Log.InfoContext(ctx, "release "+string(p), "number", r.state.Number, "version", r.state.Plan.Version, "from", r.state.From,
		"to", r.state.To, "percent", r.state.Weight, "reason", r.state.Reason)
	detail, err := json.Marshal(Change{
		Environment: r.Fleet.Environment, Fleet: r.Fleet.Name, Number: r.state.Number, Phase: p, Strategy: r.state.Plan.Strategy,
		Version: r.state.Plan.Version, From: r.state.From, To: r.state.To, Percent: r.state.Weight, Reason: r.state.Reason, By: r.state.By,
	})
	if err != nil {
		return err
	}
	// The parameter is what counts: an event that cannot be sent stops no release.
	if out, err := r.Cloud.Events.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []ebtypes.PutEventsRequestEntry{{
		Source: aws.String(contract.ReleaseEventSource), DetailType: aws.String(contract.ReleaseEventType), Detail: aws.String(string(detail)),
		Time: &r.now,
	}}}); err != nil || out.FailedEntryCount > 0 {
		r.Log.WarnContext(ctx, "event not sent", "phase", p, "error", err)
	}
	return nil
}

// Change is the detail of a release's events.
type Change struct {
	Environment string   `json:"environment"`
	Fleet       string   `json:"fleet"`
	Number      int      `json:"number"`
	Phase       Phase    `json:"phase"`
	Strategy    Strategy `json:"strategy"`
	Version     string   `json:"version"`
	From        string   `json:"from"`
	To          string   `json:"to"`
	Percent     int      `json:"percent"`
	Reason      string   `json:"reason,omitempty"`
	By          string   `json:"by"`
}

// next is the task that the phase asks for.
func (r *run) next() Next {
	n := Next{Number: r.state.Number, Phase: r.state.Phase, Wait: int((r.wait + time.Second - 1) / time.Second)}
	switch r.state.Phase {
	case Migrating:
		n.Next = TaskExpand
		n.Migrate = migration.Event{Phase: migration.Expand, Migrations: r.state.Plan.Migrations}
	case Emptying, Launching, Holding, Replacing:
		n.Next = TaskPrepare
	case Shifting, RollingBack:
		n.Next = TaskShift
	case Baking, Promoted:
		n.Next = TaskAnalyze
	case Promoting, Retiring:
		n.Next = TaskFinish
	case Contracting:
		n.Next = TaskContract
		n.Migrate = migration.Event{Phase: migration.Contract, Migrations: r.state.Plan.Migrations}
	case Withdrawing:
		n.Next = TaskRollback
	default:
		n.Next = TaskEnd
	}
	return n
}

// obey follows what an operator has said.
func (r *run) obey(ctx context.Context) error {
	var o Order
	if err := r.Cloud.read(ctx, contract.ReleaseCommandParameter(r.Fleet.Environment, r.Fleet.Name), &o); err != nil {
		return err
	}
	if o.Number != r.state.Number {
		return nil
	}
	switch {
	case o.Command == Rollback && !r.goingBack() && !r.late():
		return r.giveUp(ctx, "by "+o.By+reason(o.Reason))
	case o.Command == Pause && !r.state.Paused && r.state.Phase.Active():
		r.state.Paused = true
		return r.save(ctx)
	case o.Command == Resume && (r.state.Paused || !r.state.Resumed):
		r.state.Paused, r.state.Resumed = false, true
		return r.save(ctx)
	}
	return nil
}

func reason(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func (r *run) goingBack() bool {
	return r.state.Phase == RollingBack || r.state.Phase == Withdrawing || r.state.Phase == RolledBack
}

// late says that the former color is leaving or gone.
func (r *run) late() bool {
	return r.state.Phase == Retiring || r.state.Phase == Contracting || r.state.Phase == Done
}

// giveUp turns a release round.
func (r *run) giveUp(ctx context.Context, why string) error {
	r.state.Reason, r.state.Paused = clip(why), false
	return r.enter(ctx, RollingBack)
}

// longest reason that is kept: the state has to fit into a parameter of 4 KB.
const longest = 800

// clip keeps what fits of a reason.
func clip(why string) string {
	if len(why) <= longest {
		return why
	}
	return strings.ToValidUTF8(why[:longest], "") + "…"
}

// overdue is why a release has to be given up for its age, or "".
func (r *run) overdue() string {
	if limit := time.Duration(r.state.Plan.Timeout); r.now.Sub(r.state.Started) > limit {
		return fmt.Sprintf("not at 100 %% after %v: %s", limit, r.state.Reason)
	}
	return ""
}
