package instances

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/contract"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	var b backoff
	require.True(t, b.ready(now))
	var waits []time.Duration
	for range 10 {
		wait := b.ended(now, 0)
		waits = append(waits, wait)
		require.False(t, b.ready(now))
		require.LessOrEqual(t, b.ended(now.Add(time.Millisecond), 0), wait, "those that end together count once")
		now = now.Add(wait)
		require.True(t, b.ready(now))
	}
	require.Equal(t, 250*time.Millisecond, waits[0])
	require.Equal(t, 500*time.Millisecond, waits[1])
	require.Equal(t, backoffMax, waits[9])
	require.Zero(t, b.ended(now, stable), "one that has served is replaced at once")
	require.Equal(t, backoffBase, b.ended(now, 0))
}

func TestEnvironmentFile(t *testing.T) {
	t.Parallel()
	whole := "LOADBEARING_ENV=dev\nLOADBEARING_FLEET=web\nLOADBEARING_COLOR=blue\nLOADBEARING_COMMAND=serve\n"
	for name, test := range map[string]struct{ data, want string }{
		"none":        {"#!/bin/sh\n", "writes no"},
		"not ended":   {contract.EnvFileBegin + "\n" + whole, "no line APP_ENV ends it"},
		"not a pair":  {contract.EnvFileBegin + "\n" + whole + "nonsense\nAPP_ENV\n", `"nonsense" is not KEY=value`},
		"not all":     {contract.EnvFileBegin + "\nLOADBEARING_ENV=dev\nAPP_ENV\n", "no LOADBEARING_FLEET, LOADBEARING_COLOR, LOADBEARING_COMMAND"},
		"as expected": {"x\r\n" + contract.EnvFileBegin + "\r\n" + whole + "URL=http://h/?a=b\r\n\r\nAPP_ENV\r\nLATER=1\r\n", ""},
	} {
		got, err := environmentFile(test.data)
		if test.want != "" {
			require.ErrorContains(t, err, test.want, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, "http://h/?a=b", got["URL"])
		require.NotContains(t, got, "LATER")
		require.Len(t, got, 5)
	}
}
