// Package settings is the configuration of every program of the service: it
// reads the environment, the SSM parameters under the environment's prefix and
// the secrets those name, once, at start, and either returns typed values or
// one error that names everything that is wrong.
//
// A setting of package contract is read from its environment variable
// (contract.Setting.Env) and, when that is unset, from its SSM parameter
// (contract.Setting.Parameter). Settings that hold the ARN of a secret are
// resolved through Secrets Manager, never from the environment.
//
// TLS: connections to PostgreSQL and Redis are always encrypted. When
// contract.EnvCAFile names a PEM file, its certificates are trusted beside the
// system's and the server's certificate and name are verified (libpq's
// verify-full). Without it PostgreSQL is encrypted but not verified (libpq's
// require), because the certificates of RDS chain to Amazon's own RDS roots,
// which systems do not ship. In production point the variable at the RDS
// bundle: https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem.
package settings

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"time"
)

// Environment variables that tune one process. What infrastructure and
// programs share stands in package contract; these have defaults that suit
// both environments.
const (
	EnvLogLevel                 = "LOADBEARING_LOG_LEVEL"                  // debug, info, warn or error; default info
	EnvLogFormat                = "LOADBEARING_LOG_FORMAT"                 // json or text; default json
	EnvDrainDelay               = "LOADBEARING_DRAIN_DELAY"                // default 1s
	EnvShutdownTimeout          = "LOADBEARING_SHUTDOWN_TIMEOUT"           // default 25s
	EnvDatabaseConnections      = "LOADBEARING_DATABASE_CONNECTIONS"       // default 16
	EnvDatabaseStatementTimeout = "LOADBEARING_DATABASE_STATEMENT_TIMEOUT" // default 5s

	EnvTenantQuota    = "LOADBEARING_TENANT_QUOTA_BYTES" // default 100 GiB
	EnvImageBytes     = "LOADBEARING_IMAGE_BYTES"        // default 25 MiB, at most 32 MiB
	EnvVideoBytes     = "LOADBEARING_VIDEO_BYTES"        // default 5 GiB, at most 78 GiB
	EnvUploads        = "LOADBEARING_UPLOADS"            // default 8
	EnvStreamsPerUser = "LOADBEARING_STREAMS_PER_USER"   // default 20
	EnvStreams        = "LOADBEARING_STREAMS"            // default 10000
	EnvHeartbeat      = "LOADBEARING_HEARTBEAT"          // default 20s, at most 45s
)

// Settings are the values a program runs with. Only those that were asked for
// in Load are set beyond Process.
type Settings struct {
	Process  Process
	Limits   Limits
	Database Database
	Cache    Cache
	Media    Media
	Jobs     Jobs
	Events   Events
	Auth     Auth
}

// Process says what this process is and how it behaves.
type Process struct {
	Environment     string        // "dev", "prod" or another lower-case name
	Fleet           string        // contract.FleetWeb, contract.FleetWorker or empty
	Color           string        // contract.ColorBlue, contract.ColorGreen or empty
	InstanceID      string        // default the host's name
	Group           string        // name of its Auto Scaling group; empty outside of one
	HTTPAddr        string        // default ":8080"
	MetricsAddr     string        // default ":9090"
	LogLevel        slog.Level    // default info
	LogText         bool          // text instead of JSON
	DrainDelay      time.Duration // readiness says 503 for so long before the listener closes
	ShutdownTimeout time.Duration // what open requests may take after that

	// ConnectionsInterval is how often the number of active connections is published
	// when there is a Group. Default one minute, which is the longest: a policy's
	// alarms look at each.
	ConnectionsInterval time.Duration
}

// Limits bound what clients may ask of the API. Tenants and users share an
// instance: each limit protects the others.
type Limits struct {
	TenantQuota    int64         // bytes a tenant may store whose row says nothing
	ImageBytes     int64         // of one image; the worker reads none above 32 MiB
	VideoBytes     int64         // of one video; S3 takes 10,000 parts, of 8 MiB each when they are streamed
	Uploads        int           // bodies of 32 MiB or more that an instance takes at once, and holds as much of each in memory
	StreamsPerUser int           // event streams of one user on an instance
	Streams        int           // event streams on an instance
	Heartbeat      time.Duration // mean time between two signs of life on a silent stream; a quarter longer at most, and CloudFront waits for 60 s
}

// Database says how to reach PostgreSQL.
type Database struct {
	Primary          string   // host:port
	Replicas         []string // host:port of each
	Name             string
	Admin            Credentials
	App              Credentials
	TLS              *tls.Config   `json:"-"` // never nil; ServerName is set by the client
	Connections      int           // most in the pool
	StatementTimeout time.Duration // the server cancels a longer statement
}

// Cache says how to reach Redis.
type Cache struct {
	Endpoint string      // host:port
	Token    Secret      // sent with AUTH
	TLS      *tls.Config `json:"-"`
}

// Media says where objects are stored.
type Media struct{ Bucket string }

// Jobs says where image jobs are queued.
type Jobs struct{ QueueURL string }

// Events says where domain events are published.
type Events struct{ TopicARN string }

// Auth holds the key material for access tokens and cursors.
type Auth struct{ Secret Secret }

// databaseTLS returns libpq's verify-full with the given roots, or require
// without any.
func databaseTLS(roots *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            roots,
		InsecureSkipVerify: roots == nil, // see the package comment
	}
}

// cacheTLS verifies always: the certificates of ElastiCache chain to roots
// that systems ship.
func cacheTLS(endpoint string, roots *x509.CertPool) *tls.Config {
	host, _, _ := net.SplitHostPort(endpoint)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: host}
}
