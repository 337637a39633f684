package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	cloudfronttypes "github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/lambdas/rotate-origin/rotate"
	"github.com/loadbearing/loadbearing/lambdas/rotate-origin/settings"
)

const (
	refusal        = "not_through_the_edge"
	oldValue       = "OLD"
	propagation    = 4 * time.Minute
	mainRule       = "arn:rule/main"
	testerRule     = "arn:rule/tester"
	currentVersion = "v1"
	pendingVersion = "v2"
)

var errCrash = errors.New("the function ended here")

// world is the three services and what lies between them, in memory. Its edge
// locations go from one value of the header to the next at any time while a
// change of the distribution is on its way.
type world struct {
	t *testing.T

	// Secrets Manager.
	values map[string]string   // by version
	stages map[string][]string // by version

	// The load balancer, by rule.
	rules    map[string][]elbtypes.RuleCondition
	modified int // how often a rule was changed

	// CloudFront.
	sent     []string // what an edge location may send now
	config   []string // what each origin is configured to send
	etag     int
	deployed time.Time

	calls     int
	crashAt   int  // number of the call that is made, and whose answer nobody gets
	unchecked bool // requests may be refused already
}

func newWorld(t *testing.T) *world {
	t.Helper()
	header := func(name string, values ...string) elbtypes.RuleCondition {
		return elbtypes.RuleCondition{Field: aws.String("http-header"), HttpHeaderConfig: &elbtypes.HttpHeaderConditionConfig{
			HttpHeaderName: &name, Values: values,
		}}
	}
	w := &world{
		t:      t,
		values: map[string]string{currentVersion: oldValue},
		stages: map[string][]string{currentVersion: {"AWSCURRENT"}, pendingVersion: {"AWSPENDING"}},
		rules: map[string][]elbtypes.RuleCondition{
			mainRule: {header(contract.OriginVerifyHeader, oldValue)},
			testerRule: {
				header("X-Release", "green"),
				header(contract.OriginVerifyHeader, oldValue),
				{Field: aws.String("path-pattern"), Values: []string{"/v1/*"}, PathPatternConfig: &elbtypes.PathPatternConditionConfig{Values: []string{"/v1/*"}}},
			},
		},
		sent:     []string{oldValue},
		config:   []string{oldValue, oldValue},
		deployed: time.Now(),
	}
	return w
}

func (w *world) rotator() *rotate.Rotator {
	return &rotate.Rotator{
		Settings: settings.Settings{
			Distribution: "E1", EdgeURL: "https://edge.test", Rules: []string{mainRule, testerRule}, Refusal: refusal,
		},
		Secrets: w, Rules: w, Distributions: w, HTTP: w, Log: slog.New(slog.DiscardHandler),
	}
}

// accepted is the values that the rule accepts.
func (w *world) accepted(rule string) []string {
	for _, c := range w.rules[rule] {
		if c.HttpHeaderConfig != nil && *c.HttpHeaderConfig.HttpHeaderName == contract.OriginVerifyHeader {
			return c.HttpHeaderConfig.Values
		}
	}
	return nil
}

// settle lets a change that was on its way long enough arrive.
func (w *world) settle() {
	if !time.Now().Before(w.deployed) {
		w.sent = slices.Compact(slices.Sorted(slices.Values(w.config)))
	}
}

// call counts a call that was made and checks that no request is refused after it.
func (w *world) call() error {
	w.t.Helper()
	w.settle()
	for rule := range w.rules {
		for _, value := range w.sent {
			if !w.unchecked && !slices.Contains(w.accepted(rule), value) {
				w.t.Errorf("after call %d an edge location sends %s and %s accepts %v", w.calls, value, rule, w.accepted(rule))
			}
		}
	}
	w.calls++
	if w.calls == w.crashAt {
		return errCrash
	}
	return nil
}

func (w *world) DescribeSecret(context.Context, *sm.DescribeSecretInput, ...func(*sm.Options)) (*sm.DescribeSecretOutput, error) {
	return &sm.DescribeSecretOutput{VersionIdsToStages: maps.Clone(w.stages)}, w.call()
}

func (w *world) GetSecretValue(_ context.Context, in *sm.GetSecretValueInput, _ ...func(*sm.Options)) (*sm.GetSecretValueOutput, error) {
	value, ok := w.values[*in.VersionId]
	if err := w.call(); err != nil {
		return nil, err
	}
	if !ok {
		return nil, &smtypes.ResourceNotFoundException{}
	}
	return &sm.GetSecretValueOutput{SecretString: &value}, nil
}

