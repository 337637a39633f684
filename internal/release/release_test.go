package release

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/contract"
)

var capacity = Size{Min: 2, Max: 6, Desired: 3}

func plan(s Strategy) Plan {
	return Plan{Strategy: s, Artifact: artifact("v2"), Version: "v2", Bake: Duration(time.Minute)}
}

func TestReleasesReachTheirVersion(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		strategy Strategy
		color    string
		weights  []int // of the candidate, at each phase
	}{
		{Rolling, "blue", []int{100}},
		{BlueGreen, "green", []int{0, 100}},
		{Canary, "green", []int{0, 5, 25, 50, 100}},
	} {
		t.Run(string(test.strategy), func(t *testing.T) {
			t.Parallel()
			a := newAccount(t)
			a.execute(a.start(plan(test.strategy)), nil)
			require.Equal(t, Done, a.state().Phase, a.state().Reason)
			a.requireAtRest(test.color, "v2", capacity)
			require.Equal(t, []string{"Night"}, a.schedule[test.color])
			var weights []int
			for _, e := range a.events {
				weights = append(weights, e.Percent)
			}
			require.Equal(t, test.weights, slices.Compact(weights))
			require.Equal(t, Done, a.events[len(a.events)-1].Phase)
		})
	}
}

func TestTheNextReleaseUsesTheOtherColor(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.execute(a.start(plan(BlueGreen)), nil)
	next := plan(Canary)
	next.Artifact = artifact("v3")
	a.execute(a.start(next), nil)
	require.Equal(t, Done, a.state().Phase)
	a.requireAtRest("blue", "v3", capacity)
}

func TestABadCandidateIsRolledBackAtItsFirstStep(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]Measured{
		"fails":         {Requests: 300, Errors: 15, P99: Duration(40 * time.Millisecond)},
		"slow":          {Requests: 300, P99: Duration(600 * time.Millisecond)},
		"ten times p99": {Requests: 300, P99: Duration(400 * time.Millisecond)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t)
			good := a.serves
			a.serves = func(color string) Measured {
				if color == "green" {
					return bad
				}
				return good(color)
			}
			a.execute(a.start(plan(Canary)), nil)
			s := a.state()
			require.Equal(t, RolledBack, s.Phase)
			require.Zero(t, s.Step, s.Reason)
			a.requireAtRest("blue", "v1", capacity)
			require.Contains(t, a.parameters["/artifact/green"], "v1", "what green was told to run before")
		})
	}
}

func TestOneBadRequestDoesNotRollBack(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.serves = func(string) Measured {
		return Measured{Requests: 60, Errors: 2, P99: Duration(40 * time.Millisecond)} // 3 % of too few
	}
	p := plan(Canary)
	p.MinRequests = 50
	a.execute(a.start(p), nil)
	require.Equal(t, Done, a.state().Phase, a.state().Reason)
}

func TestWhatNobodyNoticesDoesNotRollBack(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.serves = func(color string) Measured {
		p99 := 300 * time.Microsecond
		if color == "green" {
			p99 = 2 * time.Millisecond // nearly seven times as long
		}
		return Measured{Requests: 300, P99: Duration(p99)}
	}
	a.execute(a.start(plan(Canary)), nil)
	require.Equal(t, Done, a.state().Phase, a.state().Reason)
}

func TestWithoutTrafficACanaryWaits(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	good := a.serves
	a.serves = func(string) Measured { return Measured{Requests: 10, P99: Duration(time.Millisecond)} }
	arn := a.start(plan(Canary))
	a.execute(arn, func(n Next) bool { return n.Phase == Baking && a.now.Sub(a.state().Entered) > time.Hour })
	s := a.state()
	require.Equal(t, Baking, s.Phase)
	require.Zero(t, s.Step)
	require.Equal(t, Inconclusive, s.Verdict.Outcome)
	require.Contains(t, s.Reason, "inconclusive: 10 requests; a verdict needs 200")
	a.serves = good
	a.execute(arn, nil)
	require.Equal(t, Done, a.state().Phase)
}

func TestAReleaseThatWaitsTooLongIsRolledBack(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.serves = func(string) Measured { return Measured{} }
	a.execute(a.start(plan(Canary)), nil)
	require.Equal(t, RolledBack, a.state().Phase)
	require.Contains(t, a.state().Reason, "not at 100 % after 24h0m0s: inconclusive")
	a.requireAtRest("blue", "v1", capacity)
}

