package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/gobuild"
)

var (
	namePattern     = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	groupPattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$`)
	instancePattern = regexp.MustCompile(`^[a-z][a-z0-9-]*\.[a-z0-9-]+$`)
	variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	floorPattern    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,63}$`)
	cronPattern     = regexp.MustCompile(`^[0-9A-Za-z*,/?#-]+( [0-9A-Za-z*,/?#-]+){4}$`)
	zonePattern     = regexp.MustCompile(`^[A-Z][A-Za-z]*(/[A-Za-z0-9_+-]+)*$`)

	// Graviton families have a g behind their generation: c7g, im4gn, x2gd.
	armPattern = regexp.MustCompile(`^(a1|[a-z]+[0-9]+[a-z-]*g[a-z0-9-]*)\.`)
)

// userDataLimit is how many bytes of user data EC2 takes, before they are encoded
// ("Run commands when you launch an EC2 instance", EC2 user guide).
const userDataLimit = 16 << 10

const day = 24 * time.Hour

// maxTypes is how many instance types an Auto Scaling group takes.
const maxTypes = 40

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
	p.checkInstances(&bad)
	p.checkProgram(&bad)

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

	p.checkScaling(&bad)
	p.checkSchedule(&bad)
	cdkx.Between(&bad, "MaxCPUPercent", p.MaxCPUPercent, 1, 100)
	cdkx.Between(&bad, "MaxMemoryPercent", p.MaxMemoryPercent, 1, 100)
	cdkx.Between(&bad, "MaxDiskPercent", p.MaxDiskPercent, 1, 100)

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
		bad.Check(cdkx.Unresolved(p.CABundleURL) ||
			err == nil && parsed.Scheme == "https" && parsed.Host != "" && !strings.ContainsAny(p.CABundleURL, "' \n"),
			"CABundleURL", p.CABundleURL, "an https address")
	}
	size := len(p.userData(machine{}))
	bad.Check(size <= userDataLimit, "Variables", fmt.Sprintf("%d bytes of user data", size),
		fmt.Sprintf("what keeps the user data at %d bytes or fewer", userDataLimit))
	return bad.Err("fleet")
}

// checkProgram leaves it to the compiler whether an import path is one.
func (p Props) checkProgram(bad *cdkx.Problems) {
	if p.Source == "" {
		info, err := os.Stat(p.ArtifactPath)
		bad.Check(err == nil && info.Mode().IsRegular(), "ArtifactPath", p.ArtifactPath,
			"the path of a file that exists: the built program; or Source")
		return
	}
	bad.Check(p.ArtifactPath == "", "ArtifactPath", p.ArtifactPath, "none with Source, which is built")
	bad.Check(gobuild.Source(p.Source).Valid(), "Source", p.Source,
		"the folder or the import path of a main package")
	bad.Check(!cdkx.Unresolved(p.InstanceType), "Source", p.Source,
		"none when InstanceType is a token, which does not tell the processor: ArtifactPath")
}

func (p Props) checkInstances(bad *cdkx.Problems) {
	cdkx.Matches(bad, "InstanceType", p.InstanceType, instancePattern, "an EC2 instance type such as c7g.large")
	bad.Check(!cdkx.Unresolved(p.InstanceType) || p.ImageParameter != "", "ImageParameter", p.ImageParameter,
		"the image's parameter: InstanceType is a token, which does not tell the processor")
	bad.Check(len(p.InstanceTypes) < maxTypes, "InstanceTypes", fmt.Sprintf("%d types", len(p.InstanceTypes)),
		fmt.Sprintf("%d or fewer", maxTypes-1))
	for i, each := range p.InstanceTypes {
		field := fmt.Sprintf("InstanceTypes[%d]", i)
		cdkx.Matches(bad, field, each, instancePattern, "an EC2 instance type such as c7g.large")
		bad.Check(each != p.InstanceType && !slices.Contains(p.InstanceTypes[:i], each), field, each, "each type once, InstanceType too")
		if instancePattern.MatchString(each) && instancePattern.MatchString(p.InstanceType) {
			bad.Check(processor(each) == processor(p.InstanceType), field, each,
				fmt.Sprintf("a type for %s, as %s is: all instances run the same program", processor(p.InstanceType), p.InstanceType))
		}
	}
	cdkx.Between(bad, "SpotPercent", p.SpotPercent, 0, 100)
	bad.Check(p.OnDemandBase >= 0 && p.OnDemandBase <= p.MaxCapacity, "OnDemandBase", p.OnDemandBase,
		fmt.Sprintf("0 to %d (MaxCapacity)", p.MaxCapacity))
	if !p.warm() {
		return
	}
	cdkx.OneOf(bad, "WarmPool.State", p.WarmPool.State, Stopped, Hibernated, Running)
	cdkx.AtLeast(bad, "WarmPool.MinSize", p.WarmPool.MinSize, 0)
	bad.Check(p.WarmPool.MaxPrepared == 0 || p.WarmPool.MaxPrepared >= max(p.DesiredCapacity, 1), "WarmPool.MaxPrepared",
		p.WarmPool.MaxPrepared, fmt.Sprintf("0, or %d (DesiredCapacity) or more, and at least 1", p.DesiredCapacity))
	bad.Check(p.SpotPercent == 0, "SpotPercent", p.SpotPercent, "0 with a WarmPool, which holds no Spot instances")
}

