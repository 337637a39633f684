package stacks

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/fleet"
)

// Context keys of the CDK app: cdk synth -c env=prod -c region=eu-west-1.
const (
	ContextEnv          = "env"          // name of an environment; default dev
	ContextRegion       = "region"       // default us-east-1
	ContextArchitecture = "architecture" // arm64 (default) or x86_64
	ContextArtifact     = "artifact"     // path of the built app; default .build/app/linux-<arch>/app
)

// Architecture is the processor of fleets and functions, as EC2 and Lambda
// spell it.
type Architecture string

// The architectures the programs are built for.
const (
	ARM64 Architecture = "arm64"
	X8664 Architecture = "x86_64"
)

// GOARCH is the architecture as Go spells it.
func (a Architecture) GOARCH() string {
	if a == X8664 {
		return "amd64"
	}
	return "arm64"
}

// Settings is one environment. Stacks read nothing else, and no look-up in an
// account changes a template. The one environment variable that counts is
// LOADBEARING_GOOS: the operating system functions are built for (see package
// function).
type Settings struct {
	Env          string // "dev" or "prod"; part of every name
	Region       string
	Architecture Architecture
	Artifact     string // path of the app's binary, relative to Root when not absolute
	Root         string // folder of the Go module that holds ./lambdas and ./app/cmd/app; default the working directory

	// BuildFolder keeps compiled functions between syntheses, relative to Root
	// when not absolute.
	BuildFolder string

	Network  NetworkSettings
	Database DatabaseSettings
	Cache    CacheSettings
	Web      FleetSettings
	Worker   FleetSettings

	// DeletionProtection keeps data when a stack is deleted: RDS and the load
	// balancer refuse deletion, the media bucket is retained and versioned.
	DeletionProtection bool

	// FunctionConcurrency is the reserved concurrency of each event consumer.
	// Zero reserves nothing, which a new account with a limit of 10 needs.
	FunctionConcurrency int

	// AlarmEmails are subscribed to the alarm topic. Each receives one mail
	// that asks to confirm.
	AlarmEmails []string

	// Domain is the DNS name of the service, for a certificate at the edge.
	// Empty uses the names AWS gives.
	Domain string
}

// NetworkSettings sizes the VPC.
type NetworkSettings struct {
	Zones       int // 2 or 3
	NATGateways int // 1 to Zones
	// Endpoints are the AWS services reached without the NAT gateway. An
	// interface endpoint costs by the hour and zone, which a small environment
	// does not earn back.
	Endpoints []string
}

// DatabaseSettings sizes PostgreSQL.
type DatabaseSettings struct {
	InstanceType     string // "db.t4g.medium"
	Replicas         int
	MultiAZ          bool
	StorageGiB       int
	MaxStorageGiB    int
	BackupDays       int
	RotateMasterDays int // 0 does not rotate
}

// CacheSettings sizes the Valkey replication group.
type CacheSettings struct {
	NodeType     string // "cache.t4g.small"
	Replicas     int
	SnapshotDays int // 0 takes none
}

// FleetSettings sizes one Auto Scaling group.
type FleetSettings struct {
	InstanceTypes map[Architecture]string // of the same size on each
	Min, Max      int
	Desired       int // instances asked for at the first deployment

	// What the group scales on; 0 leaves one out.
	ConnectionsPerInstance int // requests, event streams and sockets open at a time
	CPUPercent             int
	BacklogPerInstance     int // jobs that wait

	// Schedule changes the bounds of the group at set times, of the color that serves.
	Schedule []fleet.ScheduledFloor
	// Warm is how many stopped instances each color keeps ready, which cost their
	// volumes; an idle color has Desired of them if that is more.
	Warm int
}

// Dev is small and cheap, and leaves nothing behind when deleted: two web
// instances, one worker, one NAT gateway, single-AZ data stores.
func Dev() Settings {
	return base(Settings{
		Env: "dev",
		Network: NetworkSettings{
			Zones:       2,
			NATGateways: 1,
		},
		Database: DatabaseSettings{
			InstanceType:     "db.t4g.medium",
			Replicas:         1,
			StorageGiB:       20,
			MaxStorageGiB:    100,
			BackupDays:       1,
			RotateMasterDays: 30,
		},
		Cache: CacheSettings{NodeType: "cache.t4g.small", Replicas: 1},
		Web: FleetSettings{
			InstanceTypes: map[Architecture]string{ARM64: "t4g.small", X8664: "t3.small"},
			Min:           2, Desired: 2, Max: 4,
			// Far below what an instance holds, so that a laptop can show the fleet grow.
			ConnectionsPerInstance: 500, CPUPercent: 60,
		},
		Worker: FleetSettings{
			InstanceTypes: map[Architecture]string{ARM64: "t4g.medium", X8664: "t3.medium"},
			Min:           1, Desired: 1, Max: 3,
			BacklogPerInstance: 60,
		},
	})
}

