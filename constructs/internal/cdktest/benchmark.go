package cdktest

import (
	"bytes"
	"os"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
)

// TraceVariable names the environment variable that holds the path of a file
// with one line per jsii round trip of this process so far. Whoever sets it runs
// jsii with a node that writes that file, as `loadbearing bench` does.
const TraceVariable = "JSII_TRACE"

// Benchmark measures one construct, each time in a fresh app. Prepare makes what
// the construct needs and returns what is measured. With TraceVariable set it
// reports the jsii round trips of one construct too.
func Benchmark(b *testing.B, prepare func(app awscdk.App) (build func())) {
	b.Helper()
	// The first of a kind loads its part of the CDK.
	prepare(newApp(b.TempDir()))()
	trips, traced := 0, os.Getenv(TraceVariable) != ""
	for b.Loop() {
		b.StopTimer()
		build := prepare(newApp(b.TempDir()))
		before := roundTrips(b)
		b.StartTimer()
		build()
		b.StopTimer()
		trips += roundTrips(b) - before
		b.StartTimer()
	}
	if traced {
		b.ReportMetric(float64(trips)/float64(b.N), "roundtrips/op")
	}
}

// roundTrips counts the lines of the trace, 0 without one.
func roundTrips(b *testing.B) int {
	path := os.Getenv(TraceVariable)
	if path == "" {
		return 0
	}
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatalf("count the jsii round trips: %v", err)
	}
	return bytes.Count(data, []byte("\n"))
}
