package compress

import (
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLargeBodiesLeaveOneProcessorToSmallOnes(t *testing.T) {
	t.Parallel()
	for processors, atOnce := range map[int]int{1: 1, 2: 1, 4: 3} {
		synctest.Test(t, func(t *testing.T) {
			c := New(Options{processors: processors})
			var mu sync.Mutex
			working, most := 0, 0
			count := func(n int) {
				mu.Lock()
				defer mu.Unlock()
				working += n
				most = max(most, working)
			}
			piece := func() error {
				count(1)
				defer count(-1)
				time.Sleep(time.Millisecond)
				return nil
			}
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					for range 5 {
						_ = c.run(true, piece)
					}
				})
			}
			begin := time.Now()
			_ = c.run(false, func() error { return nil })
			require.Zero(t, time.Since(begin), "a small one waits for nobody")
			wg.Wait()
			require.Equal(t, atOnce, most, "%d processors", processors)
		})
	}
}

func TestATurnRestsAfterItsWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{processors: 2})
		begin := time.Now()
		for range 5 { // two of them are a turn's work
			_ = c.run(true, func() error { time.Sleep(work / 2); return nil })
		}
		require.Equal(t, 5*work/2+2*rest, time.Since(begin))
	})
}

// TestALargeBodyWithoutATurnHoldsUpNoSmallOne takes the only turn away.
func TestALargeBodyWithoutATurnHoldsUpNoSmallOne(t *testing.T) {
	t.Parallel()
	c := New(Options{processors: 2})
	list, little := projectList(t, 100_000), text(2*Threshold)
	s := serve(t, c, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Large") != "" {
			sendJSON(w, list)
			return
		}
		sendJSON(w, little)
	})
	turn := <-c.turns
	large := make(chan answer)
	go func() { large <- s.get("zstd", "Large", "1") }()
	for range 10 {
		small := s.get("zstd")
		require.Equal(t, "zstd", small.Header.Get("Content-Encoding"))
		require.Equal(t, little, decode(t, "zstd", small.body))
	}
	select {
	case <-large:
		require.Fail(t, "compressed without a turn")
	default:
	}
	c.turns <- turn
	got := <-large
	require.Equal(t, list, decode(t, "zstd", got.body))
}
