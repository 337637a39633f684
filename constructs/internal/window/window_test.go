package window_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/internal/window"
)

const day = 24 * time.Hour

func TestDaily(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]window.Window{
		"03:00-03:30": {Start: 3 * time.Hour, Length: 30 * time.Minute},
		"23:45-00:30": {Start: 23*time.Hour + 45*time.Minute, Length: 45 * time.Minute},
		"00:00-00:00": {},
	} {
		got, ok := window.Daily(text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", "03:00", "03:00-", "3:00-03:30", "03:00-3:30", "23:00-24:00", "03:60-04:00", "-1:00-02:00", "+3:00-04:00", "003:0-04:00",
		"03:00-03:30-04:00", "03:00 - 03:30", "aa:bb-cc:dd", "sun:03:00-sun:03:30",
	} {
		got, ok := window.Daily(text)
		require.False(t, ok, text)
		require.Zero(t, got, text)
	}
}

func TestWeekly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]window.Window{
		"mon:00:00-mon:00:30": {Length: 30 * time.Minute},
		"Sun:04:00-SUN:05:00": {Start: 6*day + 4*time.Hour, Length: time.Hour},
		"sun:23:30-mon:00:30": {Start: 6*day + 23*time.Hour + 30*time.Minute, Length: time.Hour},
		"sun:04:00-tue:05:00": {Start: 6*day + 4*time.Hour, Length: 2*day + time.Hour},
	} {
		got, ok := window.Weekly(text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "sun:04:00", "day:04:00-day:05:00", "sun:04:00-05:00", "04:00-05:00", "sun-mon", "sunday:04:00-sunday:05:00"} {
		got, ok := window.Weekly(text)
		require.False(t, ok, text)
		require.Zero(t, got, text)
	}
}

func TestOverlaps(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		weekly, daily string
		want          bool
	}{
		{"sun:04:00-sun:05:00", "03:00-03:30", false},
		{"sun:04:00-sun:05:00", "03:00-04:00", false}, // touches at its end
		{"sun:04:00-sun:05:00", "05:00-06:00", false}, // touches at its start
		{"sun:04:00-sun:05:00", "03:00-04:01", true},
		{"sun:04:00-sun:05:00", "04:59-06:00", true},
		{"sun:04:00-sun:05:00", "04:15-04:30", true},
		{"sun:04:00-tue:05:00", "12:00-12:30", true},  // on the day between
		{"mon:00:00-mon:01:00", "23:40-00:30", true},  // from the week before
		{"sun:23:30-mon:00:30", "00:10-00:50", true},  // into the next week
		{"sun:00:30-sun:01:00", "23:45-00:30", false}, // from the day before, touching
		{"sun:04:00-sun:04:00", "03:00-05:00", false}, // none
		{"sun:04:00-sun:05:00", "04:00-04:00", false}, // none
	} {
		weekly, ok := window.Weekly(test.weekly)
		require.True(t, ok, test.weekly)
		daily, ok := window.Daily(test.daily)
		require.True(t, ok, test.daily)
		require.Equal(t, test.want, weekly.Overlaps(daily), "%s and %s", test.weekly, test.daily)
	}
}
