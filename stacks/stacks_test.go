package stacks_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/jsii-runtime-go"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/stacks"
)

func TestMain(m *testing.M) {
	code := m.Run()
	jsii.Close() // removes its temporary files
	os.Exit(code)
}

// newApp is an app with the feature flags of cdk.json and further context.
func newApp(t *testing.T, context map[string]any) awscdk.App {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "cdk.json"))
	require.NoError(t, err)
	var file struct {
		Context map[string]any `json:"context"`
	}
	require.NoError(t, json.Unmarshal(text, &file))
	maps.Copy(file.Context, context)
	return awscdk.NewApp(&awscdk.AppProps{
		AnalyticsReporting: new(false),
		Outdir:             new(t.TempDir()),
		Context:            &file.Context,
	})
}

// local points the settings at programs that stand in for the service's.
func local(t *testing.T, settings stacks.Settings) stacks.Settings {
	t.Helper()
	root, err := filepath.Abs("testdata")
	require.NoError(t, err)
	settings.Root, settings.Artifact = root, "app"
	settings.BuildFolder = filepath.Join(root, "..", "..", ".build", "test", "functions")
	return settings
}

// template is a synthesized CloudFormation template.
type template struct {
	Resources map[string]struct {
		Type           string
		DeletionPolicy string
		Properties     map[string]any
	}
}

// build synthesizes an environment and returns its templates as text, by stack.
func build(t *testing.T, settings stacks.Settings) (map[string]string, *stacks.Environment) {
	t.Helper()
	app := newApp(t, nil)
	environment := stacks.Build(app, local(t, settings))
	texts := map[string]string{}
	for _, stack := range *app.Synth(nil).Stacks() {
		text, err := os.ReadFile(*stack.TemplateFullPath())
		require.NoError(t, err)
		texts[*stack.StackName()] = string(text)
	}
	return texts, environment
}

func parse(t *testing.T, text string) template {
	t.Helper()
	var parsed template
	require.NoError(t, json.Unmarshal([]byte(text), &parsed))
	return parsed
}

// TestEnvironments synthesizes each environment once and looks at it from every
// side: a synthesis of all stacks is what takes time here.
func TestEnvironments(t *testing.T) {
	for _, settings := range []stacks.Settings{stacks.Dev(), stacks.Prod()} {
		t.Run(settings.Env, func(t *testing.T) {
			texts, environment := build(t, settings)
			templates := map[string]template{}
			for name, text := range texts {
				templates[name] = parse(t, text)
			}
			for _, name := range []string{"network", "data", "messaging", "web", "edge", "release", "observability"} {
				require.Contains(t, templates, settings.StackName(name))
			}
			t.Run("every setting has a parameter", func(t *testing.T) { everySettingIsPublished(t, settings, templates) })
			t.Run("no custom resources", func(t *testing.T) { noCustomResources(t, templates) })
			t.Run("every alarm is sent", func(t *testing.T) { everyAlarmIsSent(t, templates) })
			t.Run("data is kept in prod and leaves with dev", func(t *testing.T) {
				dataIsKept(t, settings, templates[settings.StackName("data")])
			})
			t.Run("only clients reach the data stores", func(t *testing.T) {
				onlyClientsReach(t, assertions.Template_FromStack(environment.Data.Stack, nil))
			})
			t.Run("messaging", func(t *testing.T) {
				messaging(t, settings, assertions.Template_FromStack(environment.Messaging.Stack, nil))
			})
			t.Run("the dashboard holds nothing back", func(t *testing.T) {
				dashboard := texts[settings.StackName("observability")]
				require.Contains(t, dashboard, "Fn::GetStackOutput")
				require.NotContains(t, dashboard, "Fn::ImportValue", "an import would keep what it names from being removed")
			})
			if settings.Env == "dev" {
				t.Run("a second run gives the same templates", func(t *testing.T) {
					again, _ := build(t, settings)
					require.Equal(t, texts, again)
				})
			}
		})
	}
}

func everySettingIsPublished(t *testing.T, settings stacks.Settings, templates map[string]template) {
	parameters := map[any]bool{}
	for _, one := range templates {
		for _, resource := range one.Resources {
			if name, ok := resource.Properties["Name"].(string); ok && resource.Type == "AWS::SSM::Parameter" {
				parameters[name] = true
			}
		}
	}
	for _, setting := range contract.Settings() {
		require.Contains(t, parameters, setting.Parameter(settings.Env))
	}
}

func noCustomResources(t *testing.T, templates map[string]template) {
	for _, one := range templates {
		for id, resource := range one.Resources {
			require.NotRegexp(t, `^(Custom::|AWS::CloudFormation::CustomResource)`, resource.Type, id)
			if resource.Type == "AWS::Lambda::Function" {
				require.Equal(t, "provided.al2023", resource.Properties["Runtime"], "%s is a function that is not ours", id)
			}
		}
	}
}

func everyAlarmIsSent(t *testing.T, templates map[string]template) {
	alarms := 0
	for _, one := range templates {
		for id, resource := range one.Resources {
			if resource.Type == "AWS::CloudWatch::Alarm" {
				alarms++
				require.Len(t, resource.Properties["AlarmActions"], 1, id)
			}
		}
	}
	require.Greater(t, alarms, 20)
}

