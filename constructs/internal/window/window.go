// Package window reads the times of day and week in which AWS backs up and
// maintains what it runs, as RDS and ElastiCache write them.
package window

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// Window is a time of day or of the week, in UTC. The zero value is none.
type Window struct {
	// Start counts from midnight, or from Monday's.
	Start time.Duration
	// Length is 0 when the window ends where it starts.
	Length time.Duration
}

// Daily reads "hh:mm-hh:mm", which may go past midnight. It tells whether the
// text is such a window.
func Daily(text string) (Window, bool) {
	return read(text, timeOfDay, day)
}

// Weekly reads "ddd:hh:mm-ddd:hh:mm", days in any case, which may go past the
// end of a week. It tells whether the text is such a window.
func Weekly(text string) (Window, bool) {
	return read(text, timeOfWeek, week)
}

func read(text string, parse func(string) (time.Duration, bool), period time.Duration) (Window, bool) {
	from, to, found := strings.Cut(text, "-")
	start, okStart := parse(from)
	end, okEnd := parse(to)
	if !found || !okStart || !okEnd {
		return Window{}, false
	}
	return Window{Start: start, Length: (end - start + period) % period}, true
}

func timeOfWeek(text string) (since time.Duration, ok bool) {
	name, rest, _ := strings.Cut(text, ":")
	index := slices.Index([]string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}, strings.ToLower(name))
	since, ok = timeOfDay(rest)
	return time.Duration(index)*day + since, ok && index >= 0
}

func timeOfDay(text string) (since time.Duration, ok bool) {
	hour, minute, _ := strings.Cut(text, ":")
	h, errHour := strconv.ParseUint(hour, 10, 8)
	m, errMinute := strconv.ParseUint(minute, 10, 8)
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute,
		len(text) == len("hh:mm") && len(hour) == len("hh") && errHour == nil && errMinute == nil && h < 24 && m < 60
}

// Overlaps tells whether a window of the week meets one of every day. None meets
// nothing, and windows that only touch do not meet.
func (w Window) Overlaps(daily Window) bool {
	if w.Length == 0 || daily.Length == 0 {
		return false
	}
	// The day before the window may reach into it.
	for start := daily.Start - day; start < w.Start+w.Length; start += day {
		if start+daily.Length > w.Start {
			return true
		}
	}
	return false
}