func TestACandidateThatIsNeverHealthyGetsNoTraffic(t *testing.T) {
	t.Parallel()
	for _, s := range []Strategy{Rolling, BlueGreen, Canary} {
		t.Run(string(s), func(t *testing.T) {
			t.Parallel()
			a := newAccount(t)
			a.broken["v2"] = true
			a.execute(a.start(plan(s)), nil)
			require.Equal(t, RolledBack, a.state().Phase)
			require.Contains(t, a.state().Reason, "after 10m0s still")
			a.requireAtRest("blue", "v1", capacity)
			for _, e := range a.events {
				require.True(t, s == Rolling || e.Percent == 0)
			}
		})
	}
}

func TestACandidateThatBecomesUnhealthyIsRolledBack(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.execute(a.start(plan(Canary)), func(n Next) bool {
		if n.Phase == Baking {
			a.groups["green"].running[0] = "sick"
			a.broken["sick"] = true
		}
		return false
	})
	require.Equal(t, RolledBack, a.state().Phase)
	require.Contains(t, a.state().Reason, "targets are unhealthy")
}

func TestAlarms(t *testing.T) {
	t.Parallel()
	t.Run("roll back, in the window too", func(t *testing.T) {
		t.Parallel()
		for _, phase := range []Phase{Baking, Promoted} {
			a := newAccount(t)
			a.execute(a.start(plan(BlueGreen)), func(n Next) bool {
				if n.Phase == phase {
					a.alarms["green-errors"] = true
				}
				return false
			})
			require.Equal(t, RolledBack, a.state().Phase)
			require.Contains(t, a.state().Reason, "alarm green-errors")
			a.requireAtRest("blue", "v1", capacity)
		}
	})
	t.Run("that fired before do not", func(t *testing.T) {
		t.Parallel()
		a := newAccount(t)
		a.alarms["none-healthy"] = true
		a.execute(a.start(plan(BlueGreen)), nil)
		require.Equal(t, Done, a.state().Phase, a.state().Reason)
	})
	t.Run("of the other color do not", func(t *testing.T) {
		t.Parallel()
		a := newAccount(t)
		a.execute(a.start(plan(BlueGreen)), func(Next) bool { a.alarms["blue-errors"] = true; return false })
		require.Equal(t, Done, a.state().Phase, a.state().Reason)
	})
}

func TestOperators(t *testing.T) {
	t.Parallel()
	t.Run("hold, pause and resume", func(t *testing.T) {
		t.Parallel()
		a := newAccount(t)
		p := plan(Canary)
		p.Hold = true
		arn := a.start(p)
		a.execute(arn, func(n Next) bool { return n.Phase == Holding })
		a.execute(arn, func(Next) bool { return a.now.Sub(a.state().Entered) > time.Hour })
		require.Equal(t, Holding, a.state().Phase)
		require.Zero(t, a.weights["green"])
		_, err := a.operator().Order(t.Context(), Resume, "")
		require.NoError(t, err)
		a.execute(arn, func(n Next) bool { return n.Phase == Baking })
		_, err = a.operator().Order(t.Context(), Pause, "")
		require.NoError(t, err)
		a.execute(arn, func(Next) bool { return a.now.Sub(a.state().Entered) > time.Hour })
		require.Equal(t, 5, a.weights["green"])
		require.Equal(t, "paused", a.state().Reason)
		_, err = a.operator().Order(t.Context(), Resume, "")
		require.NoError(t, err)
		a.execute(arn, nil)
		require.Equal(t, Done, a.state().Phase)
	})
	t.Run("roll back in each phase", func(t *testing.T) {
		t.Parallel()
		for _, s := range []Strategy{Rolling, BlueGreen, Canary} {
			for _, phase := range []Phase{Migrating, Emptying, Launching, Replacing, Shifting, Baking, Promoted} {
				a := newAccount(t)
				first := a.start(plan(s))
				reached := false
				a.execute(first, func(n Next) bool { reached = n.Phase == phase; return reached })
				if !reached {
					continue
				}
				_, err := a.operator().Order(t.Context(), Rollback, "smells")
				require.NoError(t, err)
				a.execute(first+"-1", nil)
				require.Equal(t, RolledBack, a.state().Phase, "%s %s", s, phase)
				require.Equal(t, "by tester: smells", a.state().Reason)
				a.requireAtRest("blue", "v1", capacity)
				a.execute(first, nil) // the former execution leaves it alone
				a.requireAtRest("blue", "v1", capacity)
			}
		}
	})
	t.Run("one release at a time", func(t *testing.T) {
		t.Parallel()
		a := newAccount(t)
		arn := a.start(plan(Canary))
		_, err := a.operator().Start(t.Context(), plan(BlueGreen))
		require.ErrorContains(t, err, "release 1 is beginning; one release at a time")
		a.execute(arn, func(n Next) bool { return n.Phase == Baking })
		_, err = a.operator().Start(t.Context(), plan(BlueGreen))
		require.ErrorContains(t, err, "release 1 is baking")
		require.ErrorAs(t, err, new(*Refusal))
	})
	t.Run("the next release ends the window of the last", func(t *testing.T) {
		t.Parallel()
		a := newAccount(t)
		first := a.start(plan(BlueGreen))
		a.execute(first, func(n Next) bool { return n.Phase == Promoted })
		next := plan(BlueGreen)
		next.Artifact = artifact("v3")
		second := a.start(next)
		a.execute(second, nil)
		a.execute(first, nil)
		require.Equal(t, 2, a.state().Number)
		a.requireAtRest("blue", "v3", capacity)
	})
	t.Run("what is too late", func(t *testing.T) {
		t.Parallel()
		a := newAccount(t)
		_, err := a.operator().Order(t.Context(), Rollback, "")
		require.ErrorContains(t, err, "there has been no release")
		a.execute(a.start(plan(BlueGreen)), nil)
		_, err = a.operator().Order(t.Context(), Rollback, "")
		require.ErrorContains(t, err, "its window of 15m0s is over")
		require.ErrorContains(t, err, "s3://artifacts/v1")
		_, err = a.operator().Order(t.Context(), Pause, "")
		require.ErrorContains(t, err, "release 1 is done; there is nothing to pause")
	})
	t.Run("a wrong plan", func(t *testing.T) {
		t.Parallel()
		_, err := newAccount(t).operator().Start(t.Context(), Plan{Strategy: Canary, Steps: []int{50, 20}, MinRequests: -1, MaxP99Ratio: .5})
		require.EqualError(t, err, "steps is [50 20]; allowed: 1 to 20 rising percentages from 1, the last 100, as in 5,25,50,100\n"+
			"artifact is {  }; allowed: bucket, key and the SHA-256 of the program\n"+
			"max_p99_ratio is 0.5; allowed: 1 or more\n"+
			"min_requests is -1; allowed: 1 or more: a release without traffic proves nothing")
	})
}

