package rotate_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/lambdas/rotate-origin/rotate"
)

var steps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

func event(step string) events.SecretsManagerSecretRotationEvent {
	return events.SecretsManagerSecretRotationEvent{Step: step, SecretID: "arn:secret", ClientRequestToken: pendingVersion}
}

// rotateOnce does all steps and returns the first error, as Secrets Manager does.
func rotateOnce(r *rotate.Rotator) error {
	for _, step := range steps {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
		err := r.Handle(ctx, event(step))
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func requireRotated(t *testing.T, w *world) {
	t.Helper()
	value := w.values[pendingVersion]
	require.Regexp(t, `^[A-Z2-7]{52}$`, value)
	require.Equal(t, []string{"AWSPENDING", "AWSCURRENT"}, w.stages[pendingVersion])
	require.Equal(t, []string{value, value}, w.config)
	for _, rule := range []string{mainRule, testerRule} {
		require.Equal(t, []string{value}, w.accepted(rule))
	}
	require.Len(t, w.rules[testerRule], 3, "its other conditions")
}

func TestRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start := time.Now()
		require.NoError(t, rotateOnce(w.rotator()))
		requireRotated(t, w)
		require.InDelta(t, propagation, time.Since(start), float64(15*time.Second), "it ends when the distribution is deployed")
	})
}

// TestRotationAfterACrash ends the function at each call that it makes, whose
// effect stays, and starts all steps again.
func TestRotationAfterACrash(t *testing.T) {
	t.Parallel()
	calls := 0
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		require.NoError(t, rotateOnce(w.rotator()))
		calls = w.calls
	})
	require.Greater(t, calls, 20)
	for crash := range calls {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.crashAt = crash + 1
			require.ErrorIs(t, rotateOnce(w.rotator()), errCrash)
			require.NoError(t, rotateOnce(w.rotator()))
			requireRotated(t, w)
		})
	}
}

func TestEveryStepMayBeRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, step := range steps {
			for range 2 {
				require.NoError(t, w.rotator().Handle(context.Background(), event(step)))
			}
		}
		requireRotated(t, w)
		version := w.etag
		require.NoError(t, rotateOnce(w.rotator()), "all again")
		requireRotated(t, w)
		require.Equal(t, version, w.etag, "the distribution was changed once")
		require.Equal(t, 4, w.modified, "each rule was changed to accept both values, then one")
	})
}

func TestSetWaitsInThePartsThatItsTimeoutAllows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		require.NoError(t, w.rotator().Handle(context.Background(), event("createSecret")))
		attempts := 1
		for {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			err := w.rotator().Handle(ctx, event("setSecret"))
			cancel()
			if err == nil {
				break
			}
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, "setSecret: wait until distribution E1 is deployed")
			attempts++
		}
		require.Equal(t, 4, attempts)
		require.Equal(t, 1, w.etag, "the distribution was changed once")
	})
}

// An operator who gives up a rotation between two steps leaves a distribution
// that sends a value of no version any more.
func TestWhatTheDistributionSendsStaysAccepted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		require.NoError(t, w.rotator().Handle(context.Background(), event("createSecret")))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		require.Error(t, w.rotator().Handle(ctx, event("setSecret")))
		cancel()
		delete(w.values, pendingVersion)

		require.NoError(t, rotateOnce(w.rotator()))
		requireRotated(t, w)
	})
}

// A cdk deploy during the rotation writes the current value everywhere again.
func TestADeploymentMeanwhileIsRepaired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, step := range []string{"createSecret", "setSecret"} {
			require.NoError(t, w.rotator().Handle(context.Background(), event(step)))
		}
		w.config, w.sent = []string{oldValue, oldValue}, []string{oldValue}
		err := w.rotator().Handle(context.Background(), event("finishSecret"))
		require.EqualError(t, err, "finishSecret: the distribution does not send the new value")
		require.Contains(t, w.stages[currentVersion], "AWSCURRENT")

		require.NoError(t, rotateOnce(w.rotator()))
		requireRotated(t, w)
	})
}

func TestTestSecret(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		err    error
		want   string
	}{
		"served":                {status: 200, body: "ok"},
		"no target":             {status: 503, body: "Service Temporarily Unavailable"},
		"refused by the ACL":    {status: 403, body: "Request blocked"},
		"refused by the origin": {status: 403, body: `{"code":"not_through_the_edge"}`, want: "testSecret: the load balancer refuses what the edge sends"},
		"no answer":             {err: errors.New("no route"), want: "testSecret: ask the edge: no route"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newWorld(t).rotator()
			r.HTTP = doer(func(request *http.Request) (*http.Response, error) {
				require.Equal(t, "https://edge.test/healthz", request.URL.String())
				return &http.Response{StatusCode: tc.status, Body: io.NopCloser(strings.NewReader(tc.body))}, tc.err
			})
			err := r.Handle(t.Context(), event("testSecret"))
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, tc.want)
		})
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(request *http.Request) (*http.Response, error) { return d(request) }

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*world)
		step   string
		want   string
	}{
		"unknown step":         {func(*world) {}, "dropSecret", "dropSecret: there is no such step"},
		"version of the past":  {func(w *world) { w.stages[pendingVersion] = []string{"AWSPREVIOUS"} }, "setSecret", "setSecret: the version is neither AWSPENDING nor AWSCURRENT"},
		"nothing created":      {func(w *world) { w.values[pendingVersion] = "" }, "setSecret", "setSecret: version v2 of the secret holds no text"},
		"rule is gone":         {func(w *world) { delete(w.rules, testerRule) }, "setSecret", "setSecret: 1 of the 2 listener rules exist"},
		"rule without header":  {func(w *world) { w.rules[testerRule] = nil }, "setSecret", "setSecret: listener rule arn:rule/tester: it does not require X-Origin-Verify"},
		"origins without":      {func(w *world) { w.config = nil }, "setSecret", "setSecret: no origin of distribution E1 sends X-Origin-Verify"},
		"too many values sent": {func(w *world) { w.config = []string{"A", "B"} }, "setSecret", "setSecret: the origins of distribution E1 send 4 different values of X-Origin-Verify; a rule accepts 3 at most, with the current and the new one"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.values[pendingVersion] = "NEW"
			w.unchecked = true
			tc.change(w)
			require.EqualError(t, w.rotator().Handle(t.Context(), event(tc.step)), tc.want)
		})
	}
}

func TestSetWaitsForAChangeThatIsOnItsWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for rule := range w.rules {
			for _, c := range w.rules[rule] {
				if c.HttpHeaderConfig != nil && *c.HttpHeaderConfig.HttpHeaderName == contract.OriginVerifyHeader {
					c.HttpHeaderConfig.Values = []string{oldValue, "FIRST", "SECOND"}
				}
			}
		}
		w.sent, w.config = []string{"FIRST", "SECOND"}, []string{"SECOND", "SECOND"}
		w.deployed = time.Now().Add(propagation)
		require.NoError(t, rotateOnce(w.rotator()))
		requireRotated(t, w)
	})
}

// faster is Secrets Manager when another attempt stores a value first.
type faster struct{ *world }

func (f faster) GetSecretValue(context.Context, *sm.GetSecretValueInput, ...func(*sm.Options)) (*sm.GetSecretValueOutput, error) {
	return nil, &smtypes.ResourceNotFoundException{}
}

func TestCreateKeepsTheValueOfAFasterAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.values[pendingVersion] = "FASTER"
	r := w.rotator()
	r.Secrets = faster{w}
	require.NoError(t, r.Handle(t.Context(), event("createSecret")))
	require.Equal(t, "FASTER", w.values[pendingVersion])
}
