package scaling_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/scaling"
)

// running is a Manager at work in a bubble, in which the test passes the time.
type running struct {
	*scaling.Manager
	cloud *cloud
	log   *bytes.Buffer
	began time.Time
}

// run starts a Manager on what deploy has deployed. The first look at
// everything is a period and a half after the start, the others a period apart.
func run(t *testing.T, minimum, desired, maximum int, deploy func(*cloud), test func(*testing.T, *running)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(minimum, desired, maximum)
		deploy(c)
		o, log := c.options(), &bytes.Buffer{}
		o.Log = slog.New(slog.NewTextHandler(log, nil))
		r := &running{scaling.New(o), c, log, time.Now()}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		defer func() { cancel(); <-done }() // also of a test that fails: time would pass for ever
		test(t, r)
	})
}

// after lets as many periods be looked at, from the start, and returns every
// desired capacity until then.
func (r *running) after(periods int) []int {
	time.Sleep(time.Until(r.began.Add(time.Duration(periods)*scaling.Minute + 3*scaling.Minute/4)))
	synctest.Wait()
	r.cloud.mu.Lock()
	defer r.cloud.mu.Unlock()
	return slices.Clone(r.cloud.capacities)
}

func TestScaleOutInProportion(t *testing.T) {
	run(t, 1, 1, 20, func(c *cloud) {
		c.track("backlog", "messages", 60, true)
		c.metrics["messages"] = shared(600)
	}, func(t *testing.T, r *running) {
		require.Equal(t, []int{1}, r.after(2), "two periods above the target are not three")
		require.Equal(t, []int{1, 10}, r.after(3))
		require.Equal(t, []int{1, 10}, r.after(40), "60 each is the target")
		require.Equal(t, cwtypes.StateValueOk, r.cloud.alarms["backlog-AlarmHigh"].StateValue)
		require.Contains(t, r.log.String(), "At 2000-01-01T00:00:03Z a monitor alarm backlog-AlarmHigh in state ALARM triggered policy backlog changing the desired capacity from 1 to 10.")
		require.False(t, r.cloud.honored, "target tracking has no cooldown")
	})
}

func TestCapacityIsRoundedUp(t *testing.T) {
	run(t, 1, 2, 20, func(c *cloud) {
		c.track("cpu", "cpu", 60, true)
		c.metrics["cpu"] = constant(61)
	}, func(t *testing.T, r *running) { require.Equal(t, []int{2, 3}, r.after(3)) })
}

func TestMaximumHolds(t *testing.T) {
	run(t, 1, 1, 3, func(c *cloud) {
		c.track("backlog", "messages", 60, true)
		c.metrics["messages"] = shared(6000)
	}, func(t *testing.T, r *running) { require.Equal(t, []int{1, 3}, r.after(60)) })
}

func TestOnePeakIsNotThree(t *testing.T) {
	run(t, 1, 1, 20, func(c *cloud) {
		c.track("cpu", "cpu", 60, true)
		c.metrics["cpu"] = constant(55)
	}, func(t *testing.T, r *running) {
		for at := range 10 {
			r.cloud.with(func() { r.cloud.metrics["cpu"] = constant([]float64{55, 99, 99}[at%3]) })
			require.Equal(t, []int{1}, r.after(at+1))
		}
	})
}

// TestMissingData: what an alarm makes of periods without data, when it fires
// on two of its last three.
func TestMissingData(t *testing.T) {
	for treat, want := range map[string]struct {
		state    cwtypes.StateValue
		capacity []int
	}{
		"":             {cwtypes.StateValueInsufficientData, []int{1}},
		"missing":      {cwtypes.StateValueInsufficientData, []int{1}},
		"notBreaching": {cwtypes.StateValueOk, []int{1}},
		"breaching":    {cwtypes.StateValueAlarm, []int{1, 2}},
		"ignore":       {"as it was", []int{1}},
	} {
		t.Run(treat, func(t *testing.T) {
			run(t, 1, 1, 20, func(c *cloud) {
				arn := c.policy(types.ScalingPolicy{
					PolicyName: aws.String("one more"), PolicyType: aws.String("StepScaling"), AdjustmentType: aws.String("ExactCapacity"),
					StepAdjustments: []types.StepAdjustment{{MetricIntervalLowerBound: aws.Float64(0), ScalingAdjustment: aws.Int32(2)}},
				})
				c.alarm("busy", arn, cwtypes.ComparisonOperatorGreaterThanThreshold, 60, 3, []cwtypes.MetricDataQuery{statistic("cpu", "cpu", "Average")})
				a := c.alarms["busy"]
				a.TreatMissingData, a.DatapointsToAlarm, a.StateValue = &treat, aws.Int32(2), "as it was"
				c.alarms["busy"] = a
				c.metrics["cpu"] = constant(90)
			}, func(t *testing.T, r *running) {
				r.after(1)
				r.cloud.with(func() { delete(r.cloud.metrics, "cpu") })
				require.Equal(t, want.capacity, r.after(2))
				require.Equal(t, want.state, r.cloud.alarms["busy"].StateValue)
			})
		})
	}
}

