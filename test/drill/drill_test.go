package drill_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/test/drill"
)

func TestADrillPassesWhenEverythingHolds(t *testing.T) {
	t.Parallel()
	d := drill.Drill{Name: "d", Parts: []drill.Part{
		{Name: "one", Limit: time.Minute, Run: func(_ context.Context, r *drill.Run) error {
			r.Figure("jobs", drill.Sized(r, 5, 50))
			r.Check(true, "holds")
			return nil
		}},
		{Name: "long", Limit: time.Minute, FullOnly: true, Run: func(context.Context, *drill.Run) error { return errors.New("only in full") }},
	}}
	r := d.Do(t.Context(), nil, drill.Options{Size: drill.Short, Seed: 7, Out: io.Discard})
	require.True(t, r.Pass, r.Failures)
	require.Equal(t, map[string]any{"jobs": 5}, r.Figures)
	require.Equal(t, []string{"long: only in full"}, d.Do(t.Context(), nil, drill.Options{Size: drill.Full, Out: io.Discard}).Failures)
	require.Equal(t, []string{`no part "two"; there are: [one long]`}, d.Do(t.Context(), nil, drill.Options{Part: "two", Out: io.Discard}).Failures)
}

func TestADrillGoesOnAfterWhatDoesNotHold(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancelCause(t.Context())
	d := drill.Drill{Name: "d", Parts: []drill.Part{
		{Name: "one", Limit: time.Minute, Run: func(_ context.Context, r *drill.Run) error {
			r.Check(false, "%d of %d jobs", 1, 2)
			return errors.New("and then it broke")
		}},
		{Name: "two", Limit: time.Millisecond, Run: func(ctx context.Context, r *drill.Run) error {
			<-ctx.Done()
			return drill.Await(ctx, "the sun rises", func(context.Context) (bool, error) { return false, nil })
		}},
		{Name: "three", Limit: time.Minute, Run: func(context.Context, *drill.Run) error {
			end(errors.New("stopped"))
			return nil
		}},
		{Name: "four", Limit: time.Minute, Run: func(context.Context, *drill.Run) error { return errors.New("never run") }},
	}}
	r := d.Do(ended, nil, drill.Options{Size: drill.Full, Out: io.Discard})
	require.False(t, r.Pass)
	require.Equal(t, []string{
		"one: 1 of 2 jobs", "one: and then it broke", "two: wait until the sun rises: not done within 1ms",
	}, r.Failures)
}

// What is drawn for one purpose does not change with what another draws.
func TestASeedRepeats(t *testing.T) {
	t.Parallel()
	draw := func(seed, purpose uint64) (n uint64) {
		d := drill.Drill{Parts: []drill.Part{{Limit: time.Minute, Run: func(_ context.Context, r *drill.Run) error {
			n = r.Rand(purpose).Uint64()
			return nil
		}}}}
		d.Do(t.Context(), nil, drill.Options{Size: drill.Full, Seed: seed, Out: io.Discard})
		return n
	}
	first := draw(1, 1)
	require.Equal(t, first, draw(1, 1))
	require.NotEqual(t, first, draw(2, 1))
	require.NotEqual(t, first, draw(1, 2))
}
