package observability

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// CompositeProps configures a Composite. Watched is required; everything else has
// a default.
type CompositeProps struct {
	// Name of the alarm, 1 to 255 characters. Default one made from its path.
	Name string

	// Description says what it means that any of the alarms rings. Default that one
	// does.
	Description string

	// Watched are those whose critical alarms count, 100 alarms at most
	// ("Combining alarms", CloudWatch user guide).
	Watched []Watched

	// Override has the last word on the alarm.
	Override func(*awscloudwatch.CompositeAlarmProps)
}

// Composite is an alarm that rings while any critical alarm of what it watches
// does: one notification for an outage that many alarms see. It is Watched
// itself, so Notify takes it in place of them.
type Composite struct {
	constructs.Construct
	Alarm awscloudwatch.CompositeAlarm // critical
}

const (
	maxAlarmName      = 255
	maxCompositeParts = 100
)

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p CompositeProps) Validate() error {
	var bad cdkx.Problems
	bad.Check(len(p.Name) <= maxAlarmName || cdkx.Unresolved(p.Name), "Name", p.Name, "1 to 255 characters")
	checkWatched(&bad, func(i int) string { return fmt.Sprintf("Watched[%d]", i) }, p.Watched)
	if err := bad.Err("observability"); err != nil {
		return err
	}
	alarms := len(alarmsOf(Critical, p.Watched...))
	bad.Check(alarms >= 1 && alarms <= maxCompositeParts, "Watched", alarms, "1 to 100 critical alarms")
	return bad.Err("observability")
}

// NewComposite makes a Composite. It panics with a *PropsError when props are not
// valid.
func NewComposite(scope constructs.Construct, id string, props CompositeProps) *Composite {
	cdkx.Must(scope, id, "observability", props.Validate())
	c := &Composite{}
	constructs.NewConstruct_Override(c, scope, &id)
	var rules []awscloudwatch.IAlarmRule
	for _, alarm := range alarmsOf(Critical, props.Watched...) {
		rules = append(rules, awscloudwatch.AlarmRule_FromAlarm(alarm, awscloudwatch.AlarmState_ALARM))
	}
	description := props.Description
	if description == "" {
		description = "A critical alarm of " + id + " rings. Look at which one: its description says what it means."
	}
	c.Alarm = awscloudwatch.NewCompositeAlarm(c, new("Alarm"), cdkx.Override(&awscloudwatch.CompositeAlarmProps{
		CompositeAlarmName: cdkx.Optional(props.Name),
		AlarmDescription:   &description,
		AlarmRule:          awscloudwatch.AlarmRule_AnyOf(rules...),
	}, props.Override))
	return c
}

// Alarms are the one alarm.
func (c *Composite) Alarms() []awscloudwatch.IAlarm { return []awscloudwatch.IAlarm{c.Alarm} }

// Widgets are none: what the alarm is made of is drawn where it is watched.
func (c *Composite) Widgets() []awscloudwatch.IWidget { return nil }
