package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/migration"
	"github.com/loadbearing/loadbearing/internal/migration/lint"
)

// connection returns as whom the schema is migrated and which role may use the
// tables. It is asked at each invocation: a secret may have been rotated since
// the function started.
type connection func(context.Context) (owner postgres.Config, role postgres.Role, err error)

// objects is the part of S3 that the function uses.
type objects interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// function is what handles an event.
type function struct {
	log     *slog.Logger
	connect connection
	objects objects
}

// handle applies what migrations are missing of the event's phase and makes sure
// that the role may use the tables. When one of a release's migrations, of any phase,
// would break the version that runs it applies none: the error is a *lint.RefusedError, by whose
// name a state machine can catch it.
func (f function) handle(ctx context.Context, event migration.Event) (migration.Result, error) {
	r, err := f.migrate(ctx, event)
	if err != nil {
		f.log.ErrorContext(ctx, "migration failed", "phase", event.Phase, "error", err)
		return migration.Result{}, err
	}
	return r, nil
}

func (f function) migrate(ctx context.Context, event migration.Event) (migration.Result, error) {
	if err := event.Phase.Validate(); err != nil {
		return migration.Result{}, err
	}
	files := postgres.Migrations()
	if event.Migrations != nil {
		var err error
		if files, err = f.fetch(ctx, *event.Migrations); err != nil {
			return migration.Result{}, err
		}
	}
	// A deployment's own were checked when it was built; the parser takes seconds to start.
	if event.Migrations != nil || event.Phase != migration.All || event.Check {
		if err := lint.Check(files); err != nil {
			return migration.Result{}, err
		}
	}
	owner, role, err := f.connect(ctx)
	if err != nil {
		return migration.Result{}, err
	}
	schema, err := postgres.Migrate(ctx, owner, role, postgres.Plan{Files: files, Phase: event.Phase, Check: event.Check})
	r := migration.Result{Version: schema.Version, Applied: []string{}, Pending: append([]string{}, schema.Pending...)}
	for _, m := range schema.Applied {
		f.log.InfoContext(ctx, "migration applied", "version", m.Version, "name", m.Name, "ms", m.Duration.Milliseconds())
		r.Applied = append(r.Applied, m.Name)
	}
	return r, err
}

// mostBytes of an archive of migrations: far more than text needs.
const mostBytes = 16 << 20

// fetch returns the migrations of a release, whose bytes have to be those that
// the release named.
func (f function) fetch(ctx context.Context, from contract.Artifact) (fs.FS, error) {
	source := "s3://" + from.Bucket + "/" + from.Key
	out, err := f.objects.GetObject(ctx, &s3.GetObjectInput{Bucket: &from.Bucket, Key: &from.Key})
	if err != nil {
		return nil, fmt.Errorf("download the migrations %s: %w", source, err)
	}
	defer out.Body.Close()
	archive, err := io.ReadAll(io.LimitReader(out.Body, mostBytes+1))
	if err != nil {
		return nil, fmt.Errorf("download the migrations %s: %w", source, err)
	}
	if len(archive) > mostBytes {
		return nil, fmt.Errorf("migrations %s refused: more than %d bytes", source, mostBytes)
	}
	sum := sha256.Sum256(archive)
	if got := hex.EncodeToString(sum[:]); got != from.SHA256 {
		return nil, fmt.Errorf("migrations %s refused: their SHA-256 is %s, the event says %q", source, got, from.SHA256)
	}
	return migration.Open(archive)
}
