package instances

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTerminationPolicies(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	// By id: the version of the launch template and the age.
	fleet := map[string]struct {
		version string
		age     time.Duration
	}{
		"a": {"2", 150 * time.Minute}, // half an hour to the next
		"b": {"10", 110 * time.Minute},
		"c": {"2", 59 * time.Minute},
		"d": {"10", time.Minute},
	}
	for _, test := range []struct {
		policies []string
		want     string // the order in which they go
	}{
		{nil, "abcd"},
		{[]string{"OldestInstance"}, "abcd"},
		{[]string{"NewestInstance"}, "dcba"},
		{[]string{"OldestLaunchTemplate"}, "acbd"},
		{[]string{"OldestLaunchTemplate", "NewestInstance"}, "cadb"},
		{[]string{"ClosestToNextInstanceHour"}, "cbad"},
		{[]string{"Default"}, "cabd"},
		{[]string{"AllocationStrategy", "NewestInstance"}, "dcba"},
	} {
		g := &group{policies: test.policies}
		var list []*instance
		for id, i := range fleet {
			list = append(list, &instance{Instance: Instance{ID: id, TemplateVersion: i.version, Launched: now.Add(-i.age)}})
		}
		slices.SortFunc(list, func(a, b *instance) int { return g.compare(a, b, now) })
		var order strings.Builder
		for _, i := range list {
			order.WriteString(i.ID)
		}
		require.Equal(t, test.want, order.String(), "%v", test.policies)
	}
}
