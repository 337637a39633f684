// Package settings is what the construct that deploys the rotation and the
// function that runs it agree on: the function's environment variables.
package settings

import (
	"fmt"
	"strings"
)

// Settings say what is rotated.
type Settings struct {
	Distribution string   // id of the CloudFront distribution that sends the header
	EdgeURL      string   // where a request through the distribution starts: https://d111111abcdef8.cloudfront.net
	Rules        []string // ARNs of the listener rules that require the header
	Refusal      string   // text in the body of the load balancer's answer to a request without it
}

const (
	envDistribution = "ROTATE_DISTRIBUTION"
	envEdgeURL      = "ROTATE_EDGE_URL"
	envRules        = "ROTATE_RULES" // comma-separated; an ARN has no comma
	envRefusal      = "ROTATE_REFUSAL"
)

// Environment is the settings as environment variables.
func (s Settings) Environment() map[string]string {
	return map[string]string{
		envDistribution: s.Distribution,
		envEdgeURL:      s.EdgeURL,
		envRules:        strings.Join(s.Rules, ","),
		envRefusal:      s.Refusal,
	}
}

// Load reads the settings with lookup, such as os.LookupEnv. The error names a
// variable that is not set.
func Load(lookup func(string) (string, bool)) (Settings, error) {
	var s Settings
	var rules string
	for _, each := range []struct {
		name  string
		value *string
	}{
		{envDistribution, &s.Distribution},
		{envEdgeURL, &s.EdgeURL},
		{envRules, &rules},
		{envRefusal, &s.Refusal},
	} {
		value, ok := lookup(each.name)
		if !ok || value == "" {
			return Settings{}, fmt.Errorf("the environment variable %s is not set", each.name)
		}
		*each.value = value
	}
	s.Rules = strings.Split(rules, ",")
	return s, nil
}
