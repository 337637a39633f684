package main

import (
	"bytes"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/release"
)

// planned parses flags as `loadbearing release` does.
func planned(t *testing.T, args ...string) (release.Plan, error) {
	t.Helper()
	var s start
	fs := newFlags("release start")
	s.flags(fs)
	fs.SetOutput(io.Discard)
	require.NoError(t, fs.Parse(args))
	return s.plan()
}

func TestReleaseFlagsMakeThePlan(t *testing.T) {
	t.Parallel()
	plan, err := planned(t, "--strategy", "canary", "--steps", "1, 10,100", "--bake", "90s", "--max-error-rate", "0.5%",
		"--max-p99", "250ms", "--max-p99-ratio", "2", "--min-requests", "50", "--min-errors", "2", "--window", "1h",
		"--launch-timeout", "5m", "--timeout", "6h", "--hold", "--version", "v2")
	require.NoError(t, err)
	require.Equal(t, release.Plan{
		Strategy: release.Canary, Version: "v2", Steps: []int{1, 10, 100}, Hold: true,
		Bake: release.Duration(90 * time.Second), MaxErrorPercent: 0.5,
		MaxP99: release.Duration(250 * time.Millisecond), MaxP99Ratio: 2, MinRequests: 50, MinErrors: 2,
		Window: release.Duration(time.Hour), LaunchTimeout: release.Duration(5 * time.Minute), Timeout: release.Duration(6 * time.Hour),
	}, plan)

	// What is not said is left to the controller's defaults, the same for everybody.
	plan, err = planned(t, "--strategy", "blue-green")
	require.NoError(t, err)
	require.Equal(t, release.Plan{Strategy: release.BlueGreen}, plan)
	plan, err = planned(t, "--strategy", "blue-green", "--max-error-rate", "2")
	require.NoError(t, err)
	require.InDelta(t, 2, plan.MaxErrorPercent, 0)
}

// The help says the defaults that a plan has.
func TestReleaseHelpSaysTheDefaults(t *testing.T) {
	t.Parallel()
	plan := release.Plan{Strategy: release.Canary}.WithDefaults()
	var s start
	fs := newFlags("release start")
	s.flags(fs)
	for name, value := range map[string]release.Duration{
		"bake": plan.Bake, "max-p99": plan.MaxP99, "window": plan.Window, "launch-timeout": plan.LaunchTimeout, "timeout": plan.Timeout,
	} {
		require.Contains(t, fs.Lookup(name).Usage, "default "+short(value), name)
	}
	require.Contains(t, fs.Lookup("steps").Usage, "default 5,25,50,100")
	require.Equal(t, []int{5, 25, 50, 100}, plan.Steps)
	require.Contains(t, fs.Lookup("max-error-rate").Usage, "default 1%")
	require.InDelta(t, 1, plan.MaxErrorPercent, 0)
	require.Contains(t, fs.Lookup("max-p99-ratio").Usage, "default 3")
	require.InDelta(t, 3, plan.MaxP99Ratio, 0)
	require.Contains(t, fs.Lookup("min-requests").Usage, "default 200")
	require.Equal(t, 200, plan.MinRequests)
	require.Contains(t, fs.Lookup("min-errors").Usage, "default 3")
	require.Equal(t, 3, plan.MinErrors)
}

// short is a duration as people write it: 2m, not 2m0s.
func short(d release.Duration) string {
	text := time.Duration(d).String()
	for _, unit := range []string{"m0s", "h0m"} {
		if before, found := strings.CutSuffix(text, unit); found {
			text = before + unit[:1]
		}
	}
	return text
}

func TestReleaseRefusesAPlanBeforeAnythingIsBuilt(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		`strategy is ""; allowed: rolling, blue-green, canary`:         {},
		`steps is [50 25 100]`:                                         {"--strategy", "canary", "--steps", "50,25,100"},
		`--steps "5;100": percentages with commas between`:             {"--strategy", "canary", "--steps", "5;100"},
		`--max-error-rate "some": a percentage above 0, as in 1%`:      {"--strategy", "canary", "--max-error-rate", "some"},
		`--max-error-rate "0%": a percentage above 0, as in 1%`:        {"--strategy", "canary", "--max-error-rate", "0%"},
		`--max-error-rate "NaN": a percentage above 0, as in 1%`:       {"--strategy", "canary", "--max-error-rate", "NaN"},
		`hold is true; allowed: only with blue-green and canary`:       {"--strategy", "rolling", "--hold"},
		`bake is 10ms; allowed: 1s to 24h0m0s`:                         {"--strategy", "blue-green", "--bake", "10ms"},
		`min_requests is -1; allowed: 1 or more`:                       {"--strategy", "blue-green", "--min-requests", "-1"},
		`steps is [5 100]; allowed: 100, blue-green moves all traffic`: {"--strategy", "blue-green", "--steps", "5,100"},
	} {
		_, err := planned(t, args...)
		require.ErrorContains(t, err, want)
		var usage usageError
		require.ErrorAs(t, err, &usage, args)
		require.NotContains(t, err.Error(), "artifact", "which is known later")
	}
}

func TestReleaseVerbs(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	for _, args := range [][]string{nil, {"help"}} {
		out.Reset()
		require.NoError(t, runRelease(t.Context(), args, &out, io.Discard))
		for _, verb := range []string{"status", "pause", "resume", "rollback", "history"} {
			require.Contains(t, out.String(), "\n  "+verb+" ")
		}
	}
	var usage usageError
	err := runRelease(t.Context(), []string{"promote"}, &out, io.Discard)
	require.ErrorAs(t, err, &usage)
	require.EqualError(t, err, `no verb "promote" of release; there are: status, pause, resume, rollback, history`)
	// A flag of another verb, or of none.
	for _, args := range [][]string{{"pause", "--follow"}, {"status", "--reason", "why"}, {"history", "--strategy", "canary"}, {"--follow"}, {"rollback", "now"}} {
		require.ErrorAs(t, runRelease(t.Context(), args, &out, io.Discard), &usage, args)
	}
	require.ErrorIs(t, runRelease(t.Context(), []string{"-h"}, &out, io.Discard), flag.ErrHelp)
}

