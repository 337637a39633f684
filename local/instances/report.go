package instances

import (
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/loadbearing/loadbearing/local/emulator/query"
)

// FleetAPI is the fleet side of EC2 Auto Scaling that AWS keeps to itself: what
// runs goes in, what is to be done comes back. The local emulator has it as an
// action of the Auto Scaling API; nothing on AWS has.
type FleetAPI interface {
	// ReportInstances reports by name of the group. A group the emulator does not
	// know has no orders. It is ErrNoReports of an emulator without the action.
	ReportInstances(ctx context.Context, report map[string]GroupReport) (map[string]GroupOrders, error)
}

// ErrNoReports says that an emulator cannot be told what runs.
var ErrNoReports = errors.New("this emulator has no action " + reportAction)

// GroupReport is what runs of one group, and what has changed since the last report.
type GroupReport struct {
	Instances  []InstanceReport
	Activities []Activity     `json:",omitempty"` // new, or changed
	Refresh    *RefreshReport `json:",omitempty"`
}

// InstanceReport is an instance as DescribeAutoScalingInstances tells of it.
type InstanceReport struct {
	InstanceID           string `json:"InstanceId"`
	LifecycleState       string
	HealthStatus         string
	ProtectedFromScaleIn bool // when it is new; later the API's to say
	LaunchTemplate       LaunchTemplate
	Waiting              []LifecycleAction // lifecycle actions it waits for
}

// LaunchTemplate is the one an instance was launched from.
type LaunchTemplate struct {
	LaunchTemplateID   string `json:"LaunchTemplateId"`
	LaunchTemplateName string
	Version            string
}

// LifecycleAction is a hook that holds an instance.
type LifecycleAction struct {
	Hook  string
	Token string
}

// GroupOrders are what is asked of one group and stands in no description of it.
type GroupOrders struct {
	Changes   []Change      // of its desired capacity, the latest last
	Refresh   *RefreshOrder // that has not ended, or nil
	Hooks     []Hook
	Instances map[string]InstanceOrders // by id
}

// Change says who changed a desired capacity, and to what.
type Change struct {
	ID    string `json:"Id"`
	Cause string
}

// Hook is a lifecycle hook.
type Hook struct {
	Name             string
	Transition       string
	HeartbeatTimeout int // seconds
	DefaultResult    string
}

// InstanceOrders are what API calls have said of one instance.
type InstanceOrders struct {
	Completed  map[string]string    // result by hook
	Heartbeats map[string]time.Time // the latest, by hook
	Activity   *Activity            // of its termination by TerminateInstanceInAutoScalingGroup
}

// fleetClient calls the action on an Auto Scaling endpoint.
type fleetClient struct{ query.Client }

// reportAction is the action. fleet_instance.py of the emulator's extension answers it.
const reportAction = "LoadbearingReportInstances"

// newFleetClient returns nil for an account without an endpoint of its own: that is AWS.
func newFleetClient(cfg aws.Config) FleetAPI {
	if aws.ToString(cfg.BaseEndpoint) == "" {
		return nil
	}
	return fleetClient{query.Client{AWS: cfg, Service: "autoscaling", Version: "2011-01-01"}}
}

func (c fleetClient) ReportInstances(ctx context.Context, report map[string]GroupReport) (map[string]GroupOrders, error) {
	document, err := json.Marshal(report)
	if err != nil {
		return nil, fmt.Errorf("report instances: %w", err)
	}
	status, answer, err := c.Call(ctx, reportAction, "Document", document)
	if err != nil {
		return nil, fmt.Errorf("report instances: %w", err)
	}
	if status >= http.StatusBadRequest && status < http.StatusInternalServerError {
		return nil, fmt.Errorf("%w: it answers %d %s: %.300s", ErrNoReports, status, http.StatusText(status), answer)
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("report instances: %d %s: %.300s", status, http.StatusText(status), answer)
	}
	var parsed struct {
		Orders string `xml:"LoadbearingReportInstancesResult>Orders"`
	}
	if err := xml.Unmarshal(answer, &parsed); err != nil {
		return nil, fmt.Errorf("report instances: %w", err)
	}
	orders := map[string]GroupOrders{}
	if err := json.Unmarshal([]byte(parsed.Orders), &orders); err != nil {
		return nil, fmt.Errorf("report instances: the answer holds no orders: %w", err)
	}
	return orders, nil
}

