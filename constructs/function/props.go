package function

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/queue"
	"github.com/loadbearing/loadbearing/internal/gobuild"
)

// Architecture is the processor a function runs on, as Lambda spells it.
type Architecture string

// The architectures Lambda offers. ARM64 costs a fifth less for the same time.
const (
	ARM64 Architecture = "arm64"
	X8664 Architecture = "x86_64"
)

func (a Architecture) goarch() string {
	if a == X8664 {
		return "amd64"
	}
	return "arm64"
}

func (a Architecture) lambda() awslambda.Architecture {
	if a == X8664 {
		return awslambda.Architecture_X86_64()
	}
	return awslambda.Architecture_ARM_64()
}

// Limits of Lambda and of its event source mapping for SQS, from the Lambda
// developer guide ("Lambda quotas", "Using Lambda with Amazon SQS").
const (
	minMemoryMiB = 128
	maxMemoryMiB = 10240
	maxTimeout   = 15 * time.Minute
	minStorage   = 512 // MiB of /tmp
	maxStorage   = 10240
	maxVariables = 4096 // bytes of all environment variables

	maxBatch         = 10000
	maxBatchUnwaited = 10 // without a batching window
	maxWindow        = 5 * time.Minute
	minConcurrency   = 2
	maxConcurrency   = 1000
	visibilityFactor = 6 // times the function's timeout, so that a throttled batch is retried in time
)

// Props configures a Function. Source is required; everything else has a
// production default.
type Props struct {
	// Source is the folder of the main package, absolute or relative to the
	// working directory of the synthesis: "./lambdas/probe". Where no folder has
	// that name, it is the import path of the package, found as the working
	// directory's module finds it: "example.com/shop/lambdas/probe".
	Source string

	// Name of the function, 1 to 64 letters, digits, hyphens and underscores.
	// Default a name CloudFormation generates.
	Name string

	// Description shown in the console. Default none.
	Description string

	// Architecture the program is built for and runs on. Default ARM64.
	Architecture Architecture

	// BuildTags are compiled in addition to lambda.norpc, which leaves out the
	// RPC server that only the retired go1.x runtime called. Default none.
	BuildTags []string

	// BuildFolder keeps compiled programs between syntheses. Default
	// .build/functions in the working directory.
	BuildFolder string

	// Binary is the program as Build returned it, when it was built before.
	// Default it is built by New.
	Binary *Binary

	// MemoryMiB is 128 to 10240; processor time grows with it, to one vCPU at
	// 1769. Default 256.
	MemoryMiB int

	// Timeout is 1 s to 15 min. Default 30 s.
	Timeout time.Duration

	// EphemeralStorageMiB is the size of /tmp, 512 to 10240. Default 512, which is
	// free.
	EphemeralStorageMiB int

	// Environment is passed to the program: names of two or more letters, digits
	// and underscores, 4096 bytes together with the values. Default none.
	Environment map[string]string

	// ReservedConcurrency is how many copies may run, taken from the account's
	// total. Default no reservation: the account's limit bounds it, and for a
	// queue MaxConcurrency.
	ReservedConcurrency int

	// LogRetention is one of the periods CloudWatch Logs offers. Default one
	// month.
	LogRetention awslogs.RetentionDays

	// LogGroup is an existing log group. Default one of the function's own.
	LogGroup awslogs.ILogGroup

	// Key encrypts the log group and the environment. Its policy has to let
	// CloudWatch Logs use it, as that of the encryption package does. Default keys
	// that AWS owns.
	Key awskms.IKey

	// Role is an existing role that Lambda may assume; it is granted what the
	// function needs. Default one of the function's own.
	Role awsiam.IRole

	// VPC the function reaches private resources in, with Subnets (default the
	// private ones) and SecurityGroups (default one of its own). Default no VPC.
	VPC            awsec2.IVpc
	Subnets        *awsec2.SubnetSelection
	SecurityGroups []awsec2.ISecurityGroup

	// OnFailure receives the events of asynchronous invocations that failed
	// after all retries. A queue consumed with ConsumeQueue has its own
	// dead-letter queue. Default they are dropped.
	OnFailure *queue.Queue

	// Synchronous says that only callers who wait for the answer invoke the
	// function, so that no event is left to keep when it fails. It changes no
	// resource but the reason in the template for having no dead-letter queue.
	Synchronous bool

	// ErrorThreshold is the number of errors in a minute above which ErrorAlarm
	// goes off. Default 0: with the first.
	ErrorThreshold int

	// Override has the last word on the function.
	Override func(*awslambda.FunctionProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

var (
	functionName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	variableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]+$`)
)

func (p Props) withDefaults() Props {
	p.Architecture = cmp.Or(p.Architecture, ARM64)
	p.BuildFolder = cmp.Or(p.BuildFolder, filepath.Join(".build", "functions"))
	p.MemoryMiB = cmp.Or(p.MemoryMiB, 256)
	p.Timeout = cmp.Or(p.Timeout, 30*time.Second)
	return p
}

// Validate returns a *PropsError with every field that is not valid, or nil. It
// does not compile the source.
func (p Props) Validate() error {
	p = p.withDefaults()
	var bad cdkx.Problems
	bad.Check(p.Binary != nil || gobuild.Source(p.Source).Valid(), "Source", p.Source,
		"the folder or the import path of a main package")
	if p.Name != "" {
		cdkx.Matches(&bad, "Name", p.Name, functionName, "1 to 64 letters, digits, hyphens and underscores")
	}
	cdkx.OneOf(&bad, "Architecture", p.Architecture, ARM64, X8664)
	cdkx.Between(&bad, "MemoryMiB", p.MemoryMiB, minMemoryMiB, maxMemoryMiB)
	cdkx.WholeSeconds(&bad, "Timeout", p.Timeout, time.Second, maxTimeout)
	if p.EphemeralStorageMiB != 0 {
		cdkx.Between(&bad, "EphemeralStorageMiB", p.EphemeralStorageMiB, minStorage, maxStorage)
	}
	cdkx.AtLeast(&bad, "ErrorThreshold", p.ErrorThreshold, 0)
	cdkx.AtLeast(&bad, "ReservedConcurrency", p.ReservedConcurrency, 0)
	bad.Check(p.VPC != nil || p.Subnets == nil && p.SecurityGroups == nil, "VPC", "nil", "a VPC when Subnets or SecurityGroups are given")
	size, known := 0, true
	for _, name := range slices.Sorted(maps.Keys(p.Environment)) {
		size += len(name) + len(p.Environment[name])
		known = known && !cdkx.Unresolved(p.Environment[name])
		// Lambda's own variables start with AWS_ and LAMBDA_ and cannot be set.
		bad.Check(variableName.MatchString(name) && !strings.HasPrefix(name, "AWS_") && !strings.HasPrefix(name, "LAMBDA_"),
			"Environment", name, "names of letters, digits and underscores that Lambda does not reserve (AWS_…, LAMBDA_…)")
	}
	bad.Check(!known || size <= maxVariables, "Environment", fmt.Sprintf("%d bytes", size), "4096 bytes or fewer")
	bad.Check(p.LogGroup == nil || p.LogRetention == "", "LogRetention", p.LogRetention, "none beside an existing LogGroup, which has its own")
	return bad.Err("function")
}
