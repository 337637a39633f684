package stream_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/stream"
	"github.com/loadbearing/loadbearing/local/redis/redistest"
)

// onEach runs a test against a real Redis, if it can be had, and against
// miniredis.
func onEach(t *testing.T, test func(t *testing.T, client *redis.Client)) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		m := miniredis.RunT(t)
		m.SetTime(time.Now())
		test(t, connect(t, &redis.Options{Addr: m.Addr()}))
	})
	t.Run("installed", func(t *testing.T) {
		t.Parallel()
		redistest.Real(t)
		s := redistest.New(t)
		t.Log(s.Kind, s.Version)
		test(t, connect(t, &redis.Options{Addr: s.Addr, TLSConfig: s.TLS}))
	})
}

func connect(t *testing.T, o *redis.Options) *redis.Client {
	t.Helper()
	o.MaxRetries = -1
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func entry(n int) stream.Entry {
	return stream.Entry{
		ID: uuid.New(), Type: "com.loadbearing.test.v1", Subject: "video", Time: time.Now().UTC(),
		Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)),
	}
}

// number is what entry was called with.
func number(t *testing.T, body []byte) int {
	t.Helper()
	e, err := stream.Message{Body: body}.Entry()
	require.NoError(t, err)
	var data struct{ N int }
	require.NoError(t, json.Unmarshal(e.Data, &data))
	return data.N
}

func numbers(t *testing.T, messages []stream.Message) []int {
	t.Helper()
	var all []int
	for _, m := range messages {
		all = append(all, number(t, m.Body))
	}
	return all
}

func sequence(first, last int) []int {
	var all []int
	for n := first; n <= last; n++ {
		all = append(all, n)
	}
	return all
}

func TestWhatIsAppendedIsReadInOrderPageByPage(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, client *redis.Client) {
		s, user := stream.New(client, stream.Options{}), uuid.New()
		messages, gap, err := s.Since(t.Context(), user, "", 10)
		require.NoError(t, err)
		require.Empty(t, messages)
		require.False(t, gap)

		e := entry(1)
		require.NoError(t, s.Append(t.Context(), user, e))
		for n := 2; n <= 25; n++ {
			require.NoError(t, s.Append(t.Context(), user, entry(n)))
		}
		var all []stream.Message
		last := ""
		for _, want := range []int{10, 10, 5, 0} {
			page, gap, err := s.Since(t.Context(), user, last, 10)
			require.NoError(t, err)
			require.False(t, gap)
			require.Len(t, page, want)
			if all = append(all, page...); want > 0 {
				last = page[want-1].ID
			}
		}
		require.Equal(t, sequence(1, 25), numbers(t, all))
		got, err := all[0].Entry()
		require.NoError(t, err)
		require.Equal(t, e, got)

		other, _, err := s.Since(t.Context(), uuid.New(), "", 10)
		require.NoError(t, err)
		require.Empty(t, other, "another user's")
		ttl := client.PTTL(t.Context(), "events:{"+user.String()+"}").Val()
		require.InDelta(t, 24*time.Hour, ttl, float64(time.Minute))
	})
}