func TestMetricBetweenTheAlarms(t *testing.T) {
	run(t, 1, 4, 20, func(c *cloud) {
		c.track("cpu", "cpu", 60, true)
		c.metrics["cpu"] = constant(55)
	}, func(t *testing.T, r *running) { require.Equal(t, []int{4}, r.after(60)) })
}

func TestScaleInIsSlow(t *testing.T) {
	run(t, 2, 5, 20, func(c *cloud) {
		c.track("cpu", "cpu", 60, true)
		c.metrics["cpu"] = shared(30)
	}, func(t *testing.T, r *running) {
		require.Equal(t, []int{5}, r.after(14))
		require.Equal(t, []int{5, 4}, r.after(15), "one at a time")
		require.Equal(t, []int{5, 4, 3, 2}, r.after(60), "and not below the minimum")
	})
}

func TestScaleInStopsAtTheTarget(t *testing.T) {
	run(t, 1, 5, 20, func(c *cloud) {
		c.track("cpu", "cpu", 60, true)
		c.metrics["cpu"] = shared(130) // 130 / 3 is below the low alarm, but 130 / 2 above the target
	}, func(t *testing.T, r *running) { require.Equal(t, []int{5, 4, 3}, r.after(60)) })
}

func TestScaleInCanBeDisabled(t *testing.T) {
	run(t, 1, 5, 20, func(c *cloud) {
		c.track("cpu", "cpu", 60, false)
		c.metrics["cpu"] = constant(1)
	}, func(t *testing.T, r *running) { require.Equal(t, []int{5}, r.after(60)) })
}

func TestNoDataDecidesNothing(t *testing.T) {
	run(t, 1, 4, 20, func(c *cloud) { c.track("cpu", "cpu", 60, true) }, func(t *testing.T, r *running) {
		require.Equal(t, []int{4}, r.after(60))
		require.Equal(t, cwtypes.StateValueInsufficientData, r.cloud.alarms["cpu-AlarmHigh"].StateValue)
		require.Empty(t, r.Problems())
	})
}

// TestWarmup: instances that start or warm up neither count twice nor let the group shrink.
func TestWarmup(t *testing.T) {
	run(t, 1, 2, 20, func(c *cloud) {
		c.slow = true
		c.group.DefaultInstanceWarmup = aws.Int32(600)
		c.track("cpu", "cpu", 60, true)
		c.metrics["cpu"] = constant(90)
	}, func(t *testing.T, r *running) {
		require.Equal(t, []int{2, 3}, r.after(20), "two of three serve, and two need three")
		r.cloud.with(func() { r.cloud.launch(time.Now()) })
		require.Equal(t, []int{2, 3}, r.after(29), "the third warms up")
		r.cloud.with(func() { r.cloud.metrics["cpu"] = constant(120) })
		require.Equal(t, []int{2, 3, 4}, r.after(30), "more than that is asked for meanwhile")
		r.cloud.with(func() { r.cloud.metrics["cpu"] = constant(10) })
		require.Equal(t, []int{2, 3, 4}, r.after(60), "what is asked for is not there yet")
		r.cloud.with(func() { r.cloud.launch(time.Now()); r.cloud.slow = false })
		require.Equal(t, []int{2, 3, 4}, r.after(69))
		require.Equal(t, []int{2, 3, 4, 3}, r.after(71))
	})
}

