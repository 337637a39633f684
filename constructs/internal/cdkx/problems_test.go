package cdkx

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProblemsNameFieldValueAndRange(t *testing.T) {
	t.Parallel()
	var nested Problems
	Between(&nested, "MaxReceives", 2000, 1, 1000)

	var problems Problems
	Between(&problems, "Zones", 9, 2, 3)
	Between(&problems, "Zones", 3, 2, 3)
	AtLeast(&problems, "Count", -1, 0)
	OneOf(&problems, "Engine", "memcached", "valkey", "redis")
	WholeSeconds(&problems, "Timeout", 1500*time.Millisecond, time.Second, time.Minute)
	problems.Merge("Queue", nested.Err("queue"))
	problems.Merge("Topic", nil)

	require.EqualError(t, problems.Err("network"), `network: 5 fields are not valid
  Zones is 9; allowed: 2 to 3
  Count is -1; allowed: 0 or more
  Engine is "memcached"; allowed: valkey, redis
  Timeout is 1.5s; allowed: 1s to 1m0s in whole seconds
  Queue.MaxReceives is 2000; allowed: 1 to 1000`)
}

func TestProblemsAreReachableOneByOne(t *testing.T) {
	t.Parallel()
	var problems Problems
	problems.Add("Zones", 9, "2 to 3")
	problem, ok := errors.AsType[FieldError](problems.Err("network"))
	require.True(t, ok)
	require.Equal(t, FieldError{Field: "Zones", Value: 9, Allowed: "2 to 3"}, problem)
}

func TestNoProblemIsNil(t *testing.T) {
	t.Parallel()
	var problems Problems
	require.NoError(t, problems.Err("network"))
	require.NotPanics(t, func() { OneOf(&problems, "Engine", "valkey", "valkey") })
	require.NoError(t, problems.Err("network"))
}

func TestMustRefusesNoScope(t *testing.T) {
	t.Parallel()
	require.PanicsWithError(t, `Jobs (queue): scope is "nil"; allowed: a construct: a stack or another construct`,
		func() { Must(nil, "Jobs", "queue", nil) })
}
