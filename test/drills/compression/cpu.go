package compression

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// spent returns the CPU that the process spends on a list, by its encoding. The
// encodings take turns, so that what else the process does falls on all alike.
func spent(ctx context.Context, o Options, header http.Header) (map[string]time.Duration, error) {
	p, err := process.NewProcessWithContext(ctx, o.PID)
	if err != nil {
		return nil, fmt.Errorf("find process %d: %w", o.PID, err)
	}
	const turns = 3
	sum := map[string]time.Duration{}
	each := max(1, o.Responses/turns)
	for range turns {
		for _, e := range slices.Concat([]string{identity}, encodings()) {
			h := header.Clone()
			h.Set("Accept-Encoding", e)
			before, err := p.TimesWithContext(ctx)
			if err != nil {
				return nil, fmt.Errorf("read the CPU times of process %d: %w", o.PID, err)
			}
			for range each {
				r, err := o.User.Do(ctx, http.MethodGet, o.Instance+listPath, nil, h)
				if err != nil {
					return nil, err
				}
				if err := r.Decode(http.StatusOK, nil); err != nil {
					return nil, fmt.Errorf("the list as %s: %w", e, err)
				}
			}
			after, err := p.TimesWithContext(ctx)
			if err != nil {
				return nil, fmt.Errorf("read the CPU times of process %d: %w", o.PID, err)
			}
			sum[e] += time.Duration((after.User + after.System - before.User - before.System) * float64(time.Second))
		}
	}
	for e := range sum {
		sum[e] /= time.Duration(turns * each)
	}
	return sum, nil
}
