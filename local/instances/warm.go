package instances

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// The warm pool holds instances as the boot script leaves them there: the
// artifact is installed and the program does not run, in a pool of any state.
// One that leaves installs the artifact of that time, if it is another, and
// starts it.

// WarmPoolSize is how many instances the warm pool of a group shall have, 0
// without one: up to the largest capacity of the group, or what it may have
// prepared.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/warm-pool-core-concepts.html
func WarmPoolSize(g types.AutoScalingGroup) int {
	pool := g.WarmPoolConfiguration
	if pool == nil {
		return 0
	}
	prepared := aws.ToInt32(g.MaxSize)
	if pool.MaxGroupPreparedCapacity != nil && *pool.MaxGroupPreparedCapacity >= 0 { // -1 is none
		prepared = *pool.MaxGroupPreparedCapacity
	}
	return int(max(prepared-aws.ToInt32(g.DesiredCapacity), aws.ToInt32(pool.MinSize)))
}

// warmState is the lifecycle state of an instance that is ready in the pool.
func (g *group) warmState() string { return "Warmed:" + string(g.warmPool.PoolState) }

// reuses tells that instances return to the pool on scale-in.
func (g *group) reuses() bool {
	return g.warmPool != nil && g.warmPool.InstanceReusePolicy != nil && aws.ToBool(g.warmPool.InstanceReusePolicy.ReuseOnScaleIn)
}

// warmed is an instance that is ready in the pool, the longest there first, or nil.
func (g *group) warmed() *instance {
	if g.warmPool == nil {
		return nil
	}
	for _, i := range g.instances {
		if i.State == Warm && i.Lifecycle == g.warmState() {
			return i
		}
	}
	return nil
}

// followWarmPool launches and terminates instances until the pool has its size.
func (m *Manager) followWarmPool(g *group, now time.Time) {
	if g.foreign {
		return
	}
	var pool []*instance
	back := 0 // on their way back into it
	for _, i := range g.instances {
		switch {
		case i.State == Warm:
			pool = append(pool, i)
		case i.State == Draining && i.reuse:
			back++
		}
	}
	size, has := g.warmSize, len(pool)+back
	if !g.suspended["Terminate"] {
		for _, i := range pool[:min(max(0, has-size), len(pool))] {
			g.terminate(i, "the warm pool shrinks", at(now, "an instance was taken out of service in response to a difference between desired and actual warm pool capacity, shrinking the capacity from %d to %d.", has, size), now)
		}
	}
	if has >= size || g.template == nil || g.suspended["Launch"] || !g.backoff.ready(now) {
		return
	}
	for range size - has {
		i := g.newInstance(Warm, "Warmed:Pending", now)
		i.starting = g.newActivity("Launching a new EC2 instance into warm pool: "+i.ID,
			at(now, "an instance was started in response to a difference between desired and actual warm pool capacity, increasing the capacity from %d to %d.", has, size), statusPreInServe, now)
		m.wg.Go(func() { m.live(i) })
	}
	m.touch()
}

// warm prepares an instance in the pool and returns when it leaves it, either way.
func (m *Manager) warm(i *instance) error {
	m.hold(i, launching, "Warmed:Pending:Wait", i.starting)
	ctx, cancel := context.WithTimeout(i.booted, m.o.BootTimeout)
	defer cancel()
	l, err := m.resolve(ctx, i.template)
	if err != nil {
		return err
	}
	m.complete(i, contract.HookBoot)
	if err := m.released(i.booted, i); err != nil {
		return err
	}
	m.update(func() {
		i.Fleet, i.Color = l.environment[contract.EnvFleet], l.environment[contract.EnvColor]
		i.TemplateVersion, i.SHA256 = l.templateVersion, l.artifact.SHA256
		if i.leaving == "" && i.group.warmPool != nil {
			i.Lifecycle = i.group.warmState()
		}
		i.starting.end(statusSuccessful, "", time.Now())
	})
	m.o.Log.Info("instance in the warm pool", "instance", i.ID, "group", i.Group, "after", time.Since(i.Launched).Round(time.Millisecond))
	select {
	case <-i.leave:
	case <-i.booted.Done():
	}
	return nil
}

// rejoin puts an instance whose program has ended into the pool, where it is
// prepared anew. Manager.mu is held.
func (i *instance) rejoin() {
	i.State, i.Lifecycle, i.warm, i.reuse = Warm, "Warmed:Pending", true, false
	i.PID, i.Version, i.URL, i.MetricsURL, i.port, i.Served = 0, "", "", "", 0, time.Time{}
	i.leaving, i.Reason, i.targetGroups, i.waiting, i.ending = "", "", nil, nil, nil
	i.leave = make(chan struct{})
	i.stop()
	i.booted, i.stop = context.WithCancel(context.Background())
}
