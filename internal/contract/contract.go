// Package contract holds what the infrastructure and the programs that run on
// it must agree on: names of environment variables and of SSM parameters,
// ports, paths and metric names. Stacks write them, the app, the Lambdas and
// the local runtime read them, and each stands here once.
package contract

import "strings"

// Environment variables every process of the service receives. On EC2 they
// come from EnvFile, in Lambda from the function's configuration.
const (
	EnvEnvironment = "LOADBEARING_ENV"         // "dev" or "prod"
	EnvFleet       = "LOADBEARING_FLEET"       // FleetWeb or FleetWorker
	EnvColor       = "LOADBEARING_COLOR"       // ColorBlue or ColorGreen
	EnvInstanceID  = "LOADBEARING_INSTANCE_ID" // "i-0abc…", from the instance metadata service
	EnvHTTPAddr    = "LOADBEARING_HTTP_ADDR"   // host:port of the public listener
	EnvMetricsAddr = "LOADBEARING_METRICS_ADDR"
	EnvCAFile      = "LOADBEARING_CA_FILE" // PEM roots trusted for PostgreSQL and Redis beside the system's
	EnvGroup       = "LOADBEARING_GROUP"   // name of the Auto Scaling group the instance belongs to
)

// Ports the service listens on.
const (
	AppPort     = 8080 // HTTP, reached only from the load balancer
	MetricsPort = 9090 // Prometheus text, never routed by the load balancer
)

// HTTP paths the load balancer and the local runtime probe.
const (
	PathHealth  = "/healthz" // liveness
	PathReady   = "/readyz"  // readiness; 503 while draining. The target groups' health check.
	PathVersion = "/version"
)

// Fleets and colors.
const (
	FleetWeb    = "web"
	FleetWorker = "worker"
	ColorBlue   = "blue"
	ColorGreen  = "green"
)

// EnvFile is the systemd environment file that user data writes; the lines
// between EnvFileBegin and EnvFileEnd in the launch template's user data are
// its content. ExecCommand names the app's subcommand in it.
const (
	EnvFile      = "/etc/loadbearing/app.env"
	EnvFileBegin = "cat > " + EnvFile + " <<'APP_ENV'"
	EnvFileEnd   = "APP_ENV"
	EnvCommand   = "LOADBEARING_COMMAND" // "serve" or "work"
)

// Lifecycle hooks of the fleets' Auto Scaling groups: HookDrain holds an
// instance until it has drained, HookBoot holds one on its way into or out of a
// warm pool until it is ready. What boots the instance completes them.
const (
	HookDrain = "drain"
	HookBoot  = "boot"
)

// OriginVerifyHeader carries the secret that proves to the load balancer that
// a request came through CloudFront.
const OriginVerifyHeader = "X-Origin-Verify"

// EventTypeAttribute is the SNS message attribute that says which type of event
// a message holds; subscriptions filter by it.
const EventTypeAttribute = "event_type"

// The gauge an instance publishes of the requests it is serving, with its Auto
// Scaling group (EnvGroup) as the only dimension, so that CloudWatch's Average is
// the average per instance. EnvConnectionsInterval is how often, a minute by
// default, as a duration: "1m".
const (
	EnvConnectionsInterval  = "LOADBEARING_CONNECTIONS_INTERVAL"
	MetricNamespace         = "Loadbearing"
	MetricActiveConnections = "ActiveConnections"
	DimensionGroup          = "AutoScalingGroupName"
)

// Setting names a value the stacks publish and the programs read. Its text is
// the last part of an SSM parameter's name: see Parameter and Env.
type Setting string

// Settings published by the data and messaging stacks.
const (
	DatabasePrimary     Setting = "database/primary"      // host:port of the primary
	DatabaseReplicas    Setting = "database/replicas"     // comma-separated host:port list of read replicas
	DatabaseName        Setting = "database/name"         // database to connect to
	DatabaseAdminSecret Setting = "database/admin-secret" // ARN; JSON {"username","password"} of the owner role
	DatabaseAppSecret   Setting = "database/app-secret"   // ARN; JSON {"username","password"} of the app's role
	CacheEndpoint       Setting = "cache/endpoint"        // host:port of the primary; TLS
	CacheSecret         Setting = "cache/secret"          // ARN; the AUTH token itself
	MediaBucket         Setting = "media/bucket"          // originals, renditions, videos
	JobsQueue           Setting = "jobs/queue"            // URL of the image job queue
	EventsTopic         Setting = "events/topic"          // ARN of the domain event topic
	AuthSecret          Setting = "auth/secret"           // ARN; the key that signs access tokens and cursors
)

// Settings lists every Setting.
func Settings() []Setting {
	return []Setting{
		DatabasePrimary, DatabaseReplicas, DatabaseName, DatabaseAdminSecret, DatabaseAppSecret,
		CacheEndpoint, CacheSecret, MediaBucket, JobsQueue, EventsTopic, AuthSecret,
	}
}

// Parameter returns the SSM parameter that holds the setting in an
// environment: /loadbearing/dev/database/primary.
func (s Setting) Parameter(environment string) string {
	return ParameterPrefix(environment) + string(s)
}

// Env returns the environment variable that holds the setting, or overrides
// the parameter: LOADBEARING_DATABASE_PRIMARY.
func (s Setting) Env() string {
	return "LOADBEARING_" + strings.ToUpper(strings.NewReplacer("/", "_", "-", "_").Replace(string(s)))
}

// ParameterPrefix is the path under which an environment's parameters stand,
// with a slash at its end.
func ParameterPrefix(environment string) string {
	return "/loadbearing/" + environment + "/"
}

// ArtifactParameter names the SSM parameter that says which artifact the
// instances of one fleet and color run. Its value is an Artifact as JSON.
func ArtifactParameter(environment, fleet, color string) string {
	return ParameterPrefix(environment) + fleet + "/" + color + "/artifact"
}

// Artifact is the program an instance runs: one static binary in S3.
type Artifact struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	SHA256 string `json:"sha256"` // lower-case hex of the object's bytes
}

// StackPrefix begins the name of every stack of an environment.
func StackPrefix(environment string) string {
	return "loadbearing-" + environment + "-"
}

// MigrateFunction names the Lambda function that migrates an environment's database.
func MigrateFunction(environment string) string {
	return StackPrefix(environment) + "migrate"
}
