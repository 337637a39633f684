package widget

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
)

// MaxRetention is what SQS allows.
const MaxRetention = 14 * 24 * time.Hour

// Mode is how a message is taken.
type Mode string

// The modes.
const (
	Push Mode = "push" // the function is invoked
	Pull Mode = "pull"
)

// Props configures a Widget. The zero value is a queue that is polled. Name is
// required; everything else has a default.
type Props struct {
	// Name of the queue, e.g. "jobs". It is 1 to 80 letters.
	Name string

	// Retention is how long a message waits. Default 4 days; 1 min to 14 days.
	Retention time.Duration

	// Mode, default Push.
	Mode Mode

	// Region and Account it stands in. Default those of the stack: a | b.
	Region  string
	Account string

	// NoPolling answers at once.
	NoPolling bool

	// Filters choose messages:
	//   - by name
	//   - by age
	//
	// Default every message.
	Filters []Filter

	inner int

	// Override and its siblings have the last word.
	Override      func(*awssqs.QueueProps)
	OverrideAlarm func(name string, props *awscloudwatch.CfnAlarmProps)
}

// Filter chooses messages.
type Filter struct {
	Key string // name of an attribute. Required.
	// Values of which one has to be there. Required with Key.
	Values []string // not this
}

// State is what a Widget answers.
type State struct{ Ready bool }

// Widget is a queue and its alarm.
type Widget struct {
	constructs.Construct
	Last  State
	Queue awssqs.IQueue
	Alarm awscloudwatch.IAlarm // the queue is not emptied
}

// New makes a Widget.
func New(scope constructs.Construct, id string, props Props) *Widget { return nil }

// State tells how the queue is.
func (w *Widget) State() State { return State{} }

// URL is where messages are sent to.
func (w *Widget) URL() string { return "" }

// Validate returns what is wrong.
func (p Props) Validate() error { return nil }