func dataIsKept(t *testing.T, settings stacks.Settings, data template) {
	database, bucket := "Delete", "Delete"
	if settings.DeletionProtection {
		database, bucket = "Snapshot", "Retain"
	}
	for id, resource := range data.Resources {
		switch resource.Type {
		case "AWS::RDS::DBInstance":
			if resource.Properties["SourceDBInstanceIdentifier"] == nil {
				require.Equal(t, database, resource.DeletionPolicy, id)
				require.Equal(t, settings.DeletionProtection, resource.Properties["DeletionProtection"], id)
			}
		case "AWS::S3::Bucket":
			require.Equal(t, bucket, resource.DeletionPolicy, id)
			released := strings.HasPrefix(id, "Artifacts") // a version is never lost by mistake
			require.Equal(t, released || settings.DeletionProtection, resource.Properties["VersioningConfiguration"] != nil, id)
			if resource.Properties["LoggingConfiguration"] != nil {
				require.True(t, settings.DeletionProtection, "dev leaves no logs behind")
			}
		}
	}
}

func onlyClientsReach(t *testing.T, data assertions.Template) {
	for _, port := range []int{5432, 6379} {
		data.HasResourceProperties(new("AWS::EC2::SecurityGroupIngress"), map[string]any{
			"FromPort": port,
			"SourceSecurityGroupId": map[string]any{
				"Fn::ImportValue": assertions.Match_StringLikeRegexp(new("Clients")),
			},
		})
	}
	// The clients, twice, and the function that rotates the owner's password.
	data.ResourceCountIs(new("AWS::EC2::SecurityGroupIngress"), new(3.0))
}

func messaging(t *testing.T, settings stacks.Settings, messaging assertions.Template) {
	messaging.HasResourceProperties(new("AWS::Lambda::Function"), map[string]any{
		"FunctionName":  contract.MigrateFunction(settings.Env),
		"Architectures": []any{"arm64"},
		"Environment": map[string]any{"Variables": map[string]any{
			"LOADBEARING_ENV":                   settings.Env,
			"LOADBEARING_DATABASE_PRIMARY":      assertions.Match_AnyValue(),
			"LOADBEARING_DATABASE_NAME":         "loadbearing",
			"LOADBEARING_DATABASE_ADMIN_SECRET": assertions.Match_AnyValue(),
			"LOADBEARING_DATABASE_APP_SECRET":   assertions.Match_AnyValue(),
			"LOADBEARING_MEDIA_BUCKET":          assertions.Match_Absent(),
		}},
	})
	all := make([]any, len(app.EventTypes()))
	for i, kind := range app.EventTypes() {
		all[i] = kind
	}
	for _, consumers := range []struct {
		types []any
		count float64
	}{
		{[]any{app.EventVideoUploaded}, 1},                       // probe
		{[]any{app.EventVideoUploaded, app.EventVideoProbed}, 2}, // index, meter
		{all, 1}, // notify
	} {
		messaging.ResourcePropertiesCountIs(new("AWS::SNS::Subscription"), map[string]any{
			"FilterPolicy": map[string]any{contract.EventTypeAttribute: consumers.types},
		}, &consumers.count)
	}
	messaging.ResourceCountIs(new("AWS::Lambda::EventSourceMapping"), new(4.0))
	messaging.HasOutput(new("MigrateFunction"), map[string]any{})

	reads := func(bucket, keys string) int {
		statement := map[string]any{"Action": "s3:GetObject", "Resource": map[string]any{"Fn::Join": []any{"", []any{
			map[string]any{"Fn::ImportValue": assertions.Match_StringLikeRegexp(&bucket)}, keys,
		}}}}
		return len(*messaging.FindResources(new("AWS::IAM::Policy"), map[string]any{"Properties": map[string]any{
			"PolicyDocument": map[string]any{"Statement": assertions.Match_ArrayWith(&[]any{assertions.Match_ObjectLike(&statement)})},
		}}))
	}
	require.Equal(t, 1, reads("GetAttMedia", "/*"), "only probe reads media")
	require.Equal(t, 1, reads("GetAttArtifacts", "/releases/*"), "only migrate reads what is released")
}

func TestParse(t *testing.T) {
	for name, tt := range map[string]struct {
		context map[string]any
		want    func(*stacks.Settings)
	}{
		"defaults": {nil, func(*stacks.Settings) {}},
		"x86_64": {map[string]any{"architecture": "x86_64"}, func(s *stacks.Settings) {
			s.Architecture = stacks.X8664
			s.Artifact = filepath.Join(".build", "app", "linux-amd64", "app")
		}},
		"region and artifact": {map[string]any{"region": "eu-west-1", "artifact": "/tmp/app"}, func(s *stacks.Settings) {
			s.Region, s.Artifact = "eu-west-1", "/tmp/app"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			want := stacks.Dev()
			tt.want(&want)
			got, err := stacks.Parse(newApp(t, tt.context))
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
	prod, err := stacks.Parse(newApp(t, map[string]any{"env": "prod"}))
	require.NoError(t, err)
	require.Equal(t, stacks.Prod(), prod)
}

func TestParseNamesEveryWrongKey(t *testing.T) {
	_, err := stacks.Parse(newApp(t, map[string]any{
		"env": "staging", "architecture": "riscv", "region": "Ireland", "artifact": 7,
	}))
	require.EqualError(t, err, `settings of the CDK app: context "env" is "staging"; allowed: dev, prod
context "architecture" is "riscv"; allowed: arm64, x86_64
context "region" is "Ireland"; allowed: the code of an AWS Region, such as eu-west-1
context "artifact" is 7, not text`)
}

func TestSizes(t *testing.T) {
	dev, prod := stacks.Dev(), stacks.Prod()
	require.Equal(t, 2, dev.Web.Desired)
	require.Equal(t, 1, dev.Worker.Desired)
	require.Equal(t, prod.Network.Zones, prod.Network.NATGateways)
	require.True(t, prod.DeletionProtection)
	for _, size := range []stacks.FleetSettings{dev.Web, dev.Worker, prod.Web, prod.Worker} {
		require.Len(t, size.InstanceTypes, 2, "every fleet has a size on both architectures")
	}
	require.Equal(t, "loadbearing-prod-data", prod.StackName("data"))
}
