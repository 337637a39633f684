package load

import (
	"context"
	"fmt"
	"net/http"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// Answer is what became of one request.
type Answer struct {
	At      time.Time // when it was sent
	Latency time.Duration
	Status  int // 0 when there was none
	Error   string
	Header  http.Header
}

// Failed says that it was not answered as it should be.
func (a Answer) Failed() bool { return a.Status < 200 || a.Status >= 400 }

// MaxConstant is how long a constant load may last.
const MaxConstant = 45 * time.Minute

// Constant sends what next returns, so many requests a second whatever becomes of
// those before (an open loop), until ctx ends, and tells what becomes of each, one
// after the other. Those in flight at the end are waited for. next is called by
// several goroutines.
func Constant(ctx context.Context, perSecond int, next func() Request, each func(Answer)) error {
	if perSecond < 1 || perSecond > MaxPerSecond {
		return fmt.Errorf("load: %d requests a second; from 1 to %d", perSecond, MaxPerSecond)
	}
	attacker := vegeta.NewAttacker(vegeta.MaxWorkers(MaxClients), vegeta.Connections(MaxClients), vegeta.Timeout(30*time.Second), vegeta.MaxBody(0))
	defer attacker.Stop()
	release := context.AfterFunc(ctx, func() { attacker.Stop() })
	defer release()
	targeter := func(t *vegeta.Target) error {
		r := next()
		t.Method, t.URL, t.Header, t.Body = r.Method, r.URL, r.Header, r.Body
		return CheckLoopback(r.URL)
	}
	for r := range attacker.Attack(targeter, vegeta.Rate{Freq: perSecond, Per: time.Second}, MaxConstant, "load") {
		each(Answer{At: r.Timestamp, Latency: r.Latency, Status: int(r.Code), Error: r.Error, Header: r.Headers})
	}
	return nil
}
