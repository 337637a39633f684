package settings

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// MinAuthSecretBytes is the least length of the auth secret: HMAC-SHA-256
// wants a key of at least 256 bits (RFC 7518, section 3.2).
const MinAuthSecretBytes = 32

// Source is where settings come from.
type Source struct {
	Lookup     func(name string) (string, bool) // environment; os.LookupEnv
	Parameters Parameters
	Secrets    Secrets
}

// Parameters is the part of SSM that Load uses.
type Parameters interface {
	GetParametersByPath(context.Context, *ssm.GetParametersByPathInput, ...func(*ssm.Options)) (*ssm.GetParametersByPathOutput, error)
}

// Secrets is the part of Secrets Manager that Load uses.
type Secrets interface {
	GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
}

// FromAWS returns the source a deployed program has: an environment and the
// AWS account cfg points at.
func FromAWS(cfg aws.Config, lookup func(string) (string, bool)) Source {
	return Source{Lookup: lookup, Parameters: ssm.NewFromConfig(cfg), Secrets: secretsmanager.NewFromConfig(cfg)}
}

// Problem is one wrong or missing value.
type Problem struct {
	Variable  string // environment variable
	Parameter string // SSM parameter, if the value may stand there
	Value     string // as found; "" when missing, "***" when secret
	Want      string // what is allowed, or what failed
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Variable)
	if p.Parameter != "" {
		fmt.Fprintf(&b, " (or SSM parameter %s)", p.Parameter)
	}
	if p.Value == "" {
		b.WriteString(" is not set: ")
	} else {
		fmt.Fprintf(&b, " is %q: ", p.Value)
	}
	b.WriteString(p.Want)
	return b.String()
}

// Error lists everything that is wrong with the configuration.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	var b strings.Builder
	noun := "values are"
	if len(e.Problems) == 1 {
		noun = "value is"
	}
	fmt.Fprintf(&b, "configuration: %d %s wrong or missing", len(e.Problems), noun)
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

var environmentName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// Load returns the process's own settings and the ones named in need. The
// parameters are read with one paged GetParametersByPath, and not at all when
// the environment holds every one. A wrong or missing value is an *Error that
// lists all of them.
func Load(ctx context.Context, src Source, need ...contract.Setting) (Settings, error) {
	l := &loader{src: src}
	var s Settings
	l.process(&s.Process)

	l.environment = s.Process.Environment
	if l.environment != "" {
		l.parameters(ctx, need)
	}
	roots := l.roots()
	s.Database.TLS = databaseTLS(roots)
	s.Database.Connections = l.number(EnvDatabaseConnections, 16, 1000)
	s.Database.StatementTimeout = l.duration(EnvDatabaseStatementTimeout, 5*time.Second, 10*time.Millisecond, time.Hour)

	l.limits(&s.Limits)

	var secrets []secretRequest
	for _, n := range need {
		switch n {
		case contract.DatabasePrimary:
			s.Database.Primary = l.hostPort(n)
		case contract.DatabaseReplicas:
			s.Database.Replicas = l.hostPorts(n)
		case contract.DatabaseName:
			s.Database.Name = l.required(n, "the database to connect to")
		case contract.DatabaseAdminSecret:
			secrets = l.secret(secrets, n, credentials(&s.Database.Admin))
		case contract.DatabaseAppSecret:
			secrets = l.secret(secrets, n, credentials(&s.Database.App))
		case contract.CacheEndpoint:
			s.Cache.Endpoint = l.hostPort(n)
			s.Cache.TLS = cacheTLS(s.Cache.Endpoint, roots)
		case contract.CacheSecret:
			secrets = l.secret(secrets, n, cacheToken(&s.Cache.Token))
		case contract.MediaBucket:
			s.Media.Bucket = l.required(n, "the name of an S3 bucket")
		case contract.JobsQueue:
			s.Jobs.QueueURL = l.url(n)
		case contract.EventsTopic:
			s.Events.TopicARN = l.arn(n, "sns")
		case contract.AuthSecret:
			secrets = l.secret(secrets, n, authSecret(&s.Auth.Secret))
		default:
			l.problem(n, "", "no such setting")
		}
	}
	l.resolve(ctx, secrets)
	if len(l.problems) > 0 {
		return Settings{}, &Error{Problems: l.problems}
	}
	return s, nil
}

type loader struct {
	src         Source
	environment string
	params      map[string]string // by setting
	paramsErr   error
	problems    []Problem
}