// report tells what runs and returns what is asked, also of those groups that
// are deployed and not run yet. Without FleetAPI, and without the action, that
// is nothing.
func (m *Manager) report(ctx context.Context, deployed map[string]*types.AutoScalingGroup) (map[string]GroupOrders, error) {
	if m.o.API.Fleet == nil || m.mute {
		return nil, nil
	}
	m.mu.Lock()
	told := map[string]GroupReport{}
	for name := range deployed {
		told[name] = GroupReport{Instances: []InstanceReport{}}
	}
	for name, g := range m.groups {
		if !g.foreign {
			told[name] = g.report(m.o.LoadBalancer)
		}
	}
	m.mu.Unlock()
	orders, err := m.o.API.Fleet.ReportInstances(ctx, told)
	if errors.Is(err, ErrNoReports) {
		m.mute = true
		m.o.Log.Warn("instances are not listed by the Auto Scaling API, and have no lifecycle hooks nor instance refreshes", "why", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, t := range told {
		if g := m.groups[name]; g != nil {
			g.reported(t)
		}
	}
	return orders, nil
}

// report is what runs of a group. Manager.mu is held.
func (g *group) report(balancer LoadBalancer) GroupReport {
	r := GroupReport{Instances: []InstanceReport{}, Activities: g.unreported()}
	for _, i := range g.instances {
		if i.State == Terminated {
			continue
		}
		template := LaunchTemplate{Version: i.TemplateVersion}
		if i.template != nil {
			template.LaunchTemplateID = aws.ToString(i.template.LaunchTemplateId)
			template.LaunchTemplateName = aws.ToString(i.template.LaunchTemplateName)
			template.Version = cmp.Or(template.Version, aws.ToString(i.template.Version))
		}
		told := InstanceReport{
			InstanceID: i.ID, LifecycleState: i.Lifecycle, HealthStatus: healthy, ProtectedFromScaleIn: i.Protected,
			LaunchTemplate: template, Waiting: []LifecycleAction{},
		}
		if i.failed || g.replaceSick && i.unhealthy(balancer) {
			told.HealthStatus = unhealthy
		}
		for _, w := range i.waiting {
			if !w.done {
				told.Waiting = append(told.Waiting, LifecycleAction{w.hook.Name, w.token})
			}
		}
		r.Instances = append(r.Instances, told)
	}
	if g.refresh != nil {
		progress := g.refresh.progress
		r.Refresh = &progress
	}
	return r
}

// Health of an instance.
const (
	healthy   = "Healthy"
	unhealthy = "Unhealthy"
)

// unhealthy tells that one of the instance's target groups finds it unhealthy.
func (i *instance) unhealthy(balancer LoadBalancer) bool {
	return i.sick(balancer) != ""
}

// sick is the target group that finds the instance unhealthy, or "".
func (i *instance) sick(balancer LoadBalancer) string {
	if balancer == nil {
		return ""
	}
	for _, arn := range i.targetGroups {
		if balancer.Unhealthy(arn, i.ID, i.port) {
			return arn
		}
	}
	return ""
}

// serves tells that an instance is in service and healthy in all target groups of its group.
func (i *instance) serves(balancer LoadBalancer) bool {
	if i.State != InService || i.leaving != "" || i.marked {
		return false
	}
	if balancer == nil {
		return true
	}
	for _, arn := range i.targetGroups {
		if !balancer.Healthy(arn, i.ID, i.port) {
			return false
		}
	}
	return true
}

// ordered is what the API says of an instance in the description of its group.
func (i *instance) ordered(d types.Instance) {
	i.Protected = aws.ToBool(d.ProtectedFromScaleIn)
	i.marked = aws.ToString(d.HealthStatus) == unhealthy
	i.order = ""
	switch state := string(d.LifecycleState); {
	case strings.HasPrefix(state, "Terminating"), state == "EnteringStandby":
		i.order = state
	case state == "Pending" && i.State == Standby:
		i.order = state
	}
}
