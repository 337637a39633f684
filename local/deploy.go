package local

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/loadbearing/loadbearing/local/assembly"
	"github.com/loadbearing/loadbearing/local/cdk"
	"github.com/loadbearing/loadbearing/local/emulator"
)

// Deploy bootstraps an emulator and deploys stacks of a cloud assembly to it.
// An emulator that rejects resource types gets a copy of the assembly without
// them, and without what cannot exist without them, in the folder filtered:
// Deploy returns the types of everything that was left out.
func Deploy(ctx context.Context, cli cdk.CLI, e *emulator.Emulator, source, filtered string, stacks ...string) ([]string, error) {
	types, err := assembly.Types(source)
	if err != nil {
		return nil, err
	}
	rejected, err := e.Rejects(ctx, types)
	if err != nil {
		return nil, fmt.Errorf("ask %s which resource types it takes: %w", e.Name, err)
	}
	var removed []string
	if len(rejected) > 0 {
		if err := os.RemoveAll(filtered); err != nil {
			return nil, err
		}
		left, err := assembly.Filter(source, filtered, func(t string) bool { return slices.Contains(rejected, t) })
		if err != nil {
			return nil, fmt.Errorf("leave out what %s rejects: %w", e.Name, err)
		}
		for _, r := range left {
			removed = append(removed, r.Type)
		}
		slices.Sort(removed)
		removed = slices.Compact(removed)
		source = filtered
	}
	if err := cli.Bootstrap(ctx, source, "aws://"+emulator.Account+"/"+e.Region); err != nil {
		return removed, err
	}
	return removed, cli.Deploy(ctx, source, cdk.ApproveNever, stacks...)
}
