package fleet

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsautoscaling"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// Props configures a Fleet. VPC, Environment, Fleet, Color, Command and
// ArtifactPath are required; everything else has a production default.
type Props struct {
	// VPC holds the instances, in its private subnets with egress.
	VPC awsec2.IVpc

	// Environment, Fleet and Color name the group: "prod", "web", "blue".
	// Lower-case letters, digits and hyphens, 32 characters at most.
	Environment string
	Fleet       string
	Color       string

	// Command is the program's subcommand: "serve" or "work".
	Command string

	// ArtifactPath is the program: one static Linux binary on the machine that
	// synthesizes. It is uploaded as an asset.
	ArtifactPath string

	// GroupName names the Auto Scaling group. Default:
	// loadbearing-<Environment>-<Fleet>-<Color>.
	GroupName string

	// InstanceType is an EC2 instance type, which also decides the processor
	// the artifact has to be built for. Default c7g.large (arm64).
	InstanceType string

	// ImageParameter is the public SSM parameter that holds the image's id,
	// read at each deployment. Default: Amazon Linux 2023 with its default
	// kernel, for the processor of InstanceType. Another image needs systemd,
	// the AWS CLI, python3 and aws-cfn-bootstrap.
	ImageParameter string

	// MinCapacity, MaxCapacity and DesiredCapacity bound the group. Defaults 2,
	// three times DesiredCapacity, and MinCapacity. They count at the first
	// deployment and whenever they change here; in between, scaling policies and
	// the release controller own the group's size.
	MinCapacity     int
	MaxCapacity     int
	DesiredCapacity int

	// Standby starts the group empty, as the idle color of a pair: minimum and
	// desired capacity are 0 until a release needs it.
	Standby bool

	// TargetGroup receives the instances, decides their health and when their
	// boot has succeeded. Default none, for a fleet that takes no requests: then
	// EC2 status checks decide the health, and the program's own readiness on
	// the loopback address the boot.
	TargetGroup awselasticloadbalancingv2.ApplicationTargetGroup

	// SecurityGroup of the instances, which admits the load balancer of
	// TargetGroup. Default: a new one with all egress and no other ingress.
	SecurityGroup awsec2.ISecurityGroup

	// MemberOf are further security groups the instances belong to, such as one
	// that a database lets in. The load balancer is not admitted to them.
	MemberOf []awsec2.ISecurityGroup

	// Role of the instances. Default: a new one. Either way it may use Session
	// Manager, read this fleet's artifact and its parameter, and nothing else
	// until the caller grants it.
	Role awsiam.IRole

	// Variables are further lines of the program's environment. A value has no
	// line break, quote or backslash, which systemd would interpret.
	Variables map[string]string

	// CABundleURL is an https address of PEM roots that instances fetch at boot
	// and name to the program in LOADBEARING_CA_FILE, such as
	// https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem.
	// Default none.
	CABundleURL string

	// VolumeGiB is the size of the encrypted gp3 root volume. Default 20.
	// Amazon Linux 2023 needs 8, and gp3 ends at 16384.
	VolumeGiB int

	// NoDetailedMonitoring has EC2 metrics every five minutes instead of
	// every minute, which costs less and slows scaling on CPU.
	NoDetailedMonitoring bool

	// BootTimeout is how long an instance may take from the start of its user
	// data until it serves. Default 5 minutes; 1 to 50 minutes, because an
	// update waits one minute more and CloudFormation's PauseTime ends at one hour.
	BootTimeout time.Duration

	// HealthCheckGrace is how long after its launch an instance is not judged
	// by its target group. Default 2 minutes; 0 to 2 hours.
	HealthCheckGrace time.Duration

	// DrainTimeout is how long the program may take to finish what it has begun
	// once its instance is to be terminated. Default 2 minutes; 30 seconds to
	// 1 hour. It should not be shorter than the target group's deregistration delay.
	DrainTimeout time.Duration

	// BatchSize is how many instances an update replaces at once. Default 1.
	BatchSize int

	// MinSuccessPercent is how many of the instances of a creation or update
	// have to signal success. Default 100; 1 to 100.
	MinSuccessPercent int

	// Override and its siblings have the last word on the group and on what it is
	// made of. The names of group, hook and parameter also stand in the user data
	// and the role: change those through the fields above.
	Override               func(*awsautoscaling.AutoScalingGroupProps)
	OverrideLaunchTemplate func(*awsec2.LaunchTemplateProps)
	OverrideRole           func(*awsiam.RoleProps)
	OverrideParameter      func(*awsssm.StringParameterProps)
	OverrideDrainHook      func(*awsautoscaling.BasicLifecycleHookProps)
}