// TestNothingIsLostHalfWay lets every single call of a release fail, before and
// after it has done its work, and every execution end between two tasks.
func TestNothingIsLostHalfWay(t *testing.T) {
	t.Parallel()
	for _, s := range []Strategy{Rolling, BlueGreen, Canary} {
		t.Run(string(s), func(t *testing.T) {
			t.Parallel()
			p := plan(s)
			p.Window = Duration(10 * time.Second)
			if s == Canary {
				p.Steps = []int{5, 100}
			}
			whole := newAccount(t)
			whole.execute(whole.start(p), nil)
			over := func(t *testing.T, a *account) {
				t.Helper()
				switch state := a.state(); state.Phase {
				case Done:
					a.requireAtRest(state.To, "v2", capacity)
				case RolledBack:
					a.requireAtRest("blue", "v1", capacity)
				default:
					require.Fail(t, "neither done nor rolled back", "%+v", state)
				}
			}
			for n := range whole.calls {
				for _, f := range []fate{before, after} {
					for _, often := range []int{1, 3} { // the third time the state machine gives up
						a := newAccount(t)
						arn := a.start(p)
						left := often
						a.fail = func(string) fate {
							if a.calls > n && left > 0 {
								left--
								return f
							}
							return works
						}
						a.execute(arn, nil)
						a.fail = nil
						if a.state().Number == 0 {
							continue // it could not begin
						}
						over(t, a)
					}
				}
			}
		})
	}
}

// TestAnExecutionThatEndsIsFollowed ends an execution after each of its tasks,
// as an operator, an outage or an emulator that starts anew does.
func TestAnExecutionThatEndsIsFollowed(t *testing.T) {
	t.Parallel()
	for _, s := range []Strategy{Rolling, BlueGreen, Canary} {
		for _, status := range []string{"ABORTED", "TIMED_OUT", "FAILED", "lost"} {
			t.Run(fmt.Sprint(s, " ", status), func(t *testing.T) {
				t.Parallel()
				for stop := 1; ; stop++ {
					a := newAccount(t)
					arn := a.start(plan(s))
					tasks := 0
					a.execute(arn, func(Next) bool { tasks++; return tasks == stop })
					if a.state().Phase.Over() {
						require.Greater(t, stop, 5)
						return
					}
					said, err := a.controller().Recover(t.Context())
					require.NoError(t, err)
					require.Empty(t, said, "its execution is running")
					if status == "lost" {
						delete(a.executions, arn)
					} else {
						a.executions[arn].status = status
					}
					said, err = a.controller().Recover(t.Context())
					require.NoError(t, err)
					require.Contains(t, said, "execution 000001-1 takes over release 1")
					again, err := a.controller().Recover(t.Context())
					require.NoError(t, err)
					require.Empty(t, again, "somebody has taken over already")
					before := a.state().Phase
					a.execute(arn+"-1", nil)
					state := a.state()
					require.True(t, state.Phase.Over())
					if state.Phase == Done {
						require.True(t, status == "lost" || before == Promoted || before == Retiring || before == Contracting, "%s in %s", status, before)
						a.requireAtRest(state.To, "v2", capacity)
					} else {
						a.requireAtRest("blue", "v1", capacity)
					}
				}
			})
		}
	}
}

