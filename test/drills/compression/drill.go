package compression

import (
	"context"
	"errors"
	"time"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/test/drill"
)

// Drill returns the drill of concept 8.
func Drill() drill.Drill {
	return drill.Drill{
		Name:    "compression",
		Summary: "a list of a megabyte leaves small, and what is beside it does not feel it",
		Parts: []drill.Part{
			{Name: "lists", Summary: "every encoding of one list: right, small, and what it costs whom", Limit: 8 * time.Minute, Run: lists},
		},
	}
}

func lists(ctx context.Context, r *drill.Run) error {
	status, err := r.Status()
	if err != nil {
		return err
	}
	instances := drill.Instances(status, contract.FleetWeb, contract.ColorBlue)
	if len(instances) == 0 {
		return errors.New("no web instance runs")
	}
	web := instances[0]
	tenant, err := drill.NewTenant(ctx, web.URL, "Compression")
	if err != nil {
		return err
	}
	f, err := Run(ctx, Options{
		User: tenant.Client, Instance: web.URL, PID: int32(web.PID), Seed: r.Rand(1).Uint64(),
		Responses: drill.Sized(r, 20, 100), Rounds: drill.Sized(r, 10, 20),
	})
	if err != nil {
		return err
	}
	r.Figure("list_bytes", f.ListBytes)
	for _, encoding := range encodings() {
		r.Figure(encoding+"_wire_ratio", f.Wire[encoding])
		r.Check(f.Wire[encoding] <= MaxWire, "%s leaves %.1f %% of a list, want at most %.0f %%", encoding, 100*f.Wire[encoding], 100*MaxWire)
	}
	for _, encoding := range append([]string{identity}, encodings()...) {
		r.Figure(encoding+"_cpu_ms_per_response", float64(f.CPU[encoding].Microseconds())/1000)
	}
	// How far a second series of the same is from the first, either way, is the machine's doing.
	noise := 1.0
	for _, b := range f.Beside {
		if b.Encoding == Control {
			noise = max(b.Ratio, 1/b.Ratio)
		}
	}
	// The fewer the blocks, the less a p99 says.
	limit := drill.Sized(r, 2*MaxP99Ratio, MaxP99Ratio)
	for _, b := range f.Beside {
		r.Figure("small_p99_ratio_beside_"+b.Encoding, b.Ratio)
		if b.Encoding != identity && b.Encoding != Control {
			r.Check(b.Ratio <= limit*noise, "p99 of small requests beside lists in %s is %.2f × that beside uncompressed ones, want at most %.1f × (and %.2f × of noise)",
				b.Encoding, b.Ratio, limit, noise)
		}
	}
	return nil
}
