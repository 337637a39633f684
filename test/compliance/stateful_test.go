package compliance

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/stacks"
)

var moveState = flag.Bool("move-state", false, "accept new logical ids of stateful resources, which deletes what the old ones hold")

// stateful are the types whose resources hold something that a replacement
// would lose: data, messages, keys, or an address that others know.
var stateful = []string{
	"AWS::Backup::BackupVault",
	"AWS::CloudFront::Distribution",
	"AWS::EC2::VPC",
	"AWS::ElastiCache::ReplicationGroup",
	"AWS::ElasticLoadBalancingV2::LoadBalancer",
	"AWS::KMS::Key",
	"AWS::Logs::LogGroup",
	"AWS::RDS::DBInstance",
	"AWS::S3::Bucket",
	"AWS::SNS::Topic",
	"AWS::SQS::Queue",
	"AWS::SecretsManager::Secret",
}

// TestStatefulResourcesKeepTheirLogicalIDs compares with the ids that are
// deployed. CloudFormation takes a resource with a new id for another one: it
// makes the new one, empty, and deletes the old one.
func TestStatefulResourcesKeepTheirLogicalIDs(t *testing.T) {
	path := filepath.Join("testdata", "stateful.txt")
	now := map[string]bool{}
	for _, settings := range []stacks.Settings{stacks.Dev(), stacks.Prod()} {
		templates, _ := synth(t, settings, func(awscdk.App) {})
		for _, template := range templates {
			for id, resource := range template.Resources {
				if slices.Contains(stateful, resource.Type) {
					now[fmt.Sprintf("%s %s %s", template.Stack, id, resource.Type)] = true
				}
			}
		}
	}
	list := strings.Join(slices.Sorted(maps.Keys(now)), "\n") + "\n"
	if *moveState {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(list), 0o644))
		return
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if !now[line] {
			t.Errorf("%s is gone: a deployment would delete it. Give the construct its old id back (OverrideLogicalId), "+
				"or migrate what it holds and then accept: go test ./test/compliance -run Stateful -move-state", line)
		}
		delete(now, line)
	}
	for _, line := range slices.Sorted(maps.Keys(now)) {
		t.Errorf("%s is new: pin it with go test ./test/compliance -run Stateful -move-state", line)
	}
}
