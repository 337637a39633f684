package traffic

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestACrowdKnowsWhoWasServedByBoth(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	at := func(second, user int, color string) asked {
		return asked{begin.Add(time.Duration(second) * time.Second), user, color}
	}
	c := &Crowd{asked: []asked{
		at(0, 1, "blue"), at(2, 1, "green"), at(3, 1, "green"), // moved before the step
		at(2, 2, "blue"), at(4, 2, "blue"),
		at(2, 3, "blue"), at(3, 3, "green"), at(4, 3, "blue"), // torn
		at(3, 4, "green"),                   // once says nothing
		at(3, 5, "blue"), at(9, 5, "green"), // moved after it
	}}
	users, torn := c.Between(begin.Add(time.Second), begin.Add(5*time.Second))
	require.Equal(t, 3, users)
	require.Equal(t, 1, torn)
}
