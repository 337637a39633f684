package fleet_test

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
)

// module is the folder of a program in a module of its own.
func module(t *testing.T, code string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/service\n\ngo 1.24\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\n"+code), 0o600))
	return dir
}

func TestSourceIsBuiltForTheInstances(t *testing.T) {
	stack, props := setup(t)
	props.ArtifactPath, props.Source, props.BuildFolder = "", module(t, "func main() {}\n"), t.TempDir()
	fleet.New(stack, "Arm", props)
	props.Color, props.InstanceType = "green", "c7i.large"
	fleet.New(stack, "Intel", props)

	template, err := json.Marshal(cdktest.Template(stack).ToJSON())
	require.NoError(t, err)
	for platform, want := range map[string]elf.Machine{"linux-arm64": elf.EM_AARCH64, "linux-amd64": elf.EM_X86_64} {
		built, err := filepath.Glob(filepath.Join(props.BuildFolder, "*", platform, "*"))
		require.NoError(t, err)
		require.Len(t, built, 1)
		file, err := elf.Open(built[0])
		require.NoError(t, err)
		require.Equal(t, want, file.Machine)
		require.Nil(t, file.Section(".interp"), "the program is not static")
		require.NoError(t, file.Close())
		program, err := os.ReadFile(built[0])
		require.NoError(t, err)
		sum := sha256.Sum256(program)
		require.Contains(t, string(template), hex.EncodeToString(sum[:]), "no parameter names the program for %s", platform)
	}
	require.Empty(t, *assertions.Annotations_FromStack(stack).FindWarning(new("*"), assertions.Match_StringLikeRegexp(new("cannot run it"))))
}

func TestABuildErrorHoldsWhatTheCompilerSaid(t *testing.T) {
	stack, props := setup(t)
	props.ArtifactPath, props.Source, props.BuildFolder = "", module(t, "func main() { undefined() }\n"), t.TempDir()
	err := cdktest.Panic[*fleet.BuildError](t, func() { fleet.New(stack, "Broken", props) })
	require.ErrorContains(t, err, "Test/Broken (fleet): build . for linux/arm64")
	require.ErrorContains(t, err, "undefined: undefined")
}

func TestValidateProgram(t *testing.T) {
	stack, props := setup(t)
	props.Source = "example.com/service/cmd"
	require.ErrorContains(t, props.Validate(), "allowed: none with Source, which is built")

	props.ArtifactPath = ""
	require.NoError(t, props.Validate())

	props.Source = "./no/such/folder"
	require.EqualError(t, props.Validate(), `fleet: Source is "./no/such/folder"; allowed: the folder or the import path of a main package`)

	props.Source = module(t, "func main() {}\n")
	props.InstanceType, props.ImageParameter = cdktest.Token(stack, "Type"), "/images/arm64"
	require.ErrorContains(t, props.Validate(), "allowed: none when InstanceType is a token, which does not tell the processor: ArtifactPath")

	props.Source = ""
	require.EqualError(t, props.Validate(), `fleet: ArtifactPath is ""; allowed: the path of a file that exists: the built program; or Source`)
}
