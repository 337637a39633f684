package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/loadbearing/loadbearing/local"
)

func runStatus(_ context.Context, args []string, stdout, stderr io.Writer) error {
	fs := newFlags("status")
	asJSON := fs.Bool("json", false, "print one JSON object")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	c, err := config()
	if err != nil {
		return err
	}
	s, err := local.ReadStatus(c.RunDir)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(stdout).Encode(s)
	}
	return printStatus(stdout, s)
}

func printStatus(w io.Writer, s local.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "edge\t%s\tCloudFront → load balancer → healthy targets\n", s.EdgeURL)
	fmt.Fprintf(t, "alb\t%s\tthe load balancer: answers 403 to whom is not CloudFront\n", s.ALBURL)
	fmt.Fprintf(t, "aws\t%s\t%s %s\n", s.AWSEndpointURL, s.Emulator.Name, s.Emulator.Version)
	for _, p := range s.Postgres {
		dsn, _, _ := strings.Cut(p.DSN, "?")
		fmt.Fprintf(t, "postgres\t%s\t%s, shard %s, pid %d\n", dsn, p.Role, p.Shard, p.PID)
	}
	if s.Redis.Kind != "" {
		fmt.Fprintf(t, "redis\t%s\t%s, pid %d\n", s.Redis.URL, s.Redis.Kind, s.Redis.PID)
	}
	for _, i := range s.Instances {
		fmt.Fprintf(t, "%s/%s\t%s\t%s, %s, version %s, pid %d\n", i.Fleet, i.Color, i.URL, i.ID, i.State, i.Version, i.PID)
	}
	for _, k := range s.Stacks {
		fmt.Fprintf(t, "stack\t%s\t%s, %d resources\n", k.Name, k.Status, k.Resources)
	}
	if len(s.RemovedResourceTypes) > 0 {
		fmt.Fprintf(t, "removed\t%s\tnot validated: this emulator rejects them\n", strings.Join(s.RemovedResourceTypes, " "))
	}
	for _, f := range s.Faults {
		fmt.Fprintf(t, "fault\t%s\n", f)
	}
	return t.Flush()
}
