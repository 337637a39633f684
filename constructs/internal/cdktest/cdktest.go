// Package cdktest holds what the tests of the constructs share: a stack to
// build in, golden templates, and the proof that Props are not written to.
//
// jsii runs one Node process for the whole test binary and is not safe for
// concurrent use, so nothing here may be called from a parallel test.
package cdktest

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden templates instead of comparing with them")

// Main runs the tests of a package and ends jsii's Node process, which removes
// its temporary files. It is the TestMain of every package that builds stacks.
func Main(m *testing.M) {
	code := m.Run()
	jsii.Close()
	os.Exit(code)
}

// Stack is an empty stack, for no account and no Region, of an app that has the
// feature flags of the project's cdk.json.
func Stack(t *testing.T) awscdk.Stack {
	t.Helper()
	return newStack(newApp(t.TempDir()), "Test")
}

// Stacks are two stacks of one app, for resources of one that the other uses.
func Stacks(t *testing.T) (one, other awscdk.Stack) {
	t.Helper()
	app := newApp(t.TempDir())
	return newStack(app, "One"), newStack(app, "Other")
}

// App is an app for an Example, which has no *testing.T. It never writes its
// cloud assembly.
func App() awscdk.App {
	return newApp(filepath.Join(os.TempDir(), "loadbearing-example"))
}

func newApp(out string) awscdk.App {
	return awscdk.NewApp(&awscdk.AppProps{
		AnalyticsReporting: new(false),
		Outdir:             &out,
		Context:            featureFlags(),
	})
}

func newStack(app awscdk.App, id string) awscdk.Stack {
	return awscdk.NewStack(app, &id, &awscdk.StackProps{
		Synthesizer: awscdk.NewDefaultStackSynthesizer(&awscdk.DefaultStackSynthesizerProps{
			GenerateBootstrapVersionRule: new(false),
		}),
	})
}

// Token is a text that only a deployment knows, as another stack's output is.
func Token(stack awscdk.Stack, id string) string {
	return *awscdk.NewCfnParameter(stack, &id, nil).ValueAsString()
}

// Print writes how many resources of each type the stack has, one on a line.
func Print(stack awscdk.Stack, types ...string) {
	template := Template(stack)
	for _, name := range types {
		fmt.Println(len(*template.FindResources(&name, nil)), name)
	}
}

// featureFlags reads the context of the cdk.json beside go.mod.
func featureFlags() *map[string]any {
	text, err := os.ReadFile(filepath.Join(Root(), "cdk.json"))
	if err != nil {
		panic(fmt.Errorf("read the feature flags: %w", err))
	}
	var file struct {
		Context map[string]any `json:"context"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		panic(fmt.Errorf("read the feature flags in cdk.json: %w", err))
	}
	return &file.Context
}

// Root is the folder of the module's go.mod, above the test's own.
func Root() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			panic("no go.mod above the test's folder")
		}
		dir = parent
	}
}

// Template synthesizes the stack for fine-grained assertions.
func Template(stack awscdk.Stack) assertions.Template {
	return assertions.Template_FromStack(stack, nil)
}

var assetHash = regexp.MustCompile(`[0-9a-f]{64}`)

// Golden compares the stack's template with testdata/<name>.golden.json, or
// writes that file under -update. Asset hashes are replaced, because a compiler
// release changes them and says nothing about the construct.
func Golden(t *testing.T, stack awscdk.Stack, name string) {
	t.Helper()
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(Template(stack).ToJSON()); err != nil {
		t.Fatalf("encode the template: %v", err)
	}
	got := assetHash.ReplaceAllString(text.String(), "<asset hash>")

	path := filepath.Join("testdata", name+".golden.json")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with: go test . -update", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("the template differs from %s (- want, + got); when it should, run: go test . -update\n%s", path, diff)
	}
}

// Panic runs f and returns the error it panics with as an E. The test fails
// when f returns or panics with anything else.
func Panic[E error](t *testing.T, f func()) (caught E) {
	t.Helper()
	defer func() {
		t.Helper()
		recovered := recover()
		err, ok := recovered.(error)
		if !ok {
			t.Fatalf("panicked with %v (%T), want an error", recovered, recovered)
		}
		if !errors.As(err, &caught) {
			t.Fatalf("panicked with %v (%T), want a %T", err, err, caught)
		}
	}()
	f()
	return caught
}

// Unchanged fails the test when f writes to anything reachable from props:
// fields, elements up to a slice's capacity, map entries and what plain pointers
// point to.
func Unchanged[P any](t *testing.T, props P, f func(P)) {
	t.Helper()
	before := render(reflect.ValueOf(props))
	f(props)
	if diff := cmp.Diff(before, render(reflect.ValueOf(props))); diff != "" {
		t.Errorf("the caller's props were written to (- before, + after):\n%s", diff)
	}
}

// render writes a value as text. Interfaces stand for jsii objects here: their
// identity counts, not their content.
func render(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Struct:
		fields := make([]string, v.NumField())
		for i := range fields {
			fields[i] = v.Type().Field(i).Name + ": " + render(v.Field(i))
		}
		return v.Type().String() + "{" + strings.Join(fields, ", ") + "}"
	case reflect.Slice:
		if v.IsNil() {
			return "nil"
		}
		whole := v.Slice(0, v.Cap())
		elements := make([]string, whole.Len())
		for i := range elements {
			elements[i] = render(whole.Index(i))
		}
		return fmt.Sprintf("len %d [%s]", v.Len(), strings.Join(elements, ", "))
	case reflect.Map:
		var entries []string
		for key, value := range v.Seq2() {
			entries = append(entries, render(key)+": "+render(value))
		}
		slices.Sort(entries)
		return "map[" + strings.Join(entries, ", ") + "]"
	case reflect.Pointer:
		if v.IsNil() {
			return "nil"
		}
		return "&" + render(v.Elem())
	case reflect.Func:
		return fmt.Sprintf("func %x", v.Pointer())
	case reflect.Interface:
		if v.IsNil() {
			return "nil"
		}
		if v.Elem().Kind() == reflect.Pointer {
			return fmt.Sprintf("%s %x", v.Elem().Type(), v.Elem().Pointer())
		}
		return render(v.Elem())
	default:
		return fmt.Sprintf("%v", v)
	}
}