func (p Props) checkScaling(bad *cdkx.Problems) {
	cdkx.AtLeast(bad, "ConnectionsPerInstance", p.ConnectionsPerInstance, 0)
	cdkx.AtLeast(bad, "RequestsPerInstance", p.RequestsPerInstance, 0)
	bad.Check(p.RequestsPerInstance <= 0 || p.TargetGroup != nil, "RequestsPerInstance", p.RequestsPerInstance,
		"0 without a TargetGroup, which counts the requests")
	bad.Check(p.CPUPercent == 0 || p.CPUPercent >= 10 && p.CPUPercent <= 90, "CPUPercent", p.CPUPercent, "0, or 10 to 90")
	if p.Backlog.Queue == nil {
		bad.Check(p.Backlog.PerInstance == 0, "Backlog.PerInstance", p.Backlog.PerInstance, "0 without a Queue")
	} else {
		cdkx.AtLeast(bad, "Backlog.PerInstance", p.Backlog.PerInstance, 1)
	}
	cdkx.WholeSeconds(bad, "InstanceWarmup", p.InstanceWarmup, time.Second, time.Hour)
	bad.Check(p.MaxInstanceLifetime == 0 ||
		p.MaxInstanceLifetime >= day && p.MaxInstanceLifetime <= 365*day && p.MaxInstanceLifetime%time.Second == 0,
		"MaxInstanceLifetime", p.MaxInstanceLifetime, "0, or 24h0m0s to 8760h0m0s in whole seconds")
}

func (p Props) checkSchedule(bad *cdkx.Problems) {
	bad.Check(!p.Standby || len(p.Schedule) == 0, "Schedule", fmt.Sprintf("%d floors", len(p.Schedule)),
		"none with Standby: it would fill the idle color")
	names := map[string]bool{}
	for i, floor := range p.Schedule {
		field := fmt.Sprintf("Schedule[%d]", i)
		bad.Check(floorPattern.MatchString(floor.Name) && !names[floor.Name], field+".Name", floor.Name,
			"1 to 64 letters and digits, a letter first, unique in the fleet")
		names[floor.Name] = true
		cdkx.Matches(bad, field+".Cron", floor.Cron, cronPattern, "five fields such as 0 7 * * MON-FRI")
		if floor.TimeZone != "" {
			cdkx.Matches(bad, field+".TimeZone", floor.TimeZone, zonePattern, "a time zone such as Europe/Berlin")
		}
		bad.Check(floor.Min != 0 || floor.Max != 0 || floor.Desired != 0, field+".Min", floor.Min,
			"1 or more, unless Max or Desired is")
		for _, size := range []struct {
			name  string
			value int
		}{{"Min", floor.Min}, {"Max", floor.Max}, {"Desired", floor.Desired}} {
			bad.Check(size.value >= 0, field+"."+size.name, size.value, "0 or more")
		}
		// A bound that the floor leaves alone is the group's own then.
		low, high := cmp.Or(max(floor.Min, 0), p.MinCapacity), cmp.Or(floor.Max, p.MaxCapacity)
		bad.Check(floor.Min <= high, field+".Min", floor.Min, fmt.Sprintf("%d (the maximum then) or fewer", high))
		bad.Check(floor.Desired == 0 || floor.Desired >= low && floor.Desired <= high, field+".Desired", floor.Desired,
			fmt.Sprintf("0, or %d to %d (the bounds then)", low, high))
	}
}

// warm tells whether the fleet has a warm pool.
func (p Props) warm() bool { return p.WarmPool != WarmPool{} }

// mixed tells whether instances differ in type or in how they are bought.
func (p Props) mixed() bool { return len(p.InstanceTypes) > 0 || p.SpotPercent > 0 }

// processor is what an instance type runs, as images and artifacts spell it.
func processor(instanceType string) string {
	if armPattern.MatchString(instanceType) {
		return "arm64"
	}
	return "x86_64"
}
