package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/loadbearing/loadbearing/internal/cfnlint"
	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/local/cdk"
)

func runSynth(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := newFlags("synth")
	env := fs.String("env", "dev", "environment: dev or prod")
	out := fs.String("out", "cdk.out", "folder to write the templates to")
	validate := fs.Bool("validate", true, "check the templates against the CloudFormation schemas, and take warnings for errors")
	lint := fs.Bool("lint", false, "check them with cfn-lint too, which is fetched once")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	p, err := project.Find()
	if err != nil {
		return err
	}
	start := time.Now()
	assembly := filepath.Join(p.Root, *out)
	if filepath.IsAbs(*out) {
		assembly = *out
	}
	cli := cdk.CLI{Root: p.Root, Env: os.Environ()}
	if _, err := cli.Install(ctx); err != nil {
		return err
	}
	if err := p.Synth(ctx, cli, project.Synthesis{Env: *env, Out: assembly, Validate: *validate}); err != nil {
		return err
	}
	stacks, err := project.Summaries(assembly)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	total := 0
	fmt.Fprintln(t, "STACK\tRESOURCES\tCHIEFLY\tTEMPLATE")
	for _, s := range stacks {
		total += s.Resources
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", s.Name, s.Resources, chiefly(s.Types), relative(p.Root, s.Template))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "%d stacks, %d resources in %.1f s\n", len(stacks), total, time.Since(start).Seconds()); err != nil {
		return err
	}
	if !*lint {
		return nil
	}
	templates := make([]string, len(stacks))
	for i, s := range stacks {
		templates[i] = s.Template
	}
	say := func(what string) { fmt.Fprintln(stderr, what) }
	if err := cfnlint.Run(ctx, filepath.Join(p.Root, ".cache"), templates, say); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, "cfn-lint found nothing")
	return err
}

// supporting are the types that follow from others and tell a reader little.
var supporting = map[string]bool{
	"AWS::IAM::Role": true, "AWS::IAM::Policy": true, "AWS::Lambda::Permission": true, "AWS::SQS::QueuePolicy": true,
	"AWS::SNS::TopicPolicy": true, "AWS::S3::BucketPolicy": true, "AWS::EC2::Route": true, "AWS::EC2::RouteTable": true,
	"AWS::EC2::SubnetRouteTableAssociation": true, "AWS::Logs::LogGroup": true, "AWS::CloudWatch::Alarm": true,
	"AWS::EC2::VPCGatewayAttachment": true, "AWS::EC2::SecurityGroupIngress": true, "AWS::EC2::SecurityGroupEgress": true,
	"AWS::SSM::Parameter": true, "AWS::IAM::InstanceProfile": true, "AWS::CDK::Metadata": true,
}

// chiefly names a stack's main resource types with their counts.
func chiefly(types map[string]int) string {
	var parts []string
	for _, t := range slices.Sorted(maps.Keys(types)) {
		if supporting[t] {
			continue
		}
		short := strings.TrimPrefix(t, "AWS::")
		if n := types[t]; n > 1 {
			short = fmt.Sprintf("%d %s", n, short)
		}
		parts = append(parts, short)
	}
	const most = 6
	if len(parts) > most {
		parts = append(parts[:most], fmt.Sprintf("%d more types", len(parts)-most))
	}
	return strings.Join(parts, ", ")
}

func relative(root, path string) string {
	if r, err := filepath.Rel(root, path); err == nil && !strings.HasPrefix(r, "..") {
		return r
	}
	return path
}