var (
	namePattern     = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	groupPattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$`)
	instancePattern = regexp.MustCompile(`^[a-z][a-z0-9-]*\.[a-z0-9-]+$`)
	variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// Validate returns an error that names every field with a value that is not
// allowed, or nil.
func (p Props) Validate() error {
	p = p.withDefaults()
	var bad cdkx.Problems
	bad.Check(p.VPC != nil, "VPC", "nil", "a VPC")
	for _, name := range []struct{ field, value string }{
		{"Environment", p.Environment}, {"Fleet", p.Fleet}, {"Color", p.Color}, {"Command", p.Command},
	} {
		bad.Check(namePattern.MatchString(name.value), name.field, name.value,
			"1 to 32 lower-case letters, digits and hyphens, a letter first")
	}
	bad.Check(groupPattern.MatchString(p.GroupName), "GroupName", p.GroupName,
		"1 to 255 letters, digits, dots, slashes, hyphens and underscores")
	bad.Check(instancePattern.MatchString(p.InstanceType), "InstanceType", p.InstanceType,
		"an EC2 instance type such as c7g.large")
	if info, err := os.Stat(p.ArtifactPath); err != nil || !info.Mode().IsRegular() {
		bad.Add("ArtifactPath", p.ArtifactPath, "the path of a file that exists: the built program")
	}

	if p.Standby {
		bad.Check(p.MinCapacity == 0, "MinCapacity", p.MinCapacity, "0 with Standby")
		bad.Check(p.DesiredCapacity == 0, "DesiredCapacity", p.DesiredCapacity, "0 with Standby")
	} else {
		cdkx.AtLeast(&bad, "MinCapacity", p.MinCapacity, 0)
		bad.Check(p.DesiredCapacity >= max(p.MinCapacity, 1), "DesiredCapacity", p.DesiredCapacity,
			fmt.Sprintf("%d (MinCapacity) or more, and at least 1", p.MinCapacity))
	}
	bad.Check(p.MaxCapacity >= max(p.DesiredCapacity, 1), "MaxCapacity", p.MaxCapacity,
		fmt.Sprintf("%d (DesiredCapacity) or more, and at least 1", p.DesiredCapacity))
	bad.Check(p.BatchSize >= 1 && p.BatchSize <= max(p.MaxCapacity, 1), "BatchSize", p.BatchSize,
		fmt.Sprintf("1 to %d (MaxCapacity)", p.MaxCapacity))
	cdkx.Between(&bad, "MinSuccessPercent", p.MinSuccessPercent, 1, 100)

	cdkx.Between(&bad, "VolumeGiB", p.VolumeGiB, 8, 16384)
	cdkx.WholeSeconds(&bad, "BootTimeout", p.BootTimeout, time.Minute, 50*time.Minute)
	cdkx.WholeSeconds(&bad, "HealthCheckGrace", p.HealthCheckGrace, 0, 2*time.Hour)
	cdkx.WholeSeconds(&bad, "DrainTimeout", p.DrainTimeout, 30*time.Second, time.Hour)

	own := p.environment()
	for _, key := range slices.Sorted(maps.Keys(p.Variables)) {
		field, value := "Variables["+key+"]", p.Variables[key]
		_, taken := own[key]
		bad.Check(variablePattern.MatchString(key) && !taken && !slices.Contains(machineVariables(), key), field, value,
			"a name of letters, digits and underscores that the fleet does not set itself")
		bad.Check(!strings.ContainsAny(value, "\n\r\"'\\") && value == strings.TrimSpace(value), field, value,
			"a value without line break, quote, backslash or space at its ends")
	}
	if p.CABundleURL != "" {
		parsed, err := url.Parse(p.CABundleURL)
		bad.Check(err == nil && parsed.Scheme == "https" && parsed.Host != "" && !strings.ContainsAny(p.CABundleURL, "' \n"),
			"CABundleURL", p.CABundleURL, "an https address")
	}
	return bad.Err("fleet")
}

func (p Props) withDefaults() Props {
	p.GroupName = cmp.Or(p.GroupName, contract.StackPrefix(p.Environment)+p.Fleet+"-"+p.Color)
	p.InstanceType = cmp.Or(p.InstanceType, "c7g.large")
	if !p.Standby {
		p.MinCapacity = cmp.Or(p.MinCapacity, 2)
		p.DesiredCapacity = cmp.Or(p.DesiredCapacity, p.MinCapacity)
	}
	p.MaxCapacity = cmp.Or(p.MaxCapacity, 3*max(p.DesiredCapacity, 2))
	p.VolumeGiB = cmp.Or(p.VolumeGiB, 20)
	p.BootTimeout = cmp.Or(p.BootTimeout, 5*time.Minute)
	p.HealthCheckGrace = cmp.Or(p.HealthCheckGrace, 2*time.Minute)
	p.DrainTimeout = cmp.Or(p.DrainTimeout, 2*time.Minute)
	p.BatchSize = cmp.Or(p.BatchSize, 1)
	p.MinSuccessPercent = cmp.Or(p.MinSuccessPercent, 100)
	return p
}

// environment is what the template knows of the program's environment, without
// the caller's Variables.
func (p Props) environment() map[string]string {
	// Only the load balancer has a reason to reach the program.
	address := "127.0.0.1"
	if p.TargetGroup != nil {
		address = ""
	}
	return map[string]string{
		contract.EnvEnvironment: p.Environment,
		contract.EnvFleet:       p.Fleet,
		contract.EnvColor:       p.Color,
		contract.EnvCommand:     p.Command,
		contract.EnvHTTPAddr:    fmt.Sprintf("%s:%d", address, contract.AppPort),
		contract.EnvMetricsAddr: fmt.Sprintf("127.0.0.1:%d", contract.MetricsPort),
	}
}

// machineVariables are the lines each instance adds to its own environment.
func machineVariables() []string {
	return []string{contract.EnvInstanceID, contract.EnvCAFile, "AWS_REGION"}
}

// lines is the environment as KEY=value, sorted.
func (p Props) lines() []string {
	all := p.environment()
	maps.Copy(all, p.Variables)
	lines := make([]string, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		lines = append(lines, key+"="+all[key])
	}
	return lines
}

// minInService keeps an update from taking more than it must: CloudFormation
// refuses a value that is not below the maximum.
func (p Props) minInService() int {
	return min(p.DesiredCapacity, p.MaxCapacity-1)
}

// digest is the SHA-256 of a file, in lower-case hex.
func digest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hash the artifact: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("hash the artifact %s: %w", path, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
