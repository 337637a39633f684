package assembly_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/assembly"
)

const app = "testdata/app"

func TestTypes(t *testing.T) {
	t.Parallel()
	types, err := assembly.Types(app)
	require.NoError(t, err)
	require.Equal(t, []string{
		"AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard", "AWS::EC2::EIP", "AWS::EC2::NatGateway", "AWS::EC2::Route",
		"AWS::EC2::RouteTable", "AWS::EC2::SecurityGroup", "AWS::EC2::Subnet", "AWS::EC2::VPC", "AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::SecretsManager::RotationSchedule",
	}, types)
}

func TestFilterRemovesWhatCannotExistWithout(t *testing.T) {
	t.Parallel()
	dst := t.TempDir()
	removed, err := assembly.Filter(app, dst, is("AWS::EC2::EIP"))
	require.NoError(t, err)
	require.Empty(t, cmp.Diff([]assembly.Removed{
		{Stack: "app-network", LogicalID: "Eip", Path: "app-network/Vpc/Eip", Type: "AWS::EC2::EIP", Reason: "type not supported"},
		{Stack: "app-network", LogicalID: "Nat", Path: "app-network/Vpc/Nat", Type: "AWS::EC2::NatGateway", Reason: "refers to Eip"},
		{Stack: "app-network", LogicalID: "Route", Path: "Route", Type: "AWS::EC2::Route", Reason: "refers to Nat"},
		{Stack: "service", LogicalID: "Alarm", Path: "Alarm", Type: "AWS::CloudWatch::Alarm", Reason: "imports app-network:Nat from stack app-network"},
		{Stack: "service", LogicalID: "Dashboard", Path: "Dashboard", Type: "AWS::CloudWatch::Dashboard", Reason: "refers to Alarm"},
		{Stack: "service", LogicalID: "Rotation", Path: "Rotation", Type: "AWS::SecretsManager::RotationSchedule", Reason: "imports app-network:Nat from stack app-network"},
	}, removed))

	network := read(t, dst, "app-network.template.json")
	require.ElementsMatch(t, []string{"Vpc", "Subnet", "Table"}, keys(network["Resources"]))
	require.ElementsMatch(t, []string{"VpcExport"}, keys(network["Outputs"]))
	resources := network["Resources"].(map[string]any)
	require.Equal(t, []any{"Vpc"}, resources["Subnet"].(map[string]any)["DependsOn"])
	require.NotContains(t, resources["Table"], "DependsOn")

	service := read(t, dst, "app-service.template.json")
	require.ElementsMatch(t, []string{"Bucket", "Group", "Policy"}, keys(service["Resources"]))
	require.ElementsMatch(t, []string{"BucketName"}, keys(service["Outputs"]))
	require.NotContains(t, service["Resources"].(map[string]any)["Policy"], "DependsOn")
	require.NotContains(t, service, "Transform", "the type that needs it is gone")
	data, err := os.ReadFile(filepath.Join(dst, "app-service.template.json"))
	require.NoError(t, err)
	require.Contains(t, string(data), `"<&>"`, "text stays as CDK wrote it")
}

// The key of a template in the asset manifest, the object it is uploaded to
// and the address the deployment reads are one: the hash of its content.
func TestFilterPublishesTheChangedTemplate(t *testing.T) {
	t.Parallel()
	dst := t.TempDir()
	_, err := assembly.Filter(app, dst, is("AWS::EC2::EIP"))
	require.NoError(t, err)
	manifest := read(t, dst, "manifest.json")["artifacts"].(map[string]any)
	for _, stack := range []string{"app-network", "app-service"} {
		data, err := os.ReadFile(filepath.Join(dst, stack+".template.json"))
		require.NoError(t, err)
		sum := sha256.Sum256(data)
		hash := hex.EncodeToString(sum[:])
		files := read(t, dst, stack+".assets.json")["files"].(map[string]any)
		require.Contains(t, files, hash)
		destination := files[hash].(map[string]any)["destinations"].(map[string]any)["current_account-us-east-1"].(map[string]any)
		require.Equal(t, hash+".json", destination["objectKey"])
		properties := manifest[stack].(map[string]any)["properties"].(map[string]any)
		require.Equal(t, "s3://assets/"+hash+".json", properties["stackTemplateAssetObjectUrl"])
	}
	files := read(t, dst, "app-service.assets.json")["files"].(map[string]any)
	require.Len(t, files, 2)
	require.Contains(t, files, "c0de", "other assets stay")
}

func TestFilterWithoutAnythingToRemoveCopies(t *testing.T) {
	t.Parallel()
	dst := filepath.Join(t.TempDir(), "new")
	removed, err := assembly.Filter(app, dst, is())
	require.NoError(t, err)
	require.Empty(t, removed)
	require.NoError(t, filepath.WalkDir(app, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(app, path)
		require.NoError(t, err)
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(dst, rel))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), rel)
		return nil
	}))
}

func TestFilterRefuses(t *testing.T) {
	t.Parallel()
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o644))
	_, err := assembly.Filter(app, full, is())
	require.ErrorContains(t, err, "is not empty")
	_, err = assembly.Filter(t.TempDir(), t.TempDir(), is())
	require.ErrorContains(t, err, "it is no cloud assembly")
}

func is(types ...string) func(string) bool {
	return func(resourceType string) bool {
		return slices.Contains(types, resourceType)
	}
}

func read(t *testing.T, dir, file string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, file))
	require.NoError(t, err)
	var content map[string]any
	require.NoError(t, json.Unmarshal(data, &content))
	return content
}

func keys(object any) []string {
	var names []string
	for name := range object.(map[string]any) {
		names = append(names, name)
	}
	return names
}
