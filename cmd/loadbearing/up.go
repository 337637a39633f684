package main

import (
	"context"
	"errors"
	"fmt"
	"io"

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
