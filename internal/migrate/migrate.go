// Package migrate changes the schema of an environment's database by invoking the
// deployed migrate function, on AWS and on an emulator alike.
package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/migration"
)

// limit is Lambda's own: no invocation is longer than 15 minutes.
const limit = 15 * time.Minute

// Run invokes the migrate function of an environment and waits for it. The
// function holds an advisory lock, so that two runs apply each migration once.
func Run(ctx context.Context, cfg aws.Config, environment string, event migration.Event) (migration.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	name := contract.MigrateFunction(environment)
	payload, err := json.Marshal(event)
	if err != nil {
		return migration.Result{}, fmt.Errorf("migrate: encode the event: %w", err)
	}
	client := lambda.NewFromConfig(cfg, func(o *lambda.Options) {
		// A lost answer is not a failed migration: look before running it again.
		o.Retryer = retry.AddWithMaxAttempts(o.Retryer, 1)
	})
	out, err := client.Invoke(ctx, &lambda.InvokeInput{
		FunctionName:   &name,
		InvocationType: types.InvocationTypeRequestResponse,
		Payload:        payload,
	})
	if err != nil {
		return migration.Result{}, fmt.Errorf("migrate: invoke %s: %w", name, err)
	}
	if out.FunctionError != nil {
		var failure struct {
			Message string `json:"errorMessage"`
		}
		if json.Unmarshal(out.Payload, &failure) == nil && failure.Message != "" {
			return migration.Result{}, fmt.Errorf("migrate: %s failed: %w", name, errors.New(failure.Message))
		}
		return migration.Result{}, fmt.Errorf("migrate: %s failed (%s): %s", name, *out.FunctionError, out.Payload)
	}
	var r migration.Result
	if err := json.Unmarshal(out.Payload, &r); err != nil {
		return migration.Result{}, fmt.Errorf("migrate: %s answered %q: %w", name, out.Payload, err)
	}
	return r, nil
}
