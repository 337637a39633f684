// Package rotate replaces the value of the secret header that CloudFront adds to
// each request and a load balancer's listener rules require, while requests go
// on: at every moment the rules accept what any edge location may send.
//
// Secrets Manager calls the four steps in order and all of them again after a
// failure. Each finds out how far an earlier attempt came and goes on there, so
// any step may be repeated, and may end at any of its calls.
package rotate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/loadbearing/loadbearing/lambdas/rotate-origin/settings"
)

// Staging labels of a secret's versions.
const (
	current = "AWSCURRENT"
	pending = "AWSPENDING"
)

// Secrets is the part of the Secrets Manager client that a rotation uses.
type Secrets interface {
	DescribeSecret(context.Context, *sm.DescribeSecretInput, ...func(*sm.Options)) (*sm.DescribeSecretOutput, error)
	GetSecretValue(context.Context, *sm.GetSecretValueInput, ...func(*sm.Options)) (*sm.GetSecretValueOutput, error)
	PutSecretValue(context.Context, *sm.PutSecretValueInput, ...func(*sm.Options)) (*sm.PutSecretValueOutput, error)
	UpdateSecretVersionStage(context.Context, *sm.UpdateSecretVersionStageInput, ...func(*sm.Options)) (*sm.UpdateSecretVersionStageOutput, error)
}

// Rotator does the steps of a rotation.
type Rotator struct {
	Settings      settings.Settings
	Secrets       Secrets
	Rules         Rules
	Distributions Distributions
	HTTP          Doer
	Log           *slog.Logger
}

// Handle does one step. A step that the version is past does nothing.
func (r *Rotator) Handle(ctx context.Context, event events.SecretsManagerSecretRotationEvent) error {
	log := r.Log.With("step", event.Step, "version", event.ClientRequestToken)
	if err := r.step(ctx, event); err != nil {
		log.ErrorContext(ctx, "the step failed and will be repeated", "error", err)
		return fmt.Errorf("%s: %w", event.Step, err)
	}
	log.InfoContext(ctx, "the step is done")
	return nil
}

func (r *Rotator) step(ctx context.Context, event events.SecretsManagerSecretRotationEvent) error {
	if event.Step == "testSecret" {
		// Secrets Manager also calls this step alone, with a version that it makes
		// for it, to try a new rotation schedule.
		return r.test(ctx)
	}
	v, err := r.version(ctx, event)
	if err != nil {
		return err
	}
	switch event.Step {
	case "createSecret":
		return r.create(ctx, v)
	case "setSecret":
		return r.set(ctx, v)
	case "finishSecret":
		return r.finish(ctx, v)
	}
	return errors.New("there is no such step")
}

// version is the version of the secret that a rotation is about.
type version struct {
	secret, id string
	current    string // id of the version in use
}

func (v version) inUse() bool { return v.id == v.current }

// version refuses one that Secrets Manager does not rotate to, such as an event
// of an earlier rotation that is delivered again.
func (r *Rotator) version(ctx context.Context, event events.SecretsManagerSecretRotationEvent) (version, error) {
	described, err := r.Secrets.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &event.SecretID})
	if err != nil {
		return version{}, fmt.Errorf("describe the secret: %w", err)
	}
	v := version{secret: event.SecretID, id: event.ClientRequestToken}
	for id, stages := range described.VersionIdsToStages {
		if slices.Contains(stages, current) {
			v.current = id
		}
	}
	stages := described.VersionIdsToStages[v.id]
	if !slices.Contains(stages, pending) && !slices.Contains(stages, current) {
		return version{}, fmt.Errorf("the version is neither %s nor %s", pending, current)
	}
	return v, nil
}

// create gives the pending version a value, unless it has one.
func (r *Rotator) create(ctx context.Context, v version) error {
	if v.inUse() {
		return nil
	}
	_, err := r.value(ctx, v.secret, v.id)
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); !missing {
		return err
	}
	_, err = r.Secrets.PutSecretValue(ctx, &sm.PutSecretValueInput{
		SecretId:           &v.secret,
		ClientRequestToken: &v.id,
		SecretString:       aws.String(newValue()),
		VersionStages:      []string{pending},
	})
	if _, exists := errors.AsType[*types.ResourceExistsException](err); exists {
		return nil // another attempt was faster, and its value counts
	}
	if err != nil {
		return fmt.Errorf("store the new value: %w", err)
	}
	return nil
}

// newValue is 52 characters of base32: letters and digits, because a listener
// rule reads * and ? as wildcards, and of one case, because it compares without
// regard to it. That is 260 bits of randomness.
func newValue() string {
	return rand.Text() + rand.Text()
}

// set lets the rules accept the new value beside what is sent now, then lets the
// distribution send the new one.
func (r *Rotator) set(ctx context.Context, v version) error {
	if v.inUse() {
		return nil
	}
	was, err := r.value(ctx, v.secret, v.current)
	if err != nil {
		return err
	}
	is, err := r.value(ctx, v.secret, v.id)
	if err != nil {
		return err
	}
	// While another change is on its way, edge locations send what nobody can
	// tell from here.
	d, err := r.await(ctx, func(d *distribution) bool { return d.deployed() || d.sendsOnly(is) })
	if err != nil {
		return err
	}
	if err := r.accept(ctx, unique(append(d.values(), was, is)...)); err != nil {
		return err
	}
	if !d.sendsOnly(is) {
		if err := r.send(ctx, d, is); err != nil {
			return err
		}
	}
	_, err = r.await(ctx, func(d *distribution) bool { return d.deployed() })
	return err
}

// finish makes the pending version the current one and then lets the rules
// accept nothing else.
func (r *Rotator) finish(ctx context.Context, v version) error {
	is, err := r.value(ctx, v.secret, v.id)
	if err != nil {
		return err
	}
	d, err := r.await(ctx, func(d *distribution) bool { return d.deployed() })
	if err != nil {
		return err
	}
	if !d.sendsOnly(is) {
		return errors.New("the distribution does not send the new value")
	}
	if !v.inUse() {
		if _, err := r.Secrets.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{
			SecretId:            &v.secret,
			VersionStage:        aws.String(current),
			MoveToVersionId:     &v.id,
			RemoveFromVersionId: &v.current,
		}); err != nil {
			return fmt.Errorf("make the new version the current one: %w", err)
		}
	}
	return r.accept(ctx, []string{is})
}

func (r *Rotator) value(ctx context.Context, secret, id string) (string, error) {
	got, err := r.Secrets.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: &secret, VersionId: &id})
	if err != nil {
		return "", fmt.Errorf("read version %s of the secret: %w", id, err)
	}
	if aws.ToString(got.SecretString) == "" {
		return "", fmt.Errorf("version %s of the secret holds no text", id)
	}
	return *got.SecretString, nil
}

// unique drops empty and repeated texts.
func unique(texts ...string) []string {
	var list []string
	for _, text := range texts {
		if text != "" && !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}

// pause waits until the distribution is worth another look, or for the end of
// ctx, which Lambda sets to the function's timeout.
func pause(ctx context.Context) error {
	timer := time.NewTimer(pollInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