func (l *loader) process(p *Process) {
	p.Environment, _ = l.src.Lookup(contract.EnvEnvironment)
	if !environmentName.MatchString(p.Environment) {
		l.variable(contract.EnvEnvironment, p.Environment, `name the environment, such as "dev" or "prod"`)
		p.Environment = ""
	}
	p.Fleet = l.oneOf(contract.EnvFleet, "", contract.FleetWeb, contract.FleetWorker)
	p.Color = l.oneOf(contract.EnvColor, "", contract.ColorBlue, contract.ColorGreen)
	if p.InstanceID, _ = l.src.Lookup(contract.EnvInstanceID); p.InstanceID == "" {
		p.InstanceID, _ = os.Hostname()
	}
	p.Group, _ = l.src.Lookup(contract.EnvGroup)
	p.HTTPAddr = l.addr(contract.EnvHTTPAddr, contract.AppPort)
	p.MetricsAddr = l.addr(contract.EnvMetricsAddr, contract.MetricsPort)
	_ = p.LogLevel.UnmarshalText([]byte(l.oneOf(EnvLogLevel, "info", "debug", "info", "warn", "error")))
	p.LogText = l.oneOf(EnvLogFormat, "json", "json", "text") == "text"
	p.DrainDelay = l.duration(EnvDrainDelay, time.Second, 0, 10*time.Minute)
	p.ShutdownTimeout = l.duration(EnvShutdownTimeout, 25*time.Second, 0, time.Hour)
	p.ConnectionsInterval = l.duration(contract.EnvConnectionsInterval, time.Minute, time.Second, time.Minute)
}

func (l *loader) limits(to *Limits) {
	to.TenantQuota = int64(l.number(EnvTenantQuota, 100<<30, 1<<60))
	to.ImageBytes = int64(l.number(EnvImageBytes, 25<<20, 32<<20))
	to.VideoBytes = int64(l.number(EnvVideoBytes, 5<<30, 10_000*8<<20))
	to.Uploads = l.number(EnvUploads, 8, 1000)
	to.StreamsPerUser = l.number(EnvStreamsPerUser, 20, 1000)
	to.Streams = l.number(EnvStreams, 10_000, 1_000_000)
	to.Heartbeat = l.duration(EnvHeartbeat, 20*time.Second, time.Second, 45*time.Second)
}

// parameters reads the environment's parameters unless the process's
// environment overrides every one that is needed.
func (l *loader) parameters(ctx context.Context, need []contract.Setting) {
	if !slices.ContainsFunc(need, func(s contract.Setting) bool { _, ok := l.src.Lookup(s.Env()); return !ok }) {
		return
	}
	prefix := contract.ParameterPrefix(l.environment)
	l.params = map[string]string{}
	pages := ssm.NewGetParametersByPathPaginator(l.src.Parameters, &ssm.GetParametersByPathInput{
		Path: aws.String(prefix), Recursive: aws.Bool(true), WithDecryption: aws.Bool(true),
		MaxResults: aws.Int32(10), // the API's most
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			l.paramsErr = fmt.Errorf("read SSM parameters under %s: %w", prefix, err)
			return
		}
		for _, p := range page.Parameters {
			l.params[strings.TrimPrefix(aws.ToString(p.Name), prefix)] = aws.ToString(p.Value)
		}
	}
}

// value returns a setting as found in the environment or the parameters, or "".
func (l *loader) value(s contract.Setting) string {
	if v, ok := l.src.Lookup(s.Env()); ok {
		return v
	}
	return l.params[string(s)]
}

func (l *loader) required(s contract.Setting, want string) string {
	v := l.value(s)
	if v == "" {
		if l.paramsErr != nil {
			want += "; " + l.paramsErr.Error()
			l.paramsErr = nil // once is enough
		}
		l.problem(s, "", want)
	}
	return v
}

func (l *loader) hostPort(s contract.Setting) string {
	v := l.required(s, "want host:port")
	if v != "" && !isHostPort(v) {
		l.problem(s, v, "want host:port")
	}
	return v
}

func (l *loader) hostPorts(s contract.Setting) []string {
	v := l.value(s) // no replica is a valid number of replicas
	var all []string
	for part := range strings.SplitSeq(v, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if !isHostPort(part) {
			l.problem(s, v, "want a comma-separated list of host:port")
			return nil
		}
		all = append(all, part)
	}
	return all
}

func isHostPort(v string) bool {
	host, port, err := net.SplitHostPort(v)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

func (l *loader) url(s contract.Setting) string {
	v := l.required(s, "want the URL of an SQS queue")
	if u, err := url.Parse(v); v != "" && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		l.problem(s, v, "want the URL of an SQS queue")
	}
	return v
}