func TestAnEntryIsKeptOnceHoweverOftenItIsAppended(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, client *redis.Client) {
		s, user := stream.New(client, stream.Options{History: 100}), uuid.New()
		var wg sync.WaitGroup
		for n := 1; n <= 20; n++ {
			e := entry(n)
			for range 10 {
				wg.Go(func() {
					if err := s.Append(context.WithoutCancel(t.Context()), user, e); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		messages, _, err := s.Since(t.Context(), user, "", 1000)
		require.NoError(t, err)
		require.ElementsMatch(t, sequence(1, 20), numbers(t, messages))

		// Also when Redis evicted what the ids are remembered by, and the stream not.
		require.EqualValues(t, 1, client.Del(t.Context(), "events:{"+user.String()+"}:ids").Val())
		again, err := messages[7].Entry()
		require.NoError(t, err)
		require.NoError(t, s.Append(t.Context(), user, again))
		after, _, err := s.Since(t.Context(), user, "", 1000)
		require.NoError(t, err)
		require.Len(t, after, 20)

		// And what is remembered does not grow beyond what is kept.
		for n := range 500 {
			require.NoError(t, s.Append(t.Context(), user, entry(n)))
		}
		kept := client.XLen(t.Context(), "events:{"+user.String()+"}").Val()
		require.Equal(t, kept, client.ZCard(t.Context(), "events:{"+user.String()+"}:ids").Val())
		require.GreaterOrEqual(t, kept, int64(100))
		require.LessOrEqual(t, kept, int64(200), "Redis trims whole nodes, of a hundred entries")
	})
}

func TestAGapIsToldOfExactlyWhenSomethingMayBeMissing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, client *redis.Client) {
		s, user := stream.New(client, stream.Options{History: 100}), uuid.New()
		key := "events:{" + user.String() + "}"
		for n := 1; n <= 250; n++ {
			require.NoError(t, s.Append(t.Context(), user, entry(n)))
		}
		kept, _, err := s.Since(t.Context(), user, "", 1000)
		require.NoError(t, err)
		first := number(t, kept[0].Body)
		var epoch, seq uint64
		_, err = fmt.Sscanf(kept[0].ID, "%d-%d", &epoch, &seq)
		require.NoError(t, err)
		require.EqualValues(t, first, seq, "numbered without gaps")
		at := func(n int) string { return fmt.Sprintf("%d-%d", epoch, n) }

		check := func(last string, wantGap bool, from, to int) {
			t.Helper()
			messages, gap, err := s.Since(t.Context(), user, last, 1000)
			require.NoError(t, err)
			require.Equal(t, wantGap, gap, last)
			require.Equal(t, sequence(from, to), numbers(t, messages), last)
		}
		check(at(250), false, 1, 0)
		check(at(249), false, 250, 250)
		check(at(first), false, first+1, 250)
		check(at(first-1), false, first, 250) // the last one that was trimmed
		check(at(first-2), true, first, 250)
		check(at(0), true, first, 250)
		check("nonsense", true, first, 250)
		check("1-", true, first, 250)
		check(at(251), true, first, 250) // a place that was lost
		check(fmt.Sprintf("%d-%d", epoch-1000, 250), true, first, 250)
		check(fmt.Sprintf("%d-%d", epoch+1000, 3), true, first, 250)

		// The stream is lost, and begins anew.
		require.NoError(t, client.Del(t.Context(), key).Err())
		check(at(250), true, 1, 0)
		check("", false, 1, 0)
		early := fmt.Sprintf("%d-0", time.Now().Add(-time.Minute).UnixMilli())
		check(early, false, 1, 0)
		again, err := kept[3].Entry()
		require.NoError(t, err)
		require.NoError(t, s.Append(t.Context(), user, again), "what is gone is new again")
		n := number(t, kept[3].Body)
		check(early, false, n, n) // there was nothing then, and nothing since but this
		check(fmt.Sprintf("%d-0", time.Now().Add(-25*time.Hour).UnixMilli()), true, n, n)
		check(at(250), true, n, n)
	})
}

func TestWhatCannotBeAnEntryIsRefused(t *testing.T) {
	t.Parallel()
	s := stream.New(connect(t, &redis.Options{Addr: miniredis.RunT(t).Addr()}), stream.Options{})
	require.Error(t, s.Append(t.Context(), uuid.New(), stream.Entry{Type: "type"}))
	require.Error(t, s.Append(t.Context(), uuid.New(), stream.Entry{ID: uuid.New()}))
	e := entry(1)
	e.Data = json.RawMessage("{")
	require.Error(t, s.Append(t.Context(), uuid.New(), e))
	e.Data = json.RawMessage(`"` + strings.Repeat("a", stream.MaxEntryBytes) + `"`)
	require.ErrorContains(t, s.Append(t.Context(), uuid.New(), e), "the most is 32768")
}
