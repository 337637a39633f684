package instances_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local/instances"
)

// pooled waits until n instances are ready in the warm pool.
func (r *running) pooled(t *testing.T, n int) map[string]bool {
	t.Helper()
	var pool map[string]bool
	require.Eventually(t, func() bool {
		pool = map[string]bool{}
		for _, i := range r.in(instances.Warm) {
			if i.Lifecycle == "Warmed:Stopped" {
				pool[i.ID] = true
			}
		}
		return len(pool) == n && len(r.in(instances.Warm)) == n && len(r.in(instances.Draining)) == 0
	}, 20*time.Second, 5*time.Millisecond, "not %d in the warm pool", n)
	return pool
}

func TestAWarmPoolIsKeptAndTakenFrom(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 1, "TEST_VERSION=v1")
	c.change(func(g *types.AutoScalingGroup) {
		g.MaxSize = aws.Int32(3)
		g.WarmPoolConfiguration = &types.WarmPoolConfiguration{
			PoolState: types.WarmPoolStateStopped, MinSize: aws.Int32(1), InstanceReusePolicy: &types.InstanceReusePolicy{ReuseOnScaleIn: aws.Bool(true)},
		}
	})
	r := run(t, c, nil)
	first := r.settled(t, 1)[0].ID
	pool := r.pooled(t, 2) // up to the largest capacity
	for _, i := range r.in(instances.Warm) {
		require.Zero(t, i.PID, "nothing runs")
		require.Equal(t, []string{"web", "blue", "1"}, []string{i.Fleet, i.Color, i.TemplateVersion})
	}
	require.Len(t, c.registered(), 1)

	// Scale-out takes one of them, which begins with what is deployed then.
	c.with(func() { c.templates[0] = environ("TEST_VERSION=v2") })
	c.desire(2)
	var taken string
	for _, i := range r.settled(t, 2) {
		if i.ID != first {
			taken = i.ID
			require.Equal(t, "v2", i.Version)
		}
	}
	require.True(t, pool[taken])
	left := r.pooled(t, 1)
	require.True(t, pool[taken] && !left[taken])
	require.Eventually(t, func() bool {
		return c.described(taken).Description == "Launching a new EC2 instance from warm pool: "+taken
	}, 10*time.Second, 5*time.Millisecond)

	// At the largest capacity the pool keeps its minimum.
	c.desire(3)
	r.settled(t, 3)
	r.pooled(t, 1)

	// Scale-in returns the oldest to the pool, where its program has ended.
	c.desire(2)
	r.settled(t, 2)
	back := r.pooled(t, 1)
	c.desire(1)
	r.settled(t, 1)
	again := r.pooled(t, 2)
	require.True(t, back[first] || again[first], "the first has returned")
	require.Zero(t, r.instance(first).PID)
	require.Len(t, c.registered(), 1)

	c.change(func(g *types.AutoScalingGroup) { g.WarmPoolConfiguration = nil })
	r.pooled(t, 0)
	r.settled(t, 1)
}

// described is the last activity that has ended and whose description names the instance.
func (c *cloud) described(id string) (last instances.Activity) {
	for _, a := range c.ended() {
		if strings.HasSuffix(a.Description, ": "+id) {
			last = a
		}
	}
	return last
}

func TestTheAPIHasWarmPools(t *testing.T) {
	t.Parallel()
	d := deploy(t, 1,
		&autoscaling.PutLifecycleHookInput{LifecycleHookName: aws.String(contract.HookBoot), LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_LAUNCHING")},
	)
	d.listed(1, types.LifecycleStateInService)
	_, err := d.api.PutWarmPool(t.Context(), &autoscaling.PutWarmPoolInput{AutoScalingGroupName: name(), PoolState: types.WarmPoolStateStopped, MaxGroupPreparedCapacity: aws.Int32(3)})
	require.NoError(t, err)
	pool := func(n int) []types.Instance {
		t.Helper()
		var listed []types.Instance
		require.Eventually(t, func() bool {
			out, err := d.api.DescribeWarmPool(t.Context(), &autoscaling.DescribeWarmPoolInput{AutoScalingGroupName: name()})
			require.NoError(t, err)
			listed = out.Instances
			for _, i := range listed {
				if i.LifecycleState != types.LifecycleStateWarmedStopped {
					return false
				}
			}
			return len(listed) == n
		}, 20*time.Second, 10*time.Millisecond)
		return listed
	}
	warm := ids(pool(2))
	require.Equal(t, int32(2), *d.group().WarmPoolSize)
	require.Equal(t, int32(3), *d.group().WarmPoolConfiguration.MaxGroupPreparedCapacity)
	require.Len(t, d.group().Instances, 1, "those of the pool are not of the group yet")

	_, err = d.api.SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: name(), DesiredCapacity: aws.Int32(3)})
	require.NoError(t, err)
	serving := ids(d.listed(3, types.LifecycleStateInService))
	require.Subset(t, serving, warm)
	pool(0)

	desire := func(n int32) {
		_, err := d.api.SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: name(), DesiredCapacity: &n})
		require.NoError(t, err)
	}
	desire(1)
	warm = ids(pool(2))
	for _, id := range warm {
		require.NotContains(t, serving, id, "not reused: terminated, and launched anew")
	}
	_, err = d.api.PutWarmPool(t.Context(), &autoscaling.PutWarmPoolInput{
		AutoScalingGroupName: name(), MaxGroupPreparedCapacity: aws.Int32(3), InstanceReusePolicy: &types.InstanceReusePolicy{ReuseOnScaleIn: aws.Bool(true)},
	})
	require.NoError(t, err)
	desire(3)
	serving = ids(d.listed(3, types.LifecycleStateInService))
	desire(1)
	require.Subset(t, serving, ids(pool(2)), "reused")
	d.readings(3)
	require.Subset(t, serving, ids(pool(2)), "and kept")
	_, err = d.api.DeleteWarmPool(t.Context(), &autoscaling.DeleteWarmPoolInput{AutoScalingGroupName: name()})
	require.NoError(t, err)
	pool(0)
	require.Nil(t, d.group().WarmPoolConfiguration)
}
