// Package cdkapp is a CDK app in plain Go: a main function of three lines, and
// stacks without a pointer.
//
//	func main() {
//		cdkapp.Main(func(app awscdk.App) error {
//			stack := cdkapp.Stack(app, "jobs", cdkapp.StackProps{})
//			queue.New(stack, "Jobs", queue.Props{})
//			return nil
//		})
//	}
package cdkapp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Main makes an app, lets build fill it, writes its cloud assembly where the CDK
// CLI expects it, and ends the process: with exit code 1 and what is wrong on
// standard error when build fails or a construct refuses its props.
func Main(build func(app awscdk.App) error) {
	os.Exit(run(build, os.Stderr))
}

func run(build func(app awscdk.App) error, stderr io.Writer) int {
	defer jsii.Close()
	if err := Synth(build); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// Synth is Main for a program with more to do: it returns what Main prints. The
// caller ends jsii with jsii.Close.
func Synth(build func(app awscdk.App) error) (err error) {
	defer func() {
		recovered := recover()
		if recovered == nil {
			return
		}
		// A construct panics with an error whose text is what the user needs. Any
		// other panic is a bug, whose stack is.
		cause, ok := recovered.(error)
		if _, refused := errors.AsType[Refusal](cause); !ok || !refused {
			panic(recovered)
		}
		err = cause
	}()
	app := awscdk.NewApp(&awscdk.AppProps{
		AnalyticsReporting: new(false),
		// Where the CDK CLI wants the cloud assembly.
		Outdir: cdkx.Optional(os.Getenv("CDK_OUTDIR")),
		// Else an app that was refused half way would still be written at exit.
		AutoSynth: new(false),
	})
	if err := build(app); err != nil {
		return err
	}
	app.Synth(nil)
	return nil
}

// Refusal is an error that a construct panics with on purpose: its props are not
// valid, or a program it deploys does not compile.
type Refusal = cdkx.Refusal

// StackProps configures a Stack. The zero value is a stack for the account and
// Region of whoever deploys it.
type StackProps struct {
	// Name of the stack, a letter first, then letters, digits and hyphens, 128 at
	// most. Default the id.
	Name string

	// Account and Region bind the stack to one of each: twelve digits and a code
	// such as "eu-west-1". Default those of the credentials it is deployed with.
	// CloudFront needs to know its Region.
	Account string
	Region  string

	// Description shown in the console, 1024 bytes at most. Default none.
	Description string

	// TerminationProtection refuses the deletion of the stack.
	TerminationProtection bool

	// Tags are set on the stack and everything in it. Keys have 1 to 128
	// characters and do not begin with "aws:". Default none.
	Tags map[string]string

	// Override has the last word on the stack.
	Override func(*awscdk.StackProps)
}

// PropsError is what Validate returns and Stack panics with.
type PropsError = cdkx.PropsError

var (
	stackName   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,127}$`)
	accountID   = regexp.MustCompile(`^\d{12}$`)
	regionCode  = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-\d+$`)
	noPublicTag = "aws:"
)

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p StackProps) Validate() error {
	var bad cdkx.Problems
	if p.Name != "" {
		bad.Check(stackName.MatchString(p.Name), "Name", p.Name, "1 to 128 letters, digits and hyphens, a letter first")
	}
	if p.Account != "" {
		bad.Check(accountID.MatchString(p.Account), "Account", p.Account, "twelve digits")
	}
	if p.Region != "" {
		bad.Check(regionCode.MatchString(p.Region), "Region", p.Region, "the code of an AWS Region, such as eu-west-1")
	}
	bad.Check(len(p.Description) <= 1024, "Description", p.Description, "1024 bytes or fewer")
	for key := range p.Tags {
		bad.Check(key != "" && len(key) <= 128 && (len(key) < 4 || key[:4] != noPublicTag), "Tags", key,
			"1 to 128 characters that do not begin with aws:")
	}
	return bad.Err("stack")
}

// Stack makes a stack. It panics with a *PropsError when props are not valid.
func Stack(scope constructs.Construct, id string, props StackProps) awscdk.Stack {
	cdkx.Must(scope, id, "stack", props.Validate())
	stack := awscdk.NewStack(scope, &id, cdkx.Override(&awscdk.StackProps{
		StackName:             cdkx.Optional(props.Name),
		Description:           cdkx.Optional(props.Description),
		TerminationProtection: new(props.TerminationProtection),
		Env: &awscdk.Environment{
			Account: cdkx.Optional(props.Account),
			Region:  cdkx.Optional(props.Region),
		},
	}, props.Override))
	cdkx.Tag(stack, props.Tags)
	return stack
}

// Output publishes a value of the stack under a name: `cdk deploy` prints it and
// DescribeStacks returns it.
func Output(stack awscdk.Stack, name, value, description string) {
	awscdk.NewCfnOutput(stack, &name, &awscdk.CfnOutputProps{Value: &value, Description: cdkx.Optional(description)})
}
