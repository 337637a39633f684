package fleet_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
)

func TestValidateNamesEveryField(t *testing.T) {
	err := fleet.Props{
		Environment:            "Dev",
		Fleet:                  "web",
		Color:                  "",
		Command:                "serve; reboot",
		ArtifactPath:           "/no/such/file",
		GroupName:              "a group",
		InstanceType:           "large",
		InstanceTypes:          []string{"medium", "t3.small", "t3.small", "c7g.large"},
		SpotPercent:            101,
		OnDemandBase:           -1,
		WarmPool:               fleet.WarmPool{MinSize: -1, MaxPrepared: 2, State: "Frozen"},
		MinCapacity:            4,
		DesiredCapacity:        3,
		MaxCapacity:            2,
		BatchSize:              -1,
		MinSuccessPercent:      101,
		ConnectionsPerInstance: -1,
		RequestsPerInstance:    100,
		CPUPercent:             91,
		Backlog:                fleet.Backlog{PerInstance: 10},
		InstanceWarmup:         2 * time.Hour,
		MaxInstanceLifetime:    time.Hour,
		MaxCPUPercent:          101,
		MaxMemoryPercent:       -1,
		MaxDiskPercent:         1000,
		VolumeGiB:              4,
		BootTimeout:            time.Hour,
		HealthCheckGrace:       -time.Second,
		DrainTimeout:           1500 * time.Millisecond,
		Variables:              map[string]string{"A B": "1", "LOADBEARING_ENV": "prod", "LOADBEARING_INSTANCE_ID": "i-1", "LINES": "a\nb"},
		CABundleURL:            "http://example.com/ca.pem",
	}.Validate()
	require.EqualError(t, err, `fleet: 37 fields are not valid
  VPC is "nil"; allowed: a VPC
  Environment is "Dev"; allowed: 1 to 32 lower-case letters, digits and hyphens, a letter first
  Color is ""; allowed: 1 to 32 lower-case letters, digits and hyphens, a letter first
  Command is "serve; reboot"; allowed: 1 to 32 lower-case letters, digits and hyphens, a letter first
  GroupName is "a group"; allowed: 1 to 255 letters, digits, dots, slashes, hyphens and underscores
  InstanceType is "large"; allowed: an EC2 instance type such as c7g.large
  InstanceTypes[0] is "medium"; allowed: an EC2 instance type such as c7g.large
  InstanceTypes[2] is "t3.small"; allowed: each type once, InstanceType too
  SpotPercent is 101; allowed: 0 to 100
  OnDemandBase is -1; allowed: 0 to 2 (MaxCapacity)
  WarmPool.State is "Frozen"; allowed: Stopped, Hibernated, Running
  WarmPool.MinSize is -1; allowed: 0 or more
  WarmPool.MaxPrepared is 2; allowed: 0, or 3 (DesiredCapacity) or more, and at least 1
  SpotPercent is 101; allowed: 0 with a WarmPool, which holds no Spot instances
  ArtifactPath is "/no/such/file"; allowed: the path of a file that exists: the built program; or Source
  DesiredCapacity is 3; allowed: 4 (MinCapacity) or more, and at least 1
  MaxCapacity is 2; allowed: 3 (DesiredCapacity) or more, and at least 1
  BatchSize is -1; allowed: 1 to 2 (MaxCapacity)
  MinSuccessPercent is 101; allowed: 1 to 100
  ConnectionsPerInstance is -1; allowed: 0 or more
  RequestsPerInstance is 100; allowed: 0 without a TargetGroup, which counts the requests
  CPUPercent is 91; allowed: 0, or 10 to 90
  Backlog.PerInstance is 10; allowed: 0 without a Queue
  InstanceWarmup is 2h0m0s; allowed: 1s to 1h0m0s in whole seconds
  MaxInstanceLifetime is 1h0m0s; allowed: 0, or 24h0m0s to 8760h0m0s in whole seconds
  MaxCPUPercent is 101; allowed: 1 to 100
  MaxMemoryPercent is -1; allowed: 1 to 100
  MaxDiskPercent is 1000; allowed: 1 to 100
  VolumeGiB is 4; allowed: 8 to 16384
  BootTimeout is 1h0m0s; allowed: 1m0s to 50m0s in whole seconds
  HealthCheckGrace is -1s; allowed: 0s to 2h0m0s in whole seconds
  DrainTimeout is 1.5s; allowed: 30s to 1h0m0s in whole seconds
  Variables[A B] is "1"; allowed: a name of letters, digits and underscores that the fleet does not set itself
  Variables[LINES] is "a\nb"; allowed: a value without line break, quote, backslash or space at its ends
  Variables[LOADBEARING_ENV] is "prod"; allowed: a name of letters, digits and underscores that the fleet does not set itself
  Variables[LOADBEARING_INSTANCE_ID] is "i-1"; allowed: a name of letters, digits and underscores that the fleet does not set itself
  CABundleURL is "http://example.com/ca.pem"; allowed: an https address`)
}

