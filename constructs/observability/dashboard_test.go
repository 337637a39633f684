package observability_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/observability"
)

// widget is one of a dashboard's body.
type widget struct {
	Type          string
	X, Y          int
	Width, Height int
	Properties    struct {
		Title    string
		Markdown string
		Alarms   []string
		Query    string
	}
}

// body is that of the stack's only dashboard, with text in place of what the
// deployment fills in.
func body(t *testing.T, stack awscdk.Stack) (start string, widgets []widget) {
	t.Helper()
	for _, resource := range *cdktest.Template(stack).FindResources(new("AWS::CloudWatch::Dashboard"), nil) {
		text := ""
		switch value := (*resource)["Properties"].(map[string]any)["DashboardBody"].(type) {
		case string:
			text = value
		case map[string]any:
			for _, part := range value["Fn::Join"].([]any)[1].([]any) {
				if literal, ok := part.(string); ok {
					text += literal
				} else {
					text += "token"
				}
			}
		}
		var parsed struct {
			Start   string
			Widgets []widget
		}
		require.NoError(t, json.Unmarshal([]byte(text), &parsed))
		return parsed.Start, parsed.Widgets
	}
	t.Fatal("no dashboard")
	return "", nil
}

func TestDashboardDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	d := observability.New(stack, "Dashboard", observability.Props{Name: "overview", Sections: sections(jobs(stack))})
	require.Equal(t, *d.Dashboard.DashboardName(), d.Name())
	start, widgets := body(t, stack)
	require.Equal(t, "-PT3H", start)
	require.Len(t, widgets, 6)
	require.Equal(t, "## Jobs", widgets[0].Properties.Markdown)
	require.Equal(t, "Critical alarms", widgets[1].Properties.Title)
	require.Len(t, widgets[1].Properties.Alarms, 2)
	require.Equal(t, "Warnings", widgets[2].Properties.Title)
	require.Len(t, widgets[2].Properties.Alarms, 2)
	require.Equal(t, 24, widgets[2].Width)
	require.Equal(t, 3, widgets[2].Height)
	require.Equal(t, "Jobs: messages", widgets[3].Properties.Title)
	cdktest.Template(stack).HasResourceProperties(new("AWS::CloudWatch::Dashboard"), map[string]any{"DashboardName": "overview"})
}

func TestInterval(t *testing.T) {
	stack := cdktest.Stack(t)
	observability.New(stack, "Dashboard", observability.Props{Interval: 24 * time.Hour, Sections: sections()})
	start, widgets := body(t, stack)
	require.Equal(t, "-P1D", start)
	require.Len(t, widgets, 1, "a section of nothing is a title")
}

func TestAddSectionLater(t *testing.T) {
	stack := cdktest.Stack(t)
	d := observability.New(stack, "Dashboard", observability.Props{Sections: sections()})
	d.Add(observability.Section{Title: "Later"})
	_, widgets := body(t, stack)
	require.Equal(t, "## Later", widgets[1].Properties.Markdown)
	err := cdktest.Panic[*observability.PropsError](t, func() { d.Add(observability.Section{}) })
	require.EqualError(t, err, `Test/Dashboard (observability): Section.Title is ""; allowed: text`)
}

func TestExistingDashboard(t *testing.T) {
	stack := cdktest.Stack(t)
	existing := awscloudwatch.NewDashboard(stack, new("Existing"), nil)
	observability.New(stack, "Dashboard", observability.Props{Dashboard: existing, Sections: sections(jobs(stack))})
	_, widgets := body(t, stack)
	require.Len(t, widgets, 6)
}

func TestLogQuery(t *testing.T) {
	stack := cdktest.Stack(t)
	query := observability.LogQuery{Title: "Errors", LogGroups: []string{"/app"}, Query: "filter level = 'ERROR'"}
	require.Empty(t, query.Alarms())
	observability.New(stack, "Dashboard", observability.Props{Sections: sections(query)})
	_, widgets := body(t, stack)
	require.Equal(t, "log", widgets[1].Type)
	require.Equal(t, 24, widgets[1].Width)
	require.Equal(t, "Errors", widgets[1].Properties.Title)
	require.Equal(t, "SOURCE '/app' | filter level = 'ERROR'", widgets[1].Properties.Query)
}