// Prod spans three zones with a NAT gateway in each, fails over on its own and
// refuses to be deleted with its data.
func Prod() Settings {
	return base(Settings{
		Env: "prod",
		Network: NetworkSettings{
			Zones:       3,
			NATGateways: 3,
			Endpoints:   []string{"ssm", "secretsmanager", "sqs", "sns", "logs", "sts"},
		},
		Database: DatabaseSettings{
			InstanceType:     "db.m7g.large",
			Replicas:         2,
			MultiAZ:          true,
			StorageGiB:       200,
			MaxStorageGiB:    2000,
			BackupDays:       14,
			RotateMasterDays: 30,
		},
		Cache: CacheSettings{NodeType: "cache.m7g.large", Replicas: 2, SnapshotDays: 7},
		Web: FleetSettings{
			InstanceTypes: map[Architecture]string{ARM64: "m7g.large", X8664: "m7i.large"},
			Min:           3, Desired: 3, Max: 24,
			// An instance holds 10,000 event streams (LOADBEARING_STREAMS). Two zones that take
			// over those of a third then have 6,000 each, and the rest is for what comes in
			// the minutes that scaling out takes.
			ConnectionsPerInstance: 4000, CPUPercent: 60,
			// By night two zones are enough. Nothing but the floor changes: load keeps what it needs.
			Schedule: []fleet.ScheduledFloor{
				{Name: "Night", Cron: "0 22 * * *", TimeZone: "America/New_York", Min: 2},
				{Name: "Day", Cron: "0 6 * * *", TimeZone: "America/New_York", Min: 3},
			},
			Warm: 3, // one for each zone
		},
		Worker: FleetSettings{
			InstanceTypes: map[Architecture]string{ARM64: "c7g.xlarge", X8664: "c7i.xlarge"},
			Min:           2, Desired: 2, Max: 12,
			BacklogPerInstance: 120,
		},
		DeletionProtection:  true,
		FunctionConcurrency: 50,
	})
}

// base fills what does not depend on the size of the environment.
func base(s Settings) Settings {
	s.Region = "us-east-1"
	s.Root = "."
	s.BuildFolder = filepath.Join(".build", "functions")
	return s.For(ARM64)
}

// environments are the allowed values of ContextEnv.
func environments() map[string]func() Settings {
	return map[string]func() Settings{"dev": Dev, "prod": Prod}
}

// For returns the settings for another architecture: with the artifact that is
// built for it. Database and cache stay on Graviton, which nothing of ours runs
// on.
func (s Settings) For(architecture Architecture) Settings {
	s.Architecture = architecture
	s.Artifact = filepath.Join(".build", "app", "linux-"+architecture.GOARCH(), "app")
	return s
}

// Path resolves a path against Root.
func (s Settings) Path(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(s.Root, path)
}

// Parse reads the settings from the context of a CDK app. The error names every
// key with a value that is not allowed.
func Parse(app constructs.Construct) (Settings, error) {
	return parse(func(key string) any { return app.Node().TryGetContext(&key) })
}

func parse(context func(key string) any) (Settings, error) {
	var problems []error
	text := func(key, byDefault string) string {
		switch value := context(key).(type) {
		case nil:
			return byDefault
		case string:
			return value
		default:
			problems = append(problems, fmt.Errorf("context %q is %v, not text", key, value))
			return byDefault
		}
	}

	name := text(ContextEnv, "dev")
	environment, known := environments()[name]
	if !known {
		allowed := strings.Join(slices.Sorted(maps.Keys(environments())), ", ")
		problems = append(problems, fmt.Errorf("context %q is %q; allowed: %s", ContextEnv, name, allowed))
		environment = Dev
	}
	settings := environment()

	architecture := Architecture(text(ContextArchitecture, string(ARM64)))
	if architecture != ARM64 && architecture != X8664 {
		problems = append(problems, fmt.Errorf("context %q is %q; allowed: %s, %s", ContextArchitecture, architecture, ARM64, X8664))
	} else {
		settings = settings.For(architecture)
	}

	settings.Region = text(ContextRegion, settings.Region)
	if strings.Count(settings.Region, "-") < 2 {
		problems = append(problems, fmt.Errorf("context %q is %q; allowed: the code of an AWS Region, such as eu-west-1", ContextRegion, settings.Region))
	}
	settings.Artifact = text(ContextArtifact, settings.Artifact)

	if len(problems) > 0 {
		return Settings{}, fmt.Errorf("settings of the CDK app: %w", errors.Join(problems...))
	}
	return settings, nil
}