func TestWeightsThatSomebodyElseSetsAreRestored(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.execute(a.start(plan(BlueGreen)), nil)
	a.groups["blue"].running = []string{"v1"} // else the account itself objects
	a.weights = map[string]int{"blue": 100, "green": 0}
	said, err := a.controller().Recover(t.Context())
	require.NoError(t, err)
	require.Contains(t, said, "now those of release 1")
	require.Equal(t, map[string]int{"blue": 0, "green": 100}, a.weights)
}

func TestADeploymentReleasesNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		bad           bool
		serves, other string
		version       string
	}{{false, "green", "blue", "v2"}, {true, "blue", "green", "v1"}} {
		a := newAccount(t)
		a.broken["v2"] = test.bad
		a.execute(a.start(plan(BlueGreen)), nil)
		said, err := a.controller().Recover(t.Context())
		require.NoError(t, err)
		require.Empty(t, said, "all is as it was left")
		// The template has another program now, for both colors.
		a.put("/artifact/blue", artifact("v9"))
		a.put("/artifact/green", artifact("v9"))
		said, err = a.controller().Recover(t.Context())
		require.NoError(t, err)
		require.Contains(t, said, "release a version, a deployment does not")
		require.Contains(t, a.parameters["/artifact/"+test.serves], `"`+test.version+`"`)
		require.Contains(t, a.parameters["/artifact/"+test.other], `"v9"`, "nothing starts there without a release")
	}
}

func TestAMixThatNobodyOwnsIsRefused(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.groups["green"].running = []string{"v1"}
	a.weights = map[string]int{"blue": 50, "green": 50}
	a.execute(a.start(plan(BlueGreen)), nil)
	require.Zero(t, a.state().Number)
	require.Equal(t, map[string]int{"blue": 50, "green": 50}, a.weights)
}

func TestAFleetThatGrowsMeanwhileIsMatched(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	arn := a.start(plan(Canary))
	a.execute(arn, func(n Next) bool { return n.Phase == Baking })
	a.groups["blue"].size.Desired = 5
	a.execute(arn, nil)
	require.Equal(t, Done, a.state().Phase)
	a.requireAtRest("green", "v2", Size{Min: 2, Max: 6, Desired: 5})
}

func TestARollingReleaseThatFailsBringsTheFormerVersionBack(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.serves = func(string) Measured {
		m := Measured{Requests: 300, P99: Duration(40 * time.Millisecond)}
		if slices.Contains(a.groups["blue"].running, "v2") {
			m.Errors = 20
		}
		return m
	}
	a.execute(a.start(plan(Rolling)), nil)
	require.Equal(t, RolledBack, a.state().Phase)
	a.requireAtRest("blue", "v1", capacity)
	require.Equal(t, astypes.InstanceRefreshStatusSuccessful, a.refreshes[len(a.refreshes)-1].Status)
}

func TestHistory(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.execute(a.start(plan(BlueGreen)), nil)
	a.execute(a.start(plan(Canary)), nil)
	history, err := a.operator().History(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, history, 2)
	require.Equal(t, 2, history[0].Number)
	require.Equal(t, Canary, history[0].Plan.Strategy)
	require.Equal(t, contract.Artifact{Bucket: "artifacts", Key: "v2", SHA256: artifact("").SHA256}, history[1].Plan.Artifact)
}

func TestALongReasonFitsIntoTheState(t *testing.T) {
	t.Parallel()
	a := newAccount(t) // which refuses a parameter above 4 KB
	arn := a.start(plan(BlueGreen))
	a.execute(arn, func(n Next) bool { return n.Phase == Baking })
	_, err := a.controller().Run(t.Context(), Task{Name: TaskRollback, Execution: arn, Number: 1, Cause: strings.Repeat("ä", 10_000)})
	require.NoError(t, err)
	require.Contains(t, a.state().Reason, "a step failed: ä")
	a.execute(arn, nil)
	a.requireAtRest("blue", "v1", capacity)
}
