package cdkapp_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func TestSynthWritesTheAssembly(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CDK_OUTDIR", dir)
	require.NoError(t, cdkapp.Synth(func(app awscdk.App) error {
		stack := cdkapp.Stack(app, "jobs", cdkapp.StackProps{
			Name:                  "media-jobs",
			Description:           "Jobs",
			Region:                "eu-west-1",
			TerminationProtection: true,
			Tags:                  map[string]string{"team": "media", "cost": "1"},
		})
		cdkapp.Output(stack, "JobsURL", *queue.New(stack, "Jobs", queue.Props{}).Queue.QueueUrl(), "Where jobs wait")
		return nil
	}))
	var template struct {
		Description string
		Outputs     map[string]struct{ Description string }
		Resources   map[string]struct {
			Type       string
			Properties struct{ Tags []map[string]string }
		}
	}
	read(t, filepath.Join(dir, "jobs.template.json"), &template)
	require.Equal(t, "Jobs", template.Description)
	require.Equal(t, "Where jobs wait", template.Outputs["JobsURL"].Description)
	for _, resource := range template.Resources {
		if resource.Type == "AWS::SQS::Queue" {
			require.Contains(t, resource.Properties.Tags, map[string]string{"Key": "team", "Value": "media"})
		}
	}
	var manifest struct {
		Artifacts map[string]struct {
			Environment string
			Properties  struct {
				StackName             string
				TerminationProtection bool
			}
		}
	}
	read(t, filepath.Join(dir, "manifest.json"), &manifest)
	require.Equal(t, "media-jobs", manifest.Artifacts["jobs"].Properties.StackName)
	require.True(t, manifest.Artifacts["jobs"].Properties.TerminationProtection)
	require.Equal(t, "aws://unknown-account/eu-west-1", manifest.Artifacts["jobs"].Environment)
}

func read(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

func TestSynthReturnsWhatAConstructRefuses(t *testing.T) {
	err := cdkapp.Synth(func(app awscdk.App) error {
		queue.New(cdkapp.Stack(app, "jobs", cdkapp.StackProps{}), "Jobs", queue.Props{MaxReceives: -1})
		return nil
	})
	require.EqualError(t, err, "jobs/Jobs (queue): MaxReceives is -1; allowed: 1 to 1000")
	_, ok := errors.AsType[*cdkapp.PropsError](err)
	require.True(t, ok)

	broken := errors.New("no settings")
	require.ErrorIs(t, cdkapp.Synth(func(awscdk.App) error { return broken }), broken)
}

func TestSynthDoesNotHideBugs(t *testing.T) {
	require.PanicsWithValue(t, "a bug", func() {
		_ = cdkapp.Synth(func(awscdk.App) error { panic("a bug") })
	})
	bug := errors.New("a bug")
	require.PanicsWithValue(t, bug, func() {
		_ = cdkapp.Synth(func(awscdk.App) error { panic(bug) })
	})
}

func TestOverrideHasTheLastWord(t *testing.T) {
	props := cdkapp.StackProps{Name: "one", Tags: map[string]string{"team": "media"}, Override: func(p *awscdk.StackProps) { p.StackName = new("two") }}
	cdktest.Unchanged(t, props, func(props cdkapp.StackProps) {
		require.NoError(t, cdkapp.Synth(func(app awscdk.App) error {
			require.Equal(t, "two", *cdkapp.Stack(app, "jobs", props).StackName())
			return nil
		}))
	})
}

func TestValidateNamesEveryField(t *testing.T) {
	err := cdkapp.StackProps{
		Name: "no spaces", Account: "123", Region: "Ireland", Description: strings.Repeat("a", 1025),
		Tags: map[string]string{"aws:mine": "1"},
	}.Validate()
	require.ErrorContains(t, err, `stack: 5 fields are not valid
  Name is "no spaces"; allowed: 1 to 128 letters, digits and hyphens, a letter first
  Account is "123"; allowed: twelve digits
  Region is "Ireland"; allowed: the code of an AWS Region, such as eu-west-1
  Description is "aaa`)
	require.ErrorContains(t, err, `Tags is "aws:mine"; allowed: 1 to 128 characters that do not begin with aws:`)
}