func TestReleaseStatus(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	plan := release.Plan{Strategy: release.Canary, Version: "v2"}.WithDefaults()
	view := release.View{
		At: at,
		State: release.State{
			Number: 7, Plan: plan, By: "ada@desk", Phase: release.Baking, Step: 1, From: "blue", To: "green", Weight: 25,
			Entered: at.Add(-90*time.Second - 400*time.Millisecond),
		},
		Colors: map[string]release.Look{
			"blue": {
				Percent: 75, Artifact: contract.Artifact{SHA256: strings.Repeat("a", 64)}, Desired: 3, InService: 3, Healthy: 3, Targets: 3,
				Measured: release.Measured{Requests: 3000, Errors: 3, P99: release.Duration(41_300 * time.Microsecond)},
			},
			"green": {
				Percent: 25, Artifact: contract.Artifact{SHA256: strings.Repeat("b", 64)}, Desired: 3, InService: 2, Healthy: 2, Targets: 3,
				Measured: release.Measured{Requests: 1000, Errors: 15, P99: release.Duration(1234 * time.Millisecond)},
			},
		},
	}
	var out bytes.Buffer
	require.NoError(t, printView(&out, view))
	require.Equal(t, `release 7  v2  canary by ada@desk  baking for 1m30s  step 2 of 4, 2m0s
  COLOR  TRAFFIC                        ARTIFACT      INSTANCES  HEALTHY  REQUESTS  5XX     P99
  blue    75 %    ███████████████░░░░░  aaaaaaaaaaaa  3 of 3     3 of 3   3000      0.10 %  41ms
  green   25 %    █████░░░░░░░░░░░░░░░  bbbbbbbbbbbb  2 of 3     2 of 3   1000      1.50 %  1.234s
`, out.String())

	view.State = release.State{}
	out.Reset()
	require.NoError(t, printView(&out, view))
	require.True(t, strings.HasPrefix(out.String(), "no release yet; the version that was deployed serves\n  COLOR"), out.String())
}

func TestReleaseHistory(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	plan := release.Plan{Strategy: release.Canary, Version: "v2"}
	var out bytes.Buffer
	require.NoError(t, printHistory(&out, []release.Past{
		{Number: 3, Execution: "000003", Status: "RUNNING", Started: at, Plan: release.Plan{Strategy: release.Rolling, Version: "v3"}, By: "bob"},
		{Number: 2, Execution: "000002-1", Status: "SUCCEEDED", Started: at.Add(-time.Minute), Stopped: at.Add(-50 * time.Second), By: "ada", Outcome: release.RolledBack, Continued: true},
		{Number: 2, Execution: "000002", Status: "SUCCEEDED", Started: at.Add(-time.Hour), Stopped: at.Add(-50 * time.Second), Plan: plan, By: "ada"},
	}))
	require.Equal(t, `RELEASE  STARTED               TOOK    STRATEGY  VERSION  BY   EXECUTION           OUTCOME
3        2026-11-28T12:00:00Z  -       rolling   v3       bob  000003 running      
2        2026-11-28T11:59:00Z  10s     canary    v2       ada  000002-1 succeeded  rolled-back
2        2026-11-28T11:00:00Z  59m10s  canary    v2       ada  000002 succeeded    left to another execution
`, out.String())
}

func TestReleaseHistoryIsInTheOrderOfItsBeginnings(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	history := []release.Past{
		{Number: 1, Started: at, Stopped: at.Add(time.Minute)},
		{Number: 2, Started: at.Add(50 * time.Second)},
		{Number: 3, Started: at.Add(55 * time.Second), Stopped: at.Add(58 * time.Second)},
	}
	newestFirst(history)
	require.Equal(t, []int{3, 2, 1}, []int{history[0].Number, history[1].Number, history[2].Number})
}

func TestBar(t *testing.T) {
	t.Parallel()
	require.Equal(t, strings.Repeat("░", 20), bar(0))
	require.Equal(t, "█"+strings.Repeat("░", 19), bar(1), "a little is not nothing")
	require.Equal(t, strings.Repeat("█", 20), bar(100))
}

func TestRemark(t *testing.T) {
	t.Parallel()
	plan := release.Plan{Strategy: release.Canary}.WithDefaults()
	passed := &release.Verdict{Outcome: release.Passed, Reason: "500 requests, 0 failed, p99 20ms"}
	for name, c := range map[string]struct {
		state release.State
		want  string
	}{
		"why it waits":            {release.State{Plan: plan, Phase: release.Baking, Reason: "inconclusive: 3 requests; a verdict needs 200"}, "inconclusive: 3 requests; a verdict needs 200"},
		"which step":              {release.State{Plan: plan, Phase: release.Baking, Step: 3}, "step 4 of 4, 2m0s"},
		"what the step came to":   {release.State{Plan: plan, Phase: release.Shifting, Verdict: passed}, passed.Reason},
		"the first step":          {release.State{Plan: plan, Phase: release.Shifting}, ""},
		"blue-green has no steps": {release.State{Plan: release.Plan{Strategy: release.BlueGreen}.WithDefaults(), Phase: release.Baking}, ""},
		"nothing to say":          {release.State{Plan: plan, Phase: release.Done, Verdict: passed}, ""},
	} {
		require.Equal(t, c.want, remark(c.state), name)
	}
}