func TestManyAlarmsTakeSeveralWidgets(t *testing.T) {
	stack := cdktest.Stack(t)
	alarms := slices.Repeat([]awscloudwatch.IAlarm{jobs(stack).AgeAlarm}, 101)
	observability.New(stack, "Dashboard", observability.Props{Sections: sections(watched{alarms: alarms})})
	_, widgets := body(t, stack)
	require.Len(t, widgets[1].Properties.Alarms, 100)
	require.Equal(t, 27, widgets[1].Height)
	require.Len(t, widgets[2].Properties.Alarms, 1)
}

func TestTooManyWidgets(t *testing.T) {
	stack := cdktest.Stack(t)
	err := cdktest.Panic[*observability.PropsError](t, func() {
		observability.New(stack, "Dashboard", observability.Props{Sections: sections(watched{widgets: 500})})
	})
	require.EqualError(t, err, "Test/Dashboard (observability): Sections is 501; allowed: 500 widgets or fewer")
}

func TestDashboardOverride(t *testing.T) {
	stack := cdktest.Stack(t)
	observability.New(stack, "Dashboard", observability.Props{
		Sections: sections(),
		Override: func(p *awscloudwatch.DashboardProps) { p.DashboardName = new("other") },
	})
	cdktest.Template(stack).HasResourceProperties(new("AWS::CloudWatch::Dashboard"), map[string]any{"DashboardName": "other"})
}

func TestDashboardTokens(t *testing.T) {
	stack := cdktest.Stack(t)
	observability.New(stack, "Dashboard", observability.Props{Name: cdktest.Token(stack, "Name"), Sections: sections()})
	cdktest.Template(stack).HasResourceProperties(new("AWS::CloudWatch::Dashboard"), map[string]any{
		"DashboardName": map[string]any{"Ref": "Name"},
	})
}

func TestDashboardPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	some := append(make([]observability.Watched, 0, 4), jobs(stack), observability.LogQuery{LogGroups: []string{"a"}, Query: "b"})
	cdktest.Unchanged(t, observability.Props{Sections: append(make([]observability.Section, 0, 4), sections(some...)...)},
		func(p observability.Props) { observability.New(stack, "Dashboard", p) })
}

func TestDashboardValidateNamesEveryField(t *testing.T) {
	stack := cdktest.Stack(t)
	require.EqualError(t, observability.Props{Name: "no spaces", Interval: time.Second}.Validate(), `observability: 3 fields are not valid
  Name is "no spaces"; allowed: 1 to 255 letters, digits, hyphens and underscores
  Interval is 1s; allowed: 1m0s or more in whole seconds
  Sections is 0; allowed: one section or more`)
	many := make([]string, 51)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	require.EqualError(t, observability.Props{
		Dashboard: awscloudwatch.NewDashboard(stack, new("Existing"), nil), Name: "overview", Interval: time.Hour,
		Override: func(*awscloudwatch.DashboardProps) {},
		Sections: []observability.Section{{}, {Title: "Logs", Watched: []observability.Watched{
			nil, observability.LogQuery{}, observability.LogQuery{LogGroups: many, Query: "a"},
		}}},
	}.Validate(), `observability: 8 fields are not valid
  Name is "overview"; allowed: none with an existing Dashboard
  Interval is 1h0m0s; allowed: none with an existing Dashboard
  Override is "set"; allowed: none with an existing Dashboard
  Sections[0].Title is ""; allowed: text
  Sections[1].Watched[0] is "nil"; allowed: something that is watched
  Sections[1].Watched[1].LogGroups is 0; allowed: 1 to 50 log groups
  Sections[1].Watched[1].Query is ""; allowed: a query
  Sections[1].Watched[2].LogGroups is 51; allowed: 1 to 50 log groups`)
	_ = cdktest.Panic[*observability.PropsError](t, func() { observability.New(stack, "Dashboard", observability.Props{}) })
}
