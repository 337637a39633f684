package main

import (
	"context"
	"fmt"
	"io"

	"github.com/loadbearing/loadbearing/internal/project"
)

func runBuild(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := newFlags("build")
	host := project.Host()
	goos := fs.String("os", "linux", "operating system the app is built for")
	arch := fs.String("architecture", host.Architecture, "architecture the app is built for: arm64 or x86_64")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	p, err := project.Find()
	if err != nil {
		return err
	}
	app, err := p.BuildApp(ctx, project.Platform{GOOS: *goos, Architecture: *arch})
	if err != nil {
		return err
	}
	infra, err := p.BuildInfra(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s  %s  %.1f MB\n", app.SHA256, relative(p.Root, app.Path), float64(app.Bytes)/1e6)
	fmt.Fprintf(stdout, "%s  %s  %.1f MB\n", infra.SHA256, relative(p.Root, infra.Path), float64(infra.Bytes)/1e6)
	return nil
}
