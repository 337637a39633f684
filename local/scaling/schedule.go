package scaling

import (
	"cmp"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/robfig/cron/v3"
)

// due tells whether a scheduled action starts in (from, to]. Its recurrence has
// five fields and stands in its time zone, UTC by default; its start and end
// times bound it. Without a recurrence it starts once, at its start time.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-scheduled-scaling.html
func due(a types.ScheduledUpdateGroupAction, from, to time.Time) (bool, error) {
	if a.EndTime != nil && to.After(*a.EndTime) {
		return false, nil
	}
	recurrence := aws.ToString(a.Recurrence)
	if recurrence == "" {
		return a.StartTime != nil && a.StartTime.After(from) && !a.StartTime.After(to), nil
	}
	zone, err := time.LoadLocation(cmp.Or(aws.ToString(a.TimeZone), "UTC"))
	if err != nil {
		return false, fmt.Errorf("time zone %q: %w", aws.ToString(a.TimeZone), err)
	}
	fields := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	schedule, err := fields.Parse(recurrence)
	if err != nil {
		return false, fmt.Errorf("recurrence %q: %w", recurrence, err)
	}
	if a.StartTime != nil && a.StartTime.After(from) {
		from = a.StartTime.Add(-time.Nanosecond) // it may start then
	}
	next := schedule.Next(from.In(zone)) // zero when it never comes
	return !next.IsZero() && !next.After(to), nil
}

// sizes are a group's sizes after a scheduled action. What the action leaves
// out stays; a desired capacity outside of the new bounds moves to the nearest.
func sizes(a types.ScheduledUpdateGroupAction, g types.AutoScalingGroup) (least, most, desired int32) {
	pick := func(action, group *int32) int32 {
		if action != nil {
			return *action
		}
		return aws.ToInt32(group)
	}
	least, most = pick(a.MinSize, g.MinSize), pick(a.MaxSize, g.MaxSize)
	return least, most, min(max(pick(a.DesiredCapacity, g.DesiredCapacity), least), most)
}
