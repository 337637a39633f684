package release

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// Recover leaves no release without an execution that works on it, and no weights
// or versions that no release has set. It runs every minute, when an execution ends, and
// after each deployment of the stack that holds the listener rule. It answers
// what it did, or "".
func (c *Controller) Recover(ctx context.Context) (string, error) {
	r, err := c.open(ctx)
	if err != nil {
		return "", err
	}
	s := r.state
	if s.Number == 0 {
		return "", nil
	}
	if s.Phase.Over() {
		return r.restore(ctx)
	}
	status, err := c.Cloud.execution(ctx, s.Execution)
	if err != nil {
		return "", err
	}
	in := Input{Number: s.Number, By: s.By, Continue: true}
	switch status {
	case sfntypes.ExecutionStatusRunning, sfntypes.ExecutionStatusPendingRedrive:
		if s.Phase == Baking || s.Phase == Promoted {
			return r.restore(ctx)
		}
		return "", nil // it sets them itself, and now
	case "": // Step Functions knows of no such execution: it has lost its state
	case sfntypes.ExecutionStatusSucceeded:
		// It left the release to another one, which has ended.
	default:
		in.RollBack = fmt.Sprintf("its execution is %s", status)
	}
	name, err := c.Cloud.start(ctx, r.target, s.Attempt+1, in)
	if err != nil || name == "" {
		return "", err
	}
	return fmt.Sprintf("execution %s takes over release %d, which is %s", name, s.Number, s.Phase), nil
}

// restore gives the rule the weights of the state, and the color that serves the
// artifact that was released, when they are others: a deployment of a template
// writes the ones it was made with.
func (r *run) restore(ctx context.Context) (string, error) {
	weights, err := r.restoreWeights(ctx)
	if err != nil {
		return "", err
	}
	artifact, err := r.restoreArtifact(ctx)
	return strings.Trim(weights+"; "+artifact, "; "), err
}

func (r *run) restoreWeights(ctx context.Context) (string, error) {
	have, err := r.Cloud.forward(ctx, r.target)
	if err != nil {
		return "", err
	}
	to := r.state.To
	percent := r.state.Weight
	if r.state.Plan.Strategy == Rolling || have.percent(to) == percent {
		return "", nil
	}
	want := forward{weights: map[string]int{to: percent, Other(to): 100 - percent}}
	if percent > 0 && percent < 100 {
		want.sticky = have.sticky
	}
	// An execution may have set others since the state was read.
	now, err := r.Cloud.state(ctx, r.Fleet)
	if err != nil {
		return "", err
	}
	if now.Number != r.state.Number || now.Phase != r.state.Phase || now.Weight != percent {
		return "", nil // the next look will tell
	}
	if err := r.Cloud.shift(ctx, r.target, want); err != nil {
		return "", err
	}
	return fmt.Sprintf("listener rule %s had the weights %v, now those of release %d, %v", r.target.Rule, have.weights, r.state.Number, want.weights), nil
}

func (r *run) restoreArtifact(ctx context.Context) (string, error) {
	want := r.state.Plan.Artifact
	switch r.state.Phase {
	case Promoted, Done:
	case RolledBack:
		want = r.state.Former
	default:
		return "", nil // the release writes them itself
	}
	name := r.target.Colors[r.state.Serving()].Artifact
	var have contract.Artifact
	if err := r.Cloud.read(ctx, name, &have); err != nil || have == want || want.Key == "" {
		return "", err
	}
	if err := r.Cloud.write(ctx, name, want); err != nil {
		return "", err
	}
	return fmt.Sprintf("parameter %s named s3://%s/%s, now what release %d left serving, s3://%s/%s; release a version, a deployment does not",
		name, have.Bucket, have.Key, r.state.Number, want.Bucket, want.Key), nil
}

// executionName names an execution of a release: 000012, and 000012-1 for the
// first that takes it over. Step Functions keeps a name for 90 days, so of two
// that begin the same release one is refused.
func executionName(number, attempt int) string {
	if attempt == 0 {
		return fmt.Sprintf("%06d", number)
	}
	return fmt.Sprintf("%06d-%d", number, attempt)
}

// start starts an execution and returns its name, "" when somebody else has just
// started the same. A name whose execution has ended is not used again.
func (c Cloud) start(ctx context.Context, t contract.ReleaseTarget, attempt int, in Input) (string, error) {
	in.Token = rand.Text()
	for ; ; attempt++ {
		text, err := json.Marshal(in)
		if err != nil {
			return "", err
		}
		name := executionName(in.Number, attempt)
		_, err = c.Executions.StartExecution(ctx, &sfn.StartExecutionInput{
			StateMachineArn: &t.StateMachine, Name: &name, Input: aws.String(string(text)),
		})
		if _, exists := errors.AsType[*sfntypes.ExecutionAlreadyExists](err); exists {
			status, err := c.execution(ctx, executionARN(t, name))
			if err != nil || status == sfntypes.ExecutionStatusRunning {
				return "", err
			}
			if attempt == 0 {
				in.Number, attempt = in.Number+1, -1
			}
			continue
		}
		if err != nil {
			return "", fmt.Errorf("start execution %s of %s: %w", name, t.StateMachine, err)
		}
		return name, nil
	}
}

// execution returns the status of an execution, "" when there is none.
func (c Cloud) execution(ctx context.Context, arn string) (sfntypes.ExecutionStatus, error) {
	out, err := c.Executions.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
	if _, missing := errors.AsType[*sfntypes.ExecutionDoesNotExist](err); missing {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read execution %s: %w", arn, err)
	}
	return out.Status, nil
}

// executionARN is that of an execution of a state machine.
func executionARN(t contract.ReleaseTarget, name string) string {
	return strings.Replace(t.StateMachine, ":stateMachine:", ":execution:", 1) + ":" + name
}
