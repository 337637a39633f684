package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/loadbearing/loadbearing/local"
)

func runUp(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := newFlags("up")
	detach := fs.Bool("detach", false, "return when everything is ready and leave it running")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	c, err := config()
	if err != nil {
		return err
	}
	if *detach {
		err = local.Detach(ctx, c, stdout)
	} else {
		// The edge's live heap is a few MB, so the collector would run all the
		// time: let it grow, and leave the processor to what is behind it.
		debug.SetGCPercent(800)
		err = local.Up(ctx, c, stdout)
	}
	if !errors.Is(err, local.ErrRunning) {
		return err
	}
	// Somebody runs it already: say so, and where, and change nothing.
	fmt.Fprintln(stdout, "already running; `make down` stops it, `make status` shows it:")
	return runStatus(ctx, nil, stdout, stderr)
}

func runDown(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if err := parse(newFlags("down"), args, stderr); err != nil {
		return err
	}
	c, err := config()
	if err != nil {
		return err
	}
	return local.Down(ctx, c, stdout)
}