func (w *world) PutSecretValue(_ context.Context, in *sm.PutSecretValueInput, _ ...func(*sm.Options)) (*sm.PutSecretValueOutput, error) {
	if _, exists := w.values[*in.ClientRequestToken]; exists {
		return nil, &smtypes.ResourceExistsException{}
	}
	w.values[*in.ClientRequestToken] = *in.SecretString
	w.stages[*in.ClientRequestToken] = in.VersionStages
	return &sm.PutSecretValueOutput{}, w.call()
}

func (w *world) UpdateSecretVersionStage(_ context.Context, in *sm.UpdateSecretVersionStageInput, _ ...func(*sm.Options)) (*sm.UpdateSecretVersionStageOutput, error) {
	if !slices.Contains(w.stages[*in.RemoveFromVersionId], *in.VersionStage) {
		return nil, &smtypes.InvalidParameterException{}
	}
	w.stages[*in.RemoveFromVersionId] = []string{"AWSPREVIOUS"}
	w.stages[*in.MoveToVersionId] = append(w.stages[*in.MoveToVersionId], *in.VersionStage)
	return &sm.UpdateSecretVersionStageOutput{}, w.call()
}

func (w *world) DescribeRules(_ context.Context, in *elb.DescribeRulesInput, _ ...func(*elb.Options)) (*elb.DescribeRulesOutput, error) {
	out := &elb.DescribeRulesOutput{}
	for _, arn := range in.RuleArns {
		if conditions, ok := w.rules[arn]; ok {
			out.Rules = append(out.Rules, elbtypes.Rule{RuleArn: &arn, Conditions: conditions})
		}
	}
	return out, w.call()
}

func (w *world) ModifyRule(_ context.Context, in *elb.ModifyRuleInput, _ ...func(*elb.Options)) (*elb.ModifyRuleOutput, error) {
	if in.Actions != nil {
		w.t.Error("a rotation changed the action of a rule, which holds the weights")
	}
	for _, c := range in.Conditions {
		if c.Values != nil {
			return nil, fmt.Errorf("%s has its values twice", *c.Field)
		}
	}
	w.rules[*in.RuleArn] = in.Conditions
	w.modified++
	return &elb.ModifyRuleOutput{}, w.call()
}

func (w *world) GetDistribution(context.Context, *cloudfront.GetDistributionInput, ...func(*cloudfront.Options)) (*cloudfront.GetDistributionOutput, error) {
	status := "Deployed"
	if time.Now().Before(w.deployed) {
		status = "InProgress"
	}
	origins := []cloudfronttypes.Origin{{Id: aws.String("bucket")}}
	for _, value := range w.config {
		origins = append(origins, cloudfronttypes.Origin{CustomHeaders: &cloudfronttypes.CustomHeaders{Items: []cloudfronttypes.OriginCustomHeader{
			{HeaderName: aws.String("X-Other"), HeaderValue: aws.String("kept")},
			{HeaderName: aws.String(contract.OriginVerifyHeader), HeaderValue: &value},
		}}})
	}
	return &cloudfront.GetDistributionOutput{
		ETag: aws.String(fmt.Sprint(w.etag)),
		Distribution: &cloudfronttypes.Distribution{Status: &status, DistributionConfig: &cloudfronttypes.DistributionConfig{
			Origins: &cloudfronttypes.Origins{Items: origins},
		}},
	}, w.call()
}

func (w *world) UpdateDistribution(_ context.Context, in *cloudfront.UpdateDistributionInput, _ ...func(*cloudfront.Options)) (*cloudfront.UpdateDistributionOutput, error) {
	if *in.IfMatch != fmt.Sprint(w.etag) {
		return nil, &cloudfronttypes.PreconditionFailed{}
	}
	w.config = nil
	for _, origin := range in.DistributionConfig.Origins.Items {
		if origin.CustomHeaders == nil {
			continue
		}
		if other := origin.CustomHeaders.Items[0]; *other.HeaderValue != "kept" {
			w.t.Errorf("the header %s was changed", *other.HeaderName)
		}
		w.config = append(w.config, *origin.CustomHeaders.Items[1].HeaderValue)
	}
	w.etag++
	w.sent = slices.Compact(slices.Sorted(slices.Values(append(w.sent, w.config...))))
	w.deployed = time.Now().Add(propagation)
	return &cloudfront.UpdateDistributionOutput{}, w.call()
}

// Do is a request through the edge.
func (w *world) Do(*http.Request) (*http.Response, error) {
	w.settle()
	status, body := http.StatusServiceUnavailable, "no healthy target"
	for _, value := range w.sent {
		if !slices.Contains(w.accepted(mainRule), value) {
			status, body = http.StatusForbidden, `{"code":"`+refusal+`"}`
		}
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, w.call()
}
