// Package compliance checks the templates of whole environments the way a
// security reviewer does: cdk-nag's packs, every IAM statement, who may reach
// what, and that no stateful resource changes its logical id.
package compliance

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/stacks"
)

var update = flag.Bool("update", false, "write the lists under review instead of comparing with them")

func TestMain(m *testing.M) {
	code := m.Run()
	jsii.Close() // removes its temporary files
	os.Exit(code)
}

// template is a synthesized stack.
type template struct {
	Stack     string
	Resources map[string]resource
}

type resource struct {
	Type           string
	DeletionPolicy string
	Properties     map[string]any
	Metadata       struct {
		Path string `json:"aws:cdk:path"`
		Nag  struct {
			Rules []acknowledgement `json:"rules_to_suppress"`
		} `json:"cdk_nag"`
	}
}

// synth builds an environment as main.go does, with the aspects of prepare, and
// returns its templates in the order of their names and the folder they are in.
func synth(t *testing.T, settings stacks.Settings, prepare func(awscdk.App)) ([]template, string) {
	t.Helper()
	root, err := project.Find()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(root.Root, "cdk.json"))
	require.NoError(t, err)
	var file struct{ Context map[string]any }
	require.NoError(t, json.Unmarshal(text, &file))
	file.Context["aws:cdk:enable-path-metadata"] = true
	// cdk-nag's findings are read from its reports, all of them.
	file.Context["@aws-cdk/core:annotationsInValidationReport"] = false

	// A program's content does not change what is checked here.
	settings.Root = root.Root
	settings.Artifact = filepath.Join("stacks", "testdata", "app")
	settings.BuildFolder = filepath.Join(".build", "test", "functions")

	dir := t.TempDir()
	app := awscdk.NewApp(&awscdk.AppProps{AnalyticsReporting: new(false), Outdir: &dir, Context: &file.Context})
	prepare(app)
	stacks.Build(app, settings)
	var all []template
	for _, stack := range *app.Synth(nil).Stacks() {
		text, err := os.ReadFile(*stack.TemplateFullPath())
		require.NoError(t, err)
		one := template{Stack: *stack.StackName()}
		require.NoError(t, json.Unmarshal(text, &one))
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b template) int { return strings.Compare(a.Stack, b.Stack) })
	return all, dir
}

// golden compares text with a file under review, or writes it under -update.
func golden(t *testing.T, path, got, meaning string) {
	t.Helper()
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "write it with: go test ./test/compliance -update")
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s: %s (- reviewed, + now). When the change is meant: go test ./test/compliance -update\n%s", path, meaning, diff)
	}
}