func (l *loader) arn(s contract.Setting, service string) string {
	want := "want the ARN of a resource of " + service
	v := l.required(s, want)
	if a, err := arn.Parse(v); v != "" && (err != nil || a.Service != service) {
		l.problem(s, v, want)
	}
	return v
}

type secretRequest struct {
	setting contract.Setting
	arn     string
	decode  func(string) error
}

func (l *loader) secret(all []secretRequest, s contract.Setting, decode func(string) error) []secretRequest {
	before := len(l.problems)
	v := l.arn(s, "secretsmanager")
	if len(l.problems) > before {
		return all
	}
	return append(all, secretRequest{s, v, decode})
}

// resolve fetches the secrets side by side: each costs a round trip before the
// process is ready.
func (l *loader) resolve(ctx context.Context, secrets []secretRequest) {
	errs := make([]error, len(secrets))
	var wg sync.WaitGroup
	for i, s := range secrets {
		wg.Go(func() {
			out, err := l.src.Secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(s.arn)})
			if err != nil {
				errs[i] = fmt.Errorf("read the secret: %w", err)
				return
			}
			errs[i] = s.decode(aws.ToString(out.SecretString))
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			l.problem(secrets[i].setting, secrets[i].arn, err.Error())
		}
	}
}

func credentials(into *Credentials) func(string) error {
	return func(text string) error {
		var c struct{ Username, Password string }
		// The decoder's own error would quote the secret.
		if json.Unmarshal([]byte(text), &c) != nil || c.Username == "" || c.Password == "" {
			return errors.New(`the secret must hold JSON with "username" and "password"`)
		}
		*into = Credentials{Username: c.Username, Password: Secret(c.Password)}
		return nil
	}
}

func cacheToken(into *Secret) func(string) error {
	return func(text string) error {
		if text == "" {
			return errors.New("the secret must hold the AUTH token of the cache, it is empty")
		}
		*into = Secret(text)
		return nil
	}
}

func authSecret(into *Secret) func(string) error {
	return func(text string) error {
		if len(text) < MinAuthSecretBytes {
			return fmt.Errorf("the secret must have at least %d bytes, it has %d", MinAuthSecretBytes, len(text))
		}
		*into = Secret(text)
		return nil
	}
}

// roots returns the system's roots with the CA file's added, or nil without a
// CA file.
func (l *loader) roots() *x509.CertPool {
	file, _ := l.src.Lookup(contract.EnvCAFile)
	if file == "" {
		return nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		l.variable(contract.EnvCAFile, file, "want a readable PEM file: "+err.Error())
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		l.variable(contract.EnvCAFile, file, "want a PEM file with at least one certificate")
	}
	return pool
}

func (l *loader) oneOf(name, fallback string, allowed ...string) string {
	v, _ := l.src.Lookup(name)
	if v == "" {
		return fallback
	}
	if !slices.Contains(allowed, v) {
		l.variable(name, v, "want one of "+strings.Join(allowed, ", "))
	}
	return v
}

func (l *loader) addr(name string, port int) string {
	v, _ := l.src.Lookup(name)
	if v == "" {
		return ":" + strconv.Itoa(port)
	}
	_, p, err := net.SplitHostPort(v)
	if err == nil {
		_, err = strconv.ParseUint(p, 10, 16)
	}
	if err != nil {
		l.variable(name, v, "want host:port or :port")
	}
	return v
}

func (l *loader) duration(name string, fallback, low, high time.Duration) time.Duration {
	v, _ := l.src.Lookup(name)
	if v == "" {
		return fallback
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < low || d > high {
		l.variable(name, v, fmt.Sprintf("want a duration from %v to %v, such as %v", low, high, fallback))
	}
	return d
}

func (l *loader) number(name string, fallback, high int) int {
	v, _ := l.src.Lookup(name)
	if v == "" {
		return fallback
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > high {
		l.variable(name, v, fmt.Sprintf("want a number from 1 to %d", high))
	}
	return n
}

func (l *loader) variable(name, value, want string) {
	l.problems = append(l.problems, Problem{Variable: name, Value: value, Want: want})
}

func (l *loader) problem(s contract.Setting, value, want string) {
	p := Problem{Variable: s.Env(), Value: value, Want: want}
	if l.environment != "" {
		p.Parameter = s.Parameter(l.environment)
	} else {
		p.Parameter = s.Parameter("<" + contract.EnvEnvironment + ">")
	}
	l.problems = append(l.problems, p)
}

// LogValue lists what a process may log of its settings at start.
func (p Process) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("environment", p.Environment), slog.String("fleet", p.Fleet), slog.String("color", p.Color),
		slog.String("instance", p.InstanceID), slog.String("http", p.HTTPAddr), slog.String("metrics", p.MetricsAddr),
	)
}
