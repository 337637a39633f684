package stacks

import (
	"maps"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// Values are settings a stack publishes for the programs.
type Values map[contract.Setting]string

// publish writes each value to its SSM parameter, where programs on instances
// read it at start.
func (v Values) publish(scope constructs.Construct, settings Settings) {
	parameters := constructs.NewConstruct(scope, new("Parameters"))
	for _, setting := range contract.Settings() {
		value, ok := v[setting]
		if !ok {
			continue
		}
		awsssm.NewStringParameter(parameters, new(setting.Env()), &awsssm.StringParameterProps{
			ParameterName: new(setting.Parameter(settings.Env)),
			StringValue:   &value,
		})
	}
}

// environment is the environment of a function that needs the given settings.
// A setting that none of the values has is left out, and the program says at its
// start that it is missing.
func environment(settings Settings, values []Values, needs ...contract.Setting) map[string]string {
	all := Values{}
	for _, some := range values {
		maps.Copy(all, some)
	}
	env := map[string]string{contract.EnvEnvironment: settings.Env}
	for _, need := range needs {
		if value, ok := all[need]; ok {
			env[need.Env()] = value
		}
	}
	return env
}
