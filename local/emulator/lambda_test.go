package emulator_test

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/emulator"
)

// A function that hangs is a child of the emulator that does not notice by
// itself that the emulator has gone.
const hangingFunction = `#!/bin/sh
echo $$ "$LOADBEARING_CA_FILE" > "$PID_FILE.tmp" && mv "$PID_FILE.tmp" "$PID_FILE"
exec sleep 600
`

func TestFunctionsEndWithTheEmulator(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		end  func(*testing.T, *emulator.Emulator)
	}{
		{"stopped", func(t *testing.T, e *emulator.Emulator) { e.Stop(t.Context()) }},
		{"crashed", func(t *testing.T, e *emulator.Emulator) {
			require.NoError(t, syscall.Kill(e.Process().PID, syscall.SIGKILL))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			e, err := start(t.Context(), dir)
			require.NoError(t, err)
			t.Cleanup(func() { e.Stop(t.Context()) })
			pid := startHangingFunction(t, e, filepath.Join(dir, "pid"))
			require.NoError(t, syscall.Kill(pid, 0), "the function runs")
			test.end(t, e)
			require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, 5*time.Second, 10*time.Millisecond,
				"the function goes on without its emulator")
		})
	}
}

// startHangingFunction creates a function, calls it, and returns its process.
func startHangingFunction(t *testing.T, e *emulator.Emulator, pidFile string) int {
	t.Helper()
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate}
	header.SetMode(0o755)
	w, err := z.CreateHeader(header)
	require.NoError(t, err)
	_, err = w.Write([]byte(hangingFunction))
	require.NoError(t, err)
	require.NoError(t, z.Close())

	api := lambda.NewFromConfig(e.AWSConfig())
	_, err = api.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("hanging"), Runtime: lambdatypes.RuntimeProvidedal2023, Handler: aws.String("bootstrap"),
		Role: aws.String("arn:aws:iam::000000000000:role/r"), Timeout: aws.Int32(60), Code: &lambdatypes.FunctionCode{ZipFile: archive.Bytes()},
		Environment: &lambdatypes.Environment{Variables: map[string]string{"PID_FILE": pidFile}},
	})
	require.NoError(t, err)
	_, err = api.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("hanging"), InvocationType: lambdatypes.InvocationTypeEvent})
	require.NoError(t, err)
	var line []byte
	require.Eventually(t, func() bool { line, err = os.ReadFile(pidFile); return err == nil }, 20*time.Second, 20*time.Millisecond)
	fields := strings.Fields(string(line))
	require.Equal(t, []string{"/from/options"}, fields[1:], "functions inherit Options.Env")
	pid, err := strconv.Atoi(fields[0])
	require.NoError(t, err)
	return pid
}
