package instances

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Activity is a scaling activity, in the words of DescribeScalingActivities.
type Activity struct {
	ActivityID    string `json:"ActivityId"`
	Description   string
	Cause         string
	StartTime     time.Time
	EndTime       *time.Time `json:",omitempty"`
	StatusCode    string
	StatusMessage string `json:",omitempty"`
	Progress      int
	Details       string
}

// Status codes of activities that are given here.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_Activity.html
const (
	statusInProgress = "InProgress"
	statusPreInServe = "PreInService"
	statusMidHook    = "MidLifecycleAction"
	statusDraining   = "WaitingForELBConnectionDraining"
	statusSuccessful = "Successful"
	statusFailed     = "Failed"
	statusCancelled  = "Cancelled"
)

// activity is an Activity of a group that may not have been reported as it is.
type activity struct {
	Activity
	dirty bool
}

// newActivity begins an activity of a group. Manager.mu is held, as for all that follow.
func (g *group) newActivity(description, cause, status string, now time.Time) *activity {
	a := &activity{Activity{
		ActivityID: uuid.NewString(), Description: description, Cause: cause, StartTime: now.UTC(), StatusCode: status,
	}, true}
	g.activities = append(g.activities, a)
	return a
}

func (a *activity) goOn(status string, progress int) {
	if a != nil && a.EndTime == nil {
		a.StatusCode, a.Progress, a.dirty = status, progress, true
	}
}

func (a *activity) end(status, message string, now time.Time) {
	if a == nil || a.EndTime != nil {
		return
	}
	now = now.UTC()
	a.StatusCode, a.StatusMessage, a.Progress, a.EndTime, a.dirty = status, message, 100, &now, true
}

// unreported are the activities that have changed since they were reported.
func (g *group) unreported() []Activity {
	var all []Activity
	for _, a := range g.activities {
		if a.dirty {
			all = append(all, a.Activity)
		}
	}
	return all
}

// reported notes that a report has arrived; what has changed meanwhile goes with
// the next.
func (g *group) reported(r GroupReport) {
	for _, told := range r.Activities {
		for _, a := range g.activities {
			if a.ActivityID == told.ActivityID && a.StatusCode == told.StatusCode && a.Progress == told.Progress {
				a.dirty = false
			}
		}
	}
	g.activities = slices.DeleteFunc(g.activities, func(a *activity) bool { return !a.dirty && a.EndTime != nil })
	if g.refresh != nil && g.refresh.ended() && r.Refresh != nil && *r.Refresh == g.refresh.progress {
		g.refresh = nil
	}
}

// at begins a sentence of a cause. AWS puts two spaces between sentences.
func at(now time.Time, format string, args ...any) string {
	return "At " + now.UTC().Format(time.RFC3339) + " " + fmt.Sprintf(format, args...)
}

// because are the changes of capacity that no activity has named yet, and then sentences.
func (g *group) because(sentences ...string) string {
	var all []string
	for _, c := range g.changes {
		if !g.named[c.ID] {
			all = append(all, c.Cause)
		}
	}
	return strings.Join(append(all, sentences...), "  ")
}

// nameChanges takes the changes of capacity as named by the last activities.
func (g *group) nameChanges() {
	g.named = map[string]bool{}
	for _, c := range g.changes {
		g.named[c.ID] = true
	}
}
