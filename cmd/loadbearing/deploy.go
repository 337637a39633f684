package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/migrate"
	"github.com/loadbearing/loadbearing/internal/migration"
	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/local/cdk"
	"github.com/loadbearing/loadbearing/local/emulator"
)

func runDeploy(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := newFlags("deploy")
	env := fs.String("env", "dev", "environment: dev or prod")
	yes := fs.Bool("yes", false, "do not ask before changes that widen access")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	p, err := project.Find()
	if err != nil {
		return err
	}
	if err := refuseEndpoints(os.Environ()); err != nil {
		return err
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("deploy: read the AWS configuration: %w", err)
	}
	account, err := callerAccount(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "Deploying %s to account %s, %s\n", *env, account, cfg.Region)

	cli := cdk.CLI{Root: p.Root, Env: os.Environ(), Log: stdout}
	if _, err := cli.Install(ctx); err != nil {
		return err
	}
	assembly := filepath.Join(p.Root, "cdk.out")
	if err := p.Synth(ctx, cli, project.Synthesis{Env: *env, Region: cfg.Region, Out: assembly, Validate: true}); err != nil {
		return err
	}
	if err := cli.Bootstrap(ctx, assembly, "aws://"+account+"/"+cfg.Region); err != nil {
		return err
	}
	approval := cdk.ApproveBroadening
	if *yes {
		approval = cdk.ApproveNever
	}
	// The schema comes before the instances that need it.
	prefix := contract.StackPrefix(*env)
	if err := cli.Deploy(ctx, assembly, approval, prefix+"network", prefix+"data", prefix+"messaging"); err != nil {
		return err
	}
	result, err := migrate.Run(ctx, cfg, *env, migration.Event{})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "Schema at version %d, %d migrations applied\n", result.Version, len(result.Applied))
	return cli.Deploy(ctx, assembly, approval, "--all")
}

// refuseEndpoints refuses to deploy to AWS while a variable sends AWS calls
// somewhere else: the templates would go to one place and the data to another.
func refuseEndpoints(environ []string) error {
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "AWS_ENDPOINT_URL") && value != "" {
			return fmt.Errorf("deploy: %s=%s points at an emulator; unset it to deploy to AWS, or run `make up` to deploy there", name, value)
		}
	}
	return nil
}

// callerAccount returns the account of the caller's credentials, and refuses
// an emulator's.
func callerAccount(ctx context.Context, cfg aws.Config) (string, error) {
	if cfg.BaseEndpoint != nil {
		return "", fmt.Errorf("deploy: your AWS profile sends calls to %s; use a profile without endpoint_url", *cfg.BaseEndpoint)
	}
	if cfg.Region == "" {
		return "", errors.New("deploy: no region; set AWS_REGION or one in your AWS profile")
	}
	id, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", fmt.Errorf("deploy: who are you on AWS? sign in, or set AWS_PROFILE: %w", err)
	}
	if aws.ToString(id.Account) == emulator.Account {
		return "", fmt.Errorf("deploy: account %s is an emulator's; use the credentials of an AWS account", emulator.Account)
	}
	return aws.ToString(id.Account), nil
}
