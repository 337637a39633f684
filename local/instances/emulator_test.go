package instances_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/instances"
	"github.com/loadbearing/loadbearing/local/process"
)

// deployed is a group in a real emulator and the Manager that runs it.
type deployed struct {
	*running
	t      *testing.T
	api    *autoscaling.Client
	ec2    *ec2.Client
	launch string // id of the launch template
	cfg    aws.Config
	read   atomic.Int64
}

// deploy puts into an emulator what the fake cloud has: the artifact, its
// parameter, a target group, a launch template and a group that uses its latest
// version, and runs a Manager on it.
func deploy(t *testing.T, desired int32, hooks ...*autoscaling.PutLifecycleHookInput) *deployed {
	t.Helper()
	dir := t.TempDir()
	python, err := emulator.Install(t.Context(), filepath.Join("..", "..", ".cache"), func(s string) { t.Log(s) })
	require.NoError(t, err)
	e, err := emulator.Start(t.Context(), emulator.Options{Runner: &process.Runner{Dir: dir}, Python: python, RunDir: filepath.Join(dir, "emulator")})
	require.NoError(t, err)
	t.Cleanup(func() { e.Stop(context.Background()) })
	cfg := e.AWSConfig()

	c := newCloud(t, 0)
	objects := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	_, err = objects.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("artifacts")})
	require.NoError(t, err)
	_, err = objects.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("artifacts"), Key: aws.String("app"), Body: bytes.NewReader(c.artifact)})
	require.NoError(t, err)
	value, err := json.Marshal(contract.Artifact{Bucket: "artifacts", Key: "app", SHA256: c.sha256})
	require.NoError(t, err)
	_, err = ssm.NewFromConfig(cfg).PutParameter(t.Context(), &ssm.PutParameterInput{
		Name: aws.String(contract.ArtifactParameter("dev", "web", "blue")), Type: ssmtypes.ParameterTypeString, Value: aws.String(string(value)),
	})
	require.NoError(t, err)
	targets, err := elb.NewFromConfig(cfg).CreateTargetGroup(t.Context(), &elb.CreateTargetGroupInput{
		Name: aws.String("web-blue"), Port: aws.Int32(8080), Protocol: "HTTP", VpcId: aws.String("vpc-1"),
	})
	require.NoError(t, err)
	d := &deployed{t: t, cfg: cfg, api: autoscaling.NewFromConfig(cfg), ec2: ec2.NewFromConfig(cfg)}
	template, err := d.ec2.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("web-blue"), LaunchTemplateData: data("v1"),
	})
	require.NoError(t, err)
	d.launch = *template.LaunchTemplate.LaunchTemplateId
	_, err = d.api.CreateAutoScalingGroup(t.Context(), &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String(groupName), MinSize: aws.Int32(0), MaxSize: aws.Int32(5), DesiredCapacity: &desired,
		TargetGroupARNs: []string{*targets.TargetGroups[0].TargetGroupArn}, AvailabilityZones: []string{"us-east-1a", "us-east-1b"},
		LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateId: &d.launch, Version: aws.String("$Latest")},
	})
	require.NoError(t, err)
	for _, h := range hooks {
		h.AutoScalingGroupName = aws.String(groupName)
		_, err = d.api.PutLifecycleHook(t.Context(), h)
		require.NoError(t, err)
	}
	d.running = run(t, c, func(o *instances.Options) {
		o.API, o.Poll, o.Minute = instances.NewAPI(cfg), 100*time.Millisecond, time.Second
		o.API.Groups = counted{o.API.Groups, &d.read}
	})
	return d
}

// data is a version of the launch template whose instances have that version.
func data(version string, more ...string) *ec2types.RequestLaunchTemplateData {
	script := environ(append(more, "TEST_VERSION="+version)...)
	return &ec2types.RequestLaunchTemplateData{UserData: aws.String(base64.StdEncoding.EncodeToString([]byte(script)))}
}

// group describes the group.
func (d *deployed) group() types.AutoScalingGroup {
	d.t.Helper()
	out, err := d.api.DescribeAutoScalingGroups(d.t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{groupName}})
	require.NoError(d.t, err)
	require.Len(d.t, out.AutoScalingGroups, 1)
	return out.AutoScalingGroups[0]
}

