package observability

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/interfaces/interfacesawscloudwatch"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Section is a part of the dashboard. Title and Watched are required.
type Section struct {
	// Title stands above the section.
	Title string

	// Watched is what the section shows, in this order.
	Watched []Watched
}

// Props configures a Dashboard. Sections are required; everything else has a
// default.
type Props struct {
	// Name of the dashboard, 1 to 255 letters, digits, hyphens and underscores.
	// Default a name CloudFormation generates.
	Name string

	// Dashboard is one that was made elsewhere in this app; the sections come after
	// what it has. Default one is made.
	Dashboard awscloudwatch.Dashboard

	// Sections from top to bottom, each a title, the state of its critical alarms
	// and of its warnings, and a widget or more for everything watched.
	Sections []Section

	// Interval is the time range at the start, a minute or more in whole seconds.
	// Default 3 h.
	Interval time.Duration

	// Override has the last word on the dashboard.
	Override func(*awscloudwatch.DashboardProps)
}

// Dashboard is one page for an environment.
type Dashboard struct {
	constructs.Construct
	Dashboard awscloudwatch.Dashboard

	widgets int
}

// Limits of a dashboard and of its alarm status widget, from the CloudWatch user
// guide ("CloudWatch service quotas", "Dashboard body structure").
const (
	maxWidgets     = 500
	maxAlarmStatus = 100
	dashboardWidth = 24
)

var dashboardName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	var bad cdkx.Problems
	if p.Name != "" {
		cdkx.Matches(&bad, "Name", p.Name, dashboardName, "1 to 255 letters, digits, hyphens and underscores")
	}
	if p.Interval != 0 {
		bad.Check(p.Interval >= time.Minute && p.Interval%time.Second == 0, "Interval", p.Interval, "1m0s or more in whole seconds")
	}
	if p.Dashboard != nil {
		bad.Check(p.Name == "", "Name", p.Name, "none with an existing Dashboard")
		bad.Check(p.Interval == 0, "Interval", p.Interval, "none with an existing Dashboard")
		bad.Check(p.Override == nil, "Override", "set", "none with an existing Dashboard")
	}
	bad.Check(len(p.Sections) > 0, "Sections", len(p.Sections), "one section or more")
	for i, section := range p.Sections {
		bad.Merge(fmt.Sprintf("Sections[%d]", i), section.Validate())
	}
	return bad.Err("observability")
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (s Section) Validate() error {
	var bad cdkx.Problems
	bad.Check(s.Title != "", "Title", s.Title, "text")
	checkWatched(&bad, func(i int) string { return fmt.Sprintf("Watched[%d]", i) }, s.Watched)
	return bad.Err("observability")
}

// New makes a Dashboard. It panics with a *PropsError when props are not valid.
func New(scope constructs.Construct, id string, props Props) *Dashboard {
	cdkx.Must(scope, id, "observability", props.Validate())
	d := &Dashboard{Dashboard: props.Dashboard}
	constructs.NewConstruct_Override(d, scope, &id)
	if d.Dashboard == nil {
		if props.Interval == 0 {
			props.Interval = 3 * time.Hour
		}
		d.Dashboard = awscloudwatch.NewDashboard(d, new("Dashboard"), cdkx.Override(&awscloudwatch.DashboardProps{
			DashboardName:   cdkx.Optional(props.Name),
			DefaultInterval: cdkx.Duration(props.Interval),
		}, props.Override))
	}
	for _, section := range props.Sections {
		d.add(section)
	}
	return d
}

// Name of the dashboard.
func (d *Dashboard) Name() string { return *d.Dashboard.DashboardName() }

// Add appends a section. It panics with a *PropsError when the section is not
// valid, or the dashboard then has more widgets than CloudWatch allows.
func (d *Dashboard) Add(section Section) {
	var bad cdkx.Problems
	bad.Merge("Section", section.Validate())
	if err, ok := errors.AsType[*PropsError](bad.Err("observability")); ok {
		panic(&PropsError{Construct: "observability", Path: *d.Node().Path(), Problems: err.Problems})
	}
	d.add(section)
}

func (d *Dashboard) add(section Section) {
	d.addRow(awscloudwatch.NewTextWidget(&awscloudwatch.TextWidgetProps{
		Markdown:   new("## " + section.Title),
		Width:      cdkx.Number(dashboardWidth),
		Height:     cdkx.Number(1),
		Background: awscloudwatch.TextWidgetBackground_TRANSPARENT,
	}))
	var critical, warnings []interfacesawscloudwatch.IAlarmRef
	var widgets []awscloudwatch.IWidget
	for _, each := range section.Watched {
		for _, alarm := range each.Alarms() {
			if SeverityOf(alarm) == Warning {
				warnings = append(warnings, alarm)
			} else {
				critical = append(critical, alarm)
			}
		}
		widgets = append(widgets, each.Widgets()...)
	}
	d.addAlarms("Critical alarms", critical)
	d.addAlarms("Warnings", warnings)
	if len(widgets) > 0 {
		d.addRow(widgets...)
	}
}

func (d *Dashboard) addAlarms(title string, alarms []interfacesawscloudwatch.IAlarmRef) {
	for len(alarms) > 0 {
		some := alarms[:min(len(alarms), maxAlarmStatus)]
		alarms = alarms[len(some):]
		d.addRow(awscloudwatch.NewAlarmStatusWidget(&awscloudwatch.AlarmStatusWidgetProps{
			Alarms: &some,
			Title:  &title,
			Width:  cdkx.Number(dashboardWidth),
			Height: cdkx.Number(alarmStatusHeight(len(some))),
		}))
	}
}

func (d *Dashboard) addRow(widgets ...awscloudwatch.IWidget) {
	d.widgets += len(widgets)
	if d.widgets > maxWidgets {
		panic(&PropsError{Construct: "observability", Path: *d.Node().Path(), Problems: []cdkx.FieldError{
			{Field: "Sections", Value: d.widgets, Allowed: fmt.Sprintf("%d widgets or fewer", maxWidgets)},
		}})
	}
	d.Dashboard.AddWidgets(widgets...)
}

// alarmStatusHeight is two rows for the frame and one for every four alarms.
func alarmStatusHeight(alarms int) int { return 2 + (alarms+3)/4 }