func TestAPolicysOwnWarmup(t *testing.T) {
	run(t, 1, 2, 20, func(c *cloud) {
		c.track("cpu", "cpu", 60, true)
		c.policies[0].EstimatedInstanceWarmup = aws.Int32(1200)
		c.metrics["cpu"] = constant(10)
		c.running[1].Served = time.Now()
	}, func(t *testing.T, r *running) {
		require.Equal(t, []int{2}, r.after(19))
		require.Equal(t, []int{2, 1}, r.after(21))
	})
}

func TestTheLargestCapacityPrevails(t *testing.T) {
	run(t, 1, 4, 20, func(c *cloud) {
		c.track("cpu", "cpu", 60, true)
		c.track("requests", "requests", 1000, true)
		c.track("connections", "connections", 100, true)
		c.metrics["cpu"], c.metrics["requests"], c.metrics["connections"] = shared(300), shared(9000), shared(10)
	}, func(t *testing.T, r *running) { require.Equal(t, []int{4, 9}, r.after(60)) })
}

func TestScaleInTakesAllPolicies(t *testing.T) {
	run(t, 1, 4, 20, func(c *cloud) {
		c.track("cpu", "cpu", 60, true)
		c.track("requests", "requests", 1000, true)
		c.track("connections", "connections", 100, false) // has no say
		c.metrics["cpu"] = constant(1)
	}, func(t *testing.T, r *running) {
		require.Equal(t, []int{4}, r.after(30), "a policy without data is not ready")
		r.cloud.with(func() { r.cloud.metrics["requests"] = constant(950) })
		require.Equal(t, []int{4}, r.after(60), "nor one near its target")
		r.cloud.with(func() { r.cloud.metrics["requests"] = constant(100) })
		require.Equal(t, []int{4, 3, 2, 1}, r.after(90))
	})
}

// TestWhatIsCountedByPeriod: a minute's requests are measured in less than a minute.
func TestWhatIsCountedByPeriod(t *testing.T) {
	run(t, 1, 1, 20, func(c *cloud) {
		c.trackQueries("requests", 3000, true, []cwtypes.MetricDataQuery{statistic("requests", "requests", "Sum")})
		c.metrics["requests"] = shared(100) // a second
	}, func(t *testing.T, r *running) {
		require.Equal(t, []int{1, 2}, r.after(60))
		require.Equal(t, int32(scaling.Minute/time.Second), *r.cloud.asked[0].MetricStat.Period)
	})
}

func TestStepScaling(t *testing.T) {
	steps := []types.StepAdjustment{
		{MetricIntervalLowerBound: aws.Float64(0), MetricIntervalUpperBound: aws.Float64(15), ScalingAdjustment: aws.Int32(1)},
		{MetricIntervalLowerBound: aws.Float64(15), ScalingAdjustment: aws.Int32(3)},
	}
	deploy := func(value float64) func(*cloud) {
		return func(c *cloud) {
			c.slow = true
			arn := c.policy(types.ScalingPolicy{
				PolicyName: aws.String("steps"), PolicyType: aws.String("StepScaling"), AdjustmentType: aws.String("ChangeInCapacity"), StepAdjustments: steps,
			})
			c.alarm("busy", arn, cwtypes.ComparisonOperatorGreaterThanOrEqualToThreshold, 60, 2, []cwtypes.MetricDataQuery{statistic("cpu", "cpu", "Average")})
			c.metrics["cpu"] = constant(value)
		}
	}
	t.Run("small", func(t *testing.T) {
		run(t, 1, 2, 20, deploy(60), func(t *testing.T, r *running) {
			require.Equal(t, []int{2, 3}, r.after(30), "the same step is not taken again while it warms up")
			r.cloud.with(func() { r.cloud.metrics["cpu"] = constant(75) })
			require.Equal(t, []int{2, 3, 5}, r.after(40), "a larger one is, less what warms up")
		})
	})
	t.Run("large", func(t *testing.T) {
		run(t, 1, 2, 20, deploy(75), func(t *testing.T, r *running) { require.Equal(t, []int{2, 5}, r.after(30)) })
	})
	t.Run("in", func(t *testing.T) {
		run(t, 1, 10, 20, func(c *cloud) {
			arn := c.policy(types.ScalingPolicy{
				PolicyName: aws.String("idle"), PolicyType: aws.String("StepScaling"), AdjustmentType: aws.String("PercentChangeInCapacity"),
				StepAdjustments: []types.StepAdjustment{
					{MetricIntervalUpperBound: aws.Float64(0), MetricIntervalLowerBound: aws.Float64(-10), ScalingAdjustment: aws.Int32(-1)},
					{MetricIntervalUpperBound: aws.Float64(-10), ScalingAdjustment: aws.Int32(-25)},
				},
			})
			c.alarm("idle", arn, cwtypes.ComparisonOperatorLessThanOrEqualToThreshold, 40, 2, []cwtypes.MetricDataQuery{statistic("cpu", "cpu", "Average")})
			c.metrics["cpu"] = constant(30) // the bound nearer to the threshold belongs to the step
		}, func(t *testing.T, r *running) {
			require.Equal(t, []int{10, 8, 6, 5, 4}, r.after(5), "a quarter each, rounded down, but one at least")
			require.Equal(t, 1, r.after(30)[len(r.after(30))-1])
		})
	})
}