func TestValidateSchedule(t *testing.T) {
	_, props := setup(t)
	props.Schedule = []fleet.ScheduledFloor{
		{Name: "Early morning", Cron: "every day", TimeZone: "somewhere else", Min: 7},
		{Name: "Noon", Cron: "0 12 * * *"},
		{Name: "Noon", Cron: "0 12 * * *", Min: -1, Max: 4, Desired: 5},
		{Name: "Night", Cron: "0 22 * * *", Min: 3, Desired: 2},
	}
	require.EqualError(t, props.Validate(), `fleet: 9 fields are not valid
  Schedule[0].Name is "Early morning"; allowed: 1 to 64 letters and digits, a letter first, unique in the fleet
  Schedule[0].Cron is "every day"; allowed: five fields such as 0 7 * * MON-FRI
  Schedule[0].TimeZone is "somewhere else"; allowed: a time zone such as Europe/Berlin
  Schedule[0].Min is 7; allowed: 6 (the maximum then) or fewer
  Schedule[1].Min is 0; allowed: 1 or more, unless Max or Desired is
  Schedule[2].Name is "Noon"; allowed: 1 to 64 letters and digits, a letter first, unique in the fleet
  Schedule[2].Min is -1; allowed: 0 or more
  Schedule[2].Desired is 5; allowed: 0, or 2 to 4 (the bounds then)
  Schedule[3].Desired is 2; allowed: 0, or 3 to 6 (the bounds then)`)
}

func TestValidateStandby(t *testing.T) {
	_, props := setup(t)
	props.Standby, props.MinCapacity, props.DesiredCapacity = true, 1, 1
	require.EqualError(t, props.Validate(), `fleet: 2 fields are not valid
  MinCapacity is 1; allowed: 0 with Standby
  DesiredCapacity is 1; allowed: 0 with Standby`)
}

func TestValidateWarmPoolWithSpot(t *testing.T) {
	_, props := setup(t)
	props.WarmPool.MinSize, props.InstanceTypes = 1, []string{"c6g.large"}
	require.NoError(t, props.Validate())
	props.SpotPercent = 1
	require.EqualError(t, props.Validate(), "fleet: SpotPercent is 1; allowed: 0 with a WarmPool, which holds no Spot instances")
}

func TestValidateBacklog(t *testing.T) {
	stack, props := setup(t)
	props.Backlog.Queue = awssqs.NewQueue(stack, new("Jobs"), nil)
	require.EqualError(t, props.Validate(), "fleet: Backlog.PerInstance is 0; allowed: 1 or more")
}

func TestValidateAnotherProcessor(t *testing.T) {
	_, props := setup(t)
	props.InstanceTypes = []string{"m7g.large", "c7i.large"}
	require.EqualError(t, props.Validate(),
		`fleet: InstanceTypes[1] is "c7i.large"; allowed: a type for arm64, as c7g.large is: all instances run the same program`)
}

func TestValidateTooManyTypes(t *testing.T) {
	_, props := setup(t)
	for _, family := range []string{"c6g", "m6g", "r6g", "t4g", "c7gn"} {
		for _, size := range []string{"medium", "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge"} {
			props.InstanceTypes = append(props.InstanceTypes, family+"."+size)
		}
	}
	require.EqualError(t, props.Validate(), `fleet: InstanceTypes is "40 types"; allowed: 39 or fewer`)
}

func TestValidateUserDataLimit(t *testing.T) {
	_, props := setup(t)
	props.Variables = map[string]string{"MUCH": strings.Repeat("x", 16<<10)}
	require.ErrorContains(t, props.Validate(), `bytes of user data"; allowed: what keeps the user data at 16384 bytes or fewer`)
}

// TestTokens are texts that only the deployment knows.
func TestTokens(t *testing.T) {
	stack, props := setup(t)
	props.InstanceType = cdktest.Token(stack, "Type")
	require.ErrorContains(t, props.Validate(), "fleet: ImageParameter is \"\"; allowed: the image's parameter: InstanceType is a token")

	props.ImageParameter = "/images/arm64"
	props.InstanceTypes = []string{cdktest.Token(stack, "Other")}
	props.CABundleURL = cdktest.Token(stack, "Roots")
	props.Variables = map[string]string{"UPSTREAM": cdktest.Token(stack, "Upstream")}
	props.Schedule = []fleet.ScheduledFloor{{Name: "A", Cron: cdktest.Token(stack, "Cron"), TimeZone: cdktest.Token(stack, "Zone"), Min: 3}}
	fleet.New(stack, "Worker", props)
	template := cdktest.Template(stack)
	has(template, "AWS::EC2::LaunchTemplate", map[string]any{
		"LaunchTemplateData": like(map[string]any{"InstanceType": map[string]any{"Ref": "Type"}}),
	})
	has(template, "AWS::AutoScaling::ScheduledAction", map[string]any{
		"Recurrence": map[string]any{"Ref": "Cron"}, "TimeZone": map[string]any{"Ref": "Zone"},
	})
	text := userData(t, stack)
	require.Contains(t, text, `UPSTREAM={"Ref":"Upstream"}`)
	require.Contains(t, text, `--output /etc/loadbearing/ca.pem '{"Ref":"Roots"}'`)
}