// listed waits until the API lists n instances, all in a state.
func (d *deployed) listed(n int, state types.LifecycleState) []types.Instance {
	d.t.Helper()
	var listed []types.Instance
	require.Eventually(d.t, func() bool {
		listed = d.group().Instances
		for _, i := range listed {
			if i.LifecycleState != state {
				return false
			}
		}
		return len(listed) == n
	}, 20*time.Second, 10*time.Millisecond, "%v", listed)
	return listed
}

// activities are those of the group that have ended, the latest first.
func (d *deployed) activities() []types.Activity {
	d.t.Helper()
	out, err := d.api.DescribeScalingActivities(d.t.Context(), &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String(groupName)})
	require.NoError(d.t, err)
	return out.Activities
}

func TestTheAPIListsWhatRuns(t *testing.T) {
	t.Parallel()
	d := deploy(t, 2)
	listed := d.listed(2, types.LifecycleStateInService)
	running := map[string]bool{}
	for _, i := range d.in(instances.InService) {
		running[i.ID] = true
	}
	for _, i := range listed {
		require.True(t, running[*i.InstanceId], *i.InstanceId)
		require.Equal(t, "Healthy", *i.HealthStatus)
		require.Equal(t, []string{d.launch, "1"}, []string{*i.LaunchTemplate.LaunchTemplateId, *i.LaunchTemplate.Version})
		require.False(t, *i.ProtectedFromScaleIn)
	}
	require.NotEqual(t, *listed[0].AvailabilityZone, *listed[1].AvailabilityZone)
	alone, err := d.api.DescribeAutoScalingInstances(t.Context(), &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{*listed[0].InstanceId}})
	require.NoError(t, err)
	require.Len(t, alone.AutoScalingInstances, 1)
	require.Equal(t, groupName, *alone.AutoScalingInstances[0].AutoScalingGroupName)

	_, err = d.api.SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String(groupName), DesiredCapacity: aws.Int32(1)})
	require.NoError(t, err)
	left := d.listed(1, types.LifecycleStateInService)[0]
	var activities []types.Activity
	require.Eventually(t, func() bool {
		activities = d.activities()
		return len(activities) == 3 && activities[0].StatusCode == types.ScalingActivityStatusCodeSuccessful
	}, 10*time.Second, 10*time.Millisecond)
	const stamp = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`
	require.Regexp(t, `^At `+stamp+` a user request explicitly set group desired capacity changing the desired capacity from 2 to 1\.  `+
		`At `+stamp+` an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity from 2 to 1\.  `+
		`At `+stamp+` instance i-[0-9a-f]{17} was selected for termination\.$`, *activities[0].Cause)
	require.Regexp(t, "^Terminating EC2 instance: i-", *activities[0].Description)
	require.NotContains(t, *activities[0].Description, *left.InstanceId)
	require.Regexp(t, `^At `+stamp+` a user request created an AutoScalingGroup changing the desired capacity from 0 to 2\.  `+
		`At `+stamp+` an instance was started in response to a difference between desired and actual capacity, increasing the capacity from 0 to 2\.$`, *activities[2].Cause)
	for _, a := range activities {
		require.Equal(t, types.ScalingActivityStatusCodeSuccessful, a.StatusCode)
		require.Equal(t, int32(100), *a.Progress)
		require.False(t, a.EndTime.Before(*a.StartTime))
	}

	// Both sizes at once, down to nothing.
	_, err = d.api.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String(groupName), MinSize: aws.Int32(0), DesiredCapacity: aws.Int32(0),
	})
	require.NoError(t, err)
	d.listed(0, "")
}

func TestAnInstanceRefreshReplacesEveryInstance(t *testing.T) {
	t.Parallel()
	d := deploy(t, 2)
	before := d.listed(2, types.LifecycleStateInService)
	_, err := d.ec2.CreateLaunchTemplateVersion(t.Context(), &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateId: &d.launch, LaunchTemplateData: data("v2")})
	require.NoError(t, err)
	refresh := func() types.InstanceRefresh {
		t.Helper()
		out, err := d.api.DescribeInstanceRefreshes(t.Context(), &autoscaling.DescribeInstanceRefreshesInput{AutoScalingGroupName: aws.String(groupName)})
		require.NoError(t, err)
		return out.InstanceRefreshes[0]
	}
	start := &autoscaling.StartInstanceRefreshInput{AutoScalingGroupName: aws.String(groupName), Preferences: &types.RefreshPreferences{
		MinHealthyPercentage: aws.Int32(100), MaxHealthyPercentage: aws.Int32(200), InstanceWarmup: aws.Int32(0), SkipMatching: aws.Bool(false),
	}}
	started, err := d.api.StartInstanceRefresh(t.Context(), start)
	require.NoError(t, err)
	_, err = d.api.StartInstanceRefresh(t.Context(), start)
	var inProgress *types.InstanceRefreshInProgressFault
	require.ErrorAs(t, err, &inProgress)
	require.Eventually(t, func() bool { return refresh().Status == types.InstanceRefreshStatusSuccessful }, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, *started.InstanceRefreshId, *refresh().InstanceRefreshId)
	require.Equal(t, []int32{100, 0}, []int32{*refresh().PercentageComplete, *refresh().InstancesToUpdate})
	require.NotNil(t, refresh().EndTime)
	for _, i := range d.listed(2, types.LifecycleStateInService) {
		require.Equal(t, "2", *i.LaunchTemplate.Version)
		require.NotContains(t, []string{*before[0].InstanceId, *before[1].InstanceId}, *i.InstanceId)
	}

	// Instances that already have the template are skipped.
	start.Preferences.SkipMatching = aws.Bool(true)
	_, err = d.api.StartInstanceRefresh(t.Context(), start)
	require.NoError(t, err)
	after := d.group().Instances
	require.Eventually(t, func() bool { return refresh().Status == types.InstanceRefreshStatusSuccessful }, 20*time.Second, 10*time.Millisecond)
	require.ElementsMatch(t, ids(after), ids(d.group().Instances))

	// A version that never becomes ready: cancelled, with the old ones in service.
	_, err = d.ec2.CreateLaunchTemplateVersion(t.Context(), &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateId: &d.launch, LaunchTemplateData: data("v3", "TEST_NEVER_READY=1")})
	require.NoError(t, err)
	_, err = d.api.StartInstanceRefresh(t.Context(), start)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(d.group().Instances) == 4 }, 20*time.Second, 10*time.Millisecond)
	_, err = d.api.CancelInstanceRefresh(t.Context(), &autoscaling.CancelInstanceRefreshInput{AutoScalingGroupName: aws.String(groupName)})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return refresh().Status == types.InstanceRefreshStatusCancelled }, 20*time.Second, 10*time.Millisecond)
	require.ElementsMatch(t, ids(after), ids(d.listed(2, types.LifecycleStateInService)))
	_, err = d.api.CancelInstanceRefresh(t.Context(), &autoscaling.CancelInstanceRefreshInput{AutoScalingGroupName: aws.String(groupName)})
	var none *types.ActiveInstanceRefreshNotFoundFault
	require.ErrorAs(t, err, &none)
}

func ids(list []types.Instance) []string {
	var all []string
	for _, i := range list {
		all = append(all, *i.InstanceId)
	}
	return all
}

func name() *string { return aws.String(groupName) }

// lifecycle waits until an instance is in a state, "" when it is listed no more.
func (d *deployed) lifecycle(id string, state types.LifecycleState) {
	d.t.Helper()
	var is types.LifecycleState
	require.Eventually(d.t, func() bool {
		out, err := d.api.DescribeAutoScalingInstances(d.t.Context(), &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{id}})
		require.NoError(d.t, err)
		is = ""
		if len(out.AutoScalingInstances) == 1 {
			is = types.LifecycleState(*out.AutoScalingInstances[0].LifecycleState)
		}
		return is == state
	}, 20*time.Second, 5*time.Millisecond, "instance %s is %q, not %q", id, is, state)
}

// activity waits for the activity that ends with a status and whose description
// names the instance.
func (d *deployed) activity(description string, status types.ScalingActivityStatusCode) types.Activity {
	d.t.Helper()
	var found types.Activity
	require.Eventually(d.t, func() bool {
		for _, a := range d.activities() {
			if *a.Description == description && a.StatusCode == status {
				found = a
				return true
			}
		}
		return false
	}, 20*time.Second, 10*time.Millisecond, "no %s activity %q", status, description)
	return found
}

func TestInstancesDoWhatTheAPIAsks(t *testing.T) {
	t.Parallel()
	d := deploy(t, 3)
	listed := ids(d.listed(3, types.LifecycleStateInService))

	// Terminated and replaced; terminated for good.
	answer, err := d.api.TerminateInstanceInAutoScalingGroup(t.Context(), &autoscaling.TerminateInstanceInAutoScalingGroupInput{
		InstanceId: &listed[0], ShouldDecrementDesiredCapacity: aws.Bool(false),
	})
	require.NoError(t, err)
	done := d.activity("Terminating EC2 instance: "+listed[0], types.ScalingActivityStatusCodeSuccessful)
	require.Equal(t, *answer.Activity.ActivityId, *done.ActivityId)
	require.Regexp(t, "^At .* instance "+listed[0]+` was taken out of service in response to a user request\.$`, *done.Cause)
	require.NotContains(t, ids(d.listed(3, types.LifecycleStateInService)), listed[0])
	_, err = d.api.TerminateInstanceInAutoScalingGroup(t.Context(), &autoscaling.TerminateInstanceInAutoScalingGroupInput{
		InstanceId: &listed[1], ShouldDecrementDesiredCapacity: aws.Bool(true),
	})
	require.NoError(t, err)
	done = d.activity("Terminating EC2 instance: "+listed[1], types.ScalingActivityStatusCodeSuccessful)
	require.Contains(t, *done.Cause, "in response to a user request, shrinking the capacity from 3 to 2.")
	left := ids(d.listed(2, types.LifecycleStateInService))
	require.NotContains(t, left, listed[1])
	require.Contains(t, left, listed[2])
	launched := len(d.Instances())

	// Protected from scale-in: of two, the other goes; of one, none.
	_, err = d.api.SetInstanceProtection(t.Context(), &autoscaling.SetInstanceProtectionInput{
		AutoScalingGroupName: name(), InstanceIds: []string{listed[2]}, ProtectedFromScaleIn: aws.Bool(true),
	})
	require.NoError(t, err)
	desire := func(n int32) {
		_, err := d.api.SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: name(), DesiredCapacity: &n})
		require.NoError(t, err)
	}
	desire(1)
	require.Equal(t, []string{listed[2]}, ids(d.listed(1, types.LifecycleStateInService)))
	desire(0)
	stuck := d.activity("Terminating EC2 instances", types.ScalingActivityStatusCodeCancelled)
	require.Equal(t, "Could not scale to desired capacity because all remaining instances are protected from scale-in.", *stuck.StatusMessage)
	require.Equal(t, []string{listed[2]}, ids(d.listed(1, types.LifecycleStateInService)))
	require.Len(t, d.Instances(), launched, "none was launched meanwhile")
	desire(1)

	// Standby and back.
	_, err = d.api.EnterStandby(t.Context(), &autoscaling.EnterStandbyInput{AutoScalingGroupName: name(), InstanceIds: []string{listed[2]}, ShouldDecrementDesiredCapacity: aws.Bool(true)})
	require.NoError(t, err)
	d.lifecycle(listed[2], types.LifecycleStateStandby)
	require.Equal(t, int32(0), *d.group().DesiredCapacity)
	require.Len(t, d.in(instances.Standby), 1)
	_, err = d.api.ExitStandby(t.Context(), &autoscaling.ExitStandbyInput{AutoScalingGroupName: name(), InstanceIds: []string{listed[2]}})
	require.NoError(t, err)
	d.lifecycle(listed[2], types.LifecycleStateInService)
	require.Equal(t, int32(1), *d.group().DesiredCapacity)
	require.Len(t, d.Instances(), launched, "none was launched meanwhile")

	// Set unhealthy, with the replacement suspended at first.
	_, err = d.api.SuspendProcesses(t.Context(), &autoscaling.SuspendProcessesInput{AutoScalingGroupName: name(), ScalingProcesses: []string{"ReplaceUnhealthy"}})
	require.NoError(t, err)
	require.Equal(t, "ReplaceUnhealthy", *d.group().SuspendedProcesses[0].ProcessName)
	_, err = d.api.SetInstanceHealth(t.Context(), &autoscaling.SetInstanceHealthInput{InstanceId: &listed[2], HealthStatus: aws.String("Unhealthy")})
	require.NoError(t, err)
	d.readings(5)
	require.Equal(t, "Unhealthy", *d.listed(1, types.LifecycleStateInService)[0].HealthStatus)
	_, err = d.api.ResumeProcesses(t.Context(), &autoscaling.ResumeProcessesInput{AutoScalingGroupName: name()})
	require.NoError(t, err)
	done = d.activity("Terminating EC2 instance: "+listed[2], types.ScalingActivityStatusCodeSuccessful)
	require.Contains(t, *done.Cause, "an instance was taken out of service in response to a user health-check.")
	next := d.listed(1, types.LifecycleStateInService)[0]
	require.Contains(t, *d.activity("Launching a new EC2 instance: "+*next.InstanceId, types.ScalingActivityStatusCodeSuccessful).Cause,
		"an instance was launched in response to an unhealthy instance needing to be replaced.")

	// Nothing is launched while that is suspended.
	_, err = d.api.SuspendProcesses(t.Context(), &autoscaling.SuspendProcessesInput{AutoScalingGroupName: name(), ScalingProcesses: []string{"Launch"}})
	require.NoError(t, err)
	desire(2)
	d.readings(5)
	d.listed(1, types.LifecycleStateInService)
	_, err = d.api.ResumeProcesses(t.Context(), &autoscaling.ResumeProcessesInput{AutoScalingGroupName: name(), ScalingProcesses: []string{"Launch"}})
	require.NoError(t, err)
	d.listed(2, types.LifecycleStateInService)
}

func TestLifecycleHooksHoldInstances(t *testing.T) {
	t.Parallel()
	d := deploy(t, 1,
		&autoscaling.PutLifecycleHookInput{LifecycleHookName: aws.String(contract.HookBoot), LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_LAUNCHING")},
		&autoscaling.PutLifecycleHookInput{LifecycleHookName: aws.String("warm"), LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_LAUNCHING")},
		&autoscaling.PutLifecycleHookInput{LifecycleHookName: aws.String(contract.HookDrain), LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_TERMINATING"), HeartbeatTimeout: aws.Int32(30)},
		&autoscaling.PutLifecycleHookInput{LifecycleHookName: aws.String("backup"), LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_TERMINATING"), DefaultResult: aws.String("CONTINUE"), HeartbeatTimeout: aws.Int32(2)},
	)
	events := d.lifecycleEvents()
	id := *d.listed(1, types.LifecycleStatePendingWait)[0].InstanceId
	complete := func(hook, result string) error {
		_, err := d.api.CompleteLifecycleAction(t.Context(), &autoscaling.CompleteLifecycleActionInput{
			AutoScalingGroupName: name(), LifecycleHookName: &hook, InstanceId: &id, LifecycleActionResult: &result,
		})
		return err
	}
	require.ErrorContains(t, complete("backup", "CONTINUE"), "No active Lifecycle Action found with instance ID "+id)
	require.ErrorContains(t, complete("warm", "PERHAPS"), "must be CONTINUE or ABANDON")
	require.NoError(t, complete("warm", "ABANDON"))
	d.lifecycle(id, "")
	require.Contains(t, *d.activity("Launching a new EC2 instance: "+id, types.ScalingActivityStatusCodeFailed).StatusMessage, "lifecycle action abandoned by hook warm: ABANDON")
	var next types.Instance
	require.Eventually(t, func() bool {
		listed := d.group().Instances
		if len(listed) != 1 || *listed[0].InstanceId == id {
			return false
		}
		next = listed[0]
		return next.LifecycleState == types.LifecycleStatePendingWait
	}, 20*time.Second, 10*time.Millisecond)
	id = *next.InstanceId
	d.readings(3)
	d.lifecycle(id, types.LifecycleStatePendingWait) // also once it is ready: one hook is left
	require.NoError(t, complete("warm", "CONTINUE"))
	d.lifecycle(id, types.LifecycleStateInService)

	// The drain hook ends with the process, the other with its heartbeat timeout,
	// two seconds after the last heartbeat.
	_, err := d.api.SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: name(), DesiredCapacity: aws.Int32(0)})
	require.NoError(t, err)
	d.lifecycle(id, types.LifecycleStateTerminatingWait)
	require.Eventually(t, func() bool { return complete(contract.HookDrain, "CONTINUE") != nil }, 10*time.Second, 10*time.Millisecond, "the process has ended, and with it the hook")
	_, err = d.api.RecordLifecycleActionHeartbeat(t.Context(), &autoscaling.RecordLifecycleActionHeartbeatInput{AutoScalingGroupName: name(), LifecycleHookName: aws.String("backup"), InstanceId: &id})
	require.NoError(t, err)
	beat := time.Now()
	d.lifecycle(id, "")
	require.Greater(t, time.Since(beat), 1900*time.Millisecond)
	d.logs(t, "lifecycle hook timed out", "hook=backup", "result=CONTINUE")

	told := map[string]bool{}
	require.Eventually(t, func() bool {
		for _, e := range events() {
			require.Equal(t, groupName, e.Detail.AutoScalingGroupName)
			require.NotEmpty(t, e.Detail.LifecycleActionToken)
			told[e.Type+" "+e.Detail.EC2InstanceID+" "+e.Detail.LifecycleHookName] = true
		}
		return told["EC2 Instance-terminate Lifecycle Action "+id+" backup"] && told["EC2 Instance-terminate Lifecycle Action "+id+" drain"] &&
			told["EC2 Instance-launch Lifecycle Action "+id+" warm"]
	}, 20*time.Second, 50*time.Millisecond, "%v", told)
}

// lifecycleEvent is what EventBridge has of a lifecycle action.
type lifecycleEvent struct {
	Type   string `json:"detail-type"`
	Detail struct {
		AutoScalingGroupName, LifecycleActionToken, LifecycleHookName string
		EC2InstanceID                                                 string `json:"EC2InstanceId"`
	}
}

// lifecycleEvents deploys a rule with a queue and returns what reads it.
func (d *deployed) lifecycleEvents() func() []lifecycleEvent {
	d.t.Helper()
	stacks := cloudformation.NewFromConfig(d.cfg)
	_, err := stacks.CreateStack(d.t.Context(), &cloudformation.CreateStackInput{StackName: aws.String("events"), TemplateBody: aws.String(`{
		"Resources": {
			"Queue": {"Type": "AWS::SQS::Queue"},
			"Rule": {"Type": "AWS::Events::Rule", "Properties": {
				"EventPattern": {"source": ["aws.autoscaling"]}, "Targets": [{"Id": "queue", "Arn": {"Fn::GetAtt": ["Queue", "Arn"]}}]
			}}
		},
		"Outputs": {"Queue": {"Value": {"Ref": "Queue"}}}
	}`)})
	require.NoError(d.t, err)
	created, err := cloudformation.NewStackCreateCompleteWaiter(stacks, func(o *cloudformation.StackCreateCompleteWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second
	}).WaitForOutput(d.t.Context(), &cloudformation.DescribeStacksInput{StackName: aws.String("events")}, time.Minute)
	require.NoError(d.t, err)
	queue, api := created.Stacks[0].Outputs[0].OutputValue, sqs.NewFromConfig(d.cfg)
	return func() []lifecycleEvent {
		out, err := api.ReceiveMessage(d.t.Context(), &sqs.ReceiveMessageInput{QueueUrl: queue, MaxNumberOfMessages: 10})
		require.NoError(d.t, err)
		var events []lifecycleEvent
		for _, m := range out.Messages {
			var e lifecycleEvent
			require.NoError(d.t, json.Unmarshal([]byte(*m.Body), &e))
			events = append(events, e)
		}
		return events
	}
}

// readings waits until the group has been read so many times more, whose
// outcome is that nothing changes.
func (d *deployed) readings(n int) {
	d.t.Helper()
	from := d.read.Load()
	require.Eventually(d.t, func() bool { return d.read.Load() >= from+int64(n) }, 20*time.Second, 5*time.Millisecond)
}

// counted counts how often the groups are read.
type counted struct {
	instances.GroupAPI
	read *atomic.Int64
}

func (c counted) DescribeAutoScalingGroups(ctx context.Context, in *autoscaling.DescribeAutoScalingGroupsInput, o ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
	defer c.read.Add(1)
	return c.GroupAPI.DescribeAutoScalingGroups(ctx, in, o...)
}