func TestSimpleScalingCoolsDown(t *testing.T) {
	run(t, 1, 1, 20, func(c *cloud) {
		arn := c.policy(types.ScalingPolicy{
			PolicyName: aws.String("simple"), PolicyType: aws.String("SimpleScaling"), AdjustmentType: aws.String("ChangeInCapacity"),
			ScalingAdjustment: aws.Int32(2), Cooldown: aws.Int32(600),
		})
		c.alarm("busy", arn, cwtypes.ComparisonOperatorGreaterThanThreshold, 60, 1, []cwtypes.MetricDataQuery{statistic("cpu", "cpu", "Average")})
		c.metrics["cpu"] = constant(61)
	}, func(t *testing.T, r *running) {
		require.Equal(t, []int{1, 3}, r.after(10))
		require.Equal(t, []int{1, 3, 5}, r.after(20))
		require.True(t, r.cloud.honored)
	})
}

func TestSchedule(t *testing.T) {
	start := time.Date(2000, 1, 1, 0, 30, 0, 0, time.UTC) // the bubble's time begins half an hour before
	run(t, 2, 2, 6, func(c *cloud) {
		c.actions = []types.ScheduledUpdateGroupAction{
			// 00:10 UTC is 01:10 in Berlin.
			{ScheduledActionName: aws.String("morning"), AutoScalingGroupName: aws.String(groupName), Recurrence: aws.String("10 1 * * SAT"), TimeZone: aws.String("Europe/Berlin"), MinSize: aws.Int32(4)},
			{ScheduledActionName: aws.String("evening"), AutoScalingGroupName: aws.String(groupName), Recurrence: aws.String("20 0 * * *"), MinSize: aws.Int32(1), DesiredCapacity: aws.Int32(3)},
			{ScheduledActionName: aws.String("once"), AutoScalingGroupName: aws.String(groupName), StartTime: &start, MaxSize: aws.Int32(2)},
			{ScheduledActionName: aws.String("over"), AutoScalingGroupName: aws.String(groupName), Recurrence: aws.String("* * * * *"), EndTime: aws.Time(start.Add(-time.Hour)), DesiredCapacity: aws.Int32(5)},
			{ScheduledActionName: aws.String("later"), AutoScalingGroupName: aws.String(groupName), Recurrence: aws.String("* * * * *"), StartTime: aws.Time(start.Add(5 * time.Minute)), DesiredCapacity: aws.Int32(1)},
		}
	}, func(t *testing.T, r *running) {
		minutes := func(n int) []int { return r.after(n * 60) } // schedules keep wall-clock time
		require.Equal(t, []int{2}, minutes(10)[:1])
		require.Equal(t, []int{2, 4}, minutes(11), "the minimum raises the desired capacity")
		require.Equal(t, []int{2, 4, 3}, minutes(21))
		require.Equal(t, []int{2, 4, 3, 2}, minutes(31), "the maximum lowers it")
		require.Equal(t, []int{2, 4, 3, 2}, minutes(34))
		require.Equal(t, []int{2, 4, 3, 2, 1}, minutes(35), "a recurrence may start at its start time")
		require.Contains(t, r.log.String(), "a scheduled action update of AutoScalingGroup constraints to min: 4, max: 6, desired: 4 changing the desired capacity from 2 to 4.")
		require.Empty(t, r.Problems())
	})
}

func TestSuspendedProcesses(t *testing.T) {
	run(t, 1, 1, 20, func(c *cloud) {
		c.group.SuspendedProcesses = []types.SuspendedProcess{{ProcessName: aws.String("AlarmNotification")}, {ProcessName: aws.String("ScheduledActions")}}
		c.track("backlog", "messages", 60, true)
		c.metrics["messages"] = shared(600)
		c.actions = []types.ScheduledUpdateGroupAction{{AutoScalingGroupName: aws.String(groupName), Recurrence: aws.String("* * * * *"), DesiredCapacity: aws.Int32(5)}}
	}, func(t *testing.T, r *running) { require.Equal(t, []int{1}, r.after(200)) })
}

func TestAPolicyCanBeDisabled(t *testing.T) {
	run(t, 1, 1, 20, func(c *cloud) {
		c.track("backlog", "messages", 60, true)
		c.policies[0].Enabled = aws.Bool(false)
		c.metrics["messages"] = shared(600)
	}, func(t *testing.T, r *running) { require.Equal(t, []int{1}, r.after(60)) })
}

func TestProblemsAreSaid(t *testing.T) {
	run(t, 1, 1, 20, func(c *cloud) {
		c.track("backlog", "messages", 60, true)
		c.metrics["messages"] = shared(600)
		c.policy(types.ScalingPolicy{PolicyName: aws.String("foresight"), PolicyType: aws.String("PredictiveScaling")})
		c.policy(types.ScalingPolicy{PolicyName: aws.String("deaf"), PolicyType: aws.String("StepScaling")})
		band := c.policy(types.ScalingPolicy{PolicyName: aws.String("band"), PolicyType: aws.String("StepScaling")})
		c.alarm("odd", band, cwtypes.ComparisonOperatorGreaterThanUpperThreshold, 0, 1, []cwtypes.MetricDataQuery{statistic("cpu", "cpu", "Average")})
		c.actions = []types.ScheduledUpdateGroupAction{{ScheduledActionName: aws.String("never"), AutoScalingGroupName: aws.String(groupName), Recurrence: aws.String("99 * * * *")}}
	}, func(t *testing.T, r *running) {
		require.Equal(t, []int{1, 10}, r.after(5), "what is wrong stops nothing else")
		problems := r.Problems()
		require.Len(t, problems, 4)
		require.Contains(t, problems[0], `scheduled action never of Auto Scaling group loadbearing-dev-worker-blue: recurrence "99 * * * *"`)
		require.Contains(t, problems[1], "policy foresight of Auto Scaling group loadbearing-dev-worker-blue is not acted on: predictive scaling")
		require.Contains(t, problems[2], "policy deaf of Auto Scaling group loadbearing-dev-worker-blue is not acted on: it has no alarm")
		require.Contains(t, problems[3], "its comparison GreaterThanUpperThreshold is not supported here")

		r.cloud.with(func() { r.cloud.down = errors.New("connection refused") })
		require.Equal(t, []int{1, 10}, r.after(10))
		require.Len(t, r.Problems(), 1)
		require.Contains(t, r.Problems()[0], "connection refused; is the emulator at AWS_ENDPOINT_URL running?")
		r.cloud.with(func() {
			r.cloud.down, r.cloud.policies, r.cloud.actions = nil, r.cloud.policies[:1], nil
		})
		r.after(16)
		require.Empty(t, r.Problems())
		require.Equal(t, 1, bytes.Count(r.log.Bytes(), []byte("connection refused")), "said once")
	})
}

func TestAnEmulatorThatHangsIsOneProblem(t *testing.T) {
	run(t, 1, 1, 20, func(c *cloud) {
		c.track("backlog", "messages", 60, true)
		c.track("cpu", "cpu", 60, true)
		c.hangs = true
	}, func(t *testing.T, r *running) {
		time.Sleep(15 * time.Second)
		require.Len(t, r.Problems(), 1)
		require.Contains(t, r.Problems()[0], "not all within 10s")
	})
}
