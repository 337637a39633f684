package fleet_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/fleet"
)

// machine is a folder that the boot script takes for the file system of an
// instance, with programs in place of those that reach AWS or the system. Each
// writes how it was called to calls.
type machine struct {
	dir    string
	script string
}

const artifactKey = "artifacts/the program" // with a space, which S3 allows

func newMachine(t *testing.T, script string) machine {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the script is for Linux: its sha256sum and install are GNU's")
	}
	m := machine{dir: t.TempDir()}
	for _, folder := range []string{"bin", "etc/systemd/system", "opt/aws/bin", "var/log", "run"} {
		require.NoError(t, os.MkdirAll(filepath.Join(m.dir, folder), 0o755))
	}
	for _, root := range []string{"/etc/", "/opt/", "/var/log/", "/run/"} {
		script = strings.ReplaceAll(script, root, m.dir+root)
	}
	require.NotRegexp(t, `[^\w/](/etc|/opt|/run|/var/log)/`, strings.ReplaceAll(script, m.dir, "machine"), "the script would write on this machine")
	m.script = script
	sum := sha256.Sum256([]byte(program))
	m.stub(t, "bin/curl", `
case "${*: -1}" in
  */api/token) echo a-token ;;
  */instance-id) echo i-0123456789abcdef0 ;;
  */target-lifecycle-state) echo "${STATE:-InService}" ;;
  */bundle.pem) while (($#)); do [[ $1 == --output ]] && echo roots > "$2"; shift; done ;;
  */readyz) exit "${READY:-0}" ;;
  *) exit 9 ;;
esac`)
	m.stub(t, "bin/aws", `
case "$1 $2" in
  "ssm get-parameter") echo "${PARAMETER:-}" ;;
  "s3 cp") printf '%s' "$CONTENT" > "$5" ;;
  "elbv2 describe-target-health") echo "$HEALTH" ;;
  "autoscaling complete-lifecycle-action") ;;
  *) exit 9 ;;
esac`)
	m.stub(t, "bin/systemctl", "")
	m.stub(t, "bin/journalctl", "")
	m.stub(t, "bin/dnf", fmt.Sprintf(`
[[ -n ${NO_AGENT:-} ]] && exit 1
/bin/sleep 0.3
mkdir -p %[1]s && printf '#!/bin/bash\necho "agent-ctl $*" >> %[2]s/calls\n' > %[1]s/amazon-cloudwatch-agent-ctl
chmod +x %[1]s/amazon-cloudwatch-agent-ctl`, filepath.Join(m.dir, "opt/aws/amazon-cloudwatch-agent/bin"), m.dir))
	m.stub(t, "opt/aws/bin/cfn-signal", "")
	m.stub(t, "bin/sleep", "exec /bin/sleep 0.05")
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, "parameter"), fmt.Appendf(nil,
		`{"bucket":"assets","key":%q,"sha256":%q}`, artifactKey, hex.EncodeToString(sum[:])), 0o644))
	return m
}

func (m machine) stub(t *testing.T, path, body string) {
	t.Helper()
	text := fmt.Sprintf("#!/bin/bash\necho \"%s $*\" >> %s/calls\n%s\n", filepath.Base(path), m.dir, body)
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, path), []byte(text), 0o755))
}

func (m machine) read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, path))
	require.NoError(t, err)
	return string(text)
}

// boot runs the script and returns what it printed and its exit status.
func (m machine) boot(t *testing.T, env ...string) (string, int) {
	t.Helper()
	bash := exec.CommandContext(t.Context(), "bash")
	bash.Stdin = strings.NewReader(m.script)
	bash.Env = append([]string{
		"PATH=" + filepath.Join(m.dir, "bin") + ":" + os.Getenv("PATH"),
		"PARAMETER=" + m.read(t, "parameter"),
		"CONTENT=" + program,
		"HEALTH=healthy",
	}, env...)
	// A file, because with a pipe Run would wait for what the script leaves running.
	output, err := os.Create(filepath.Join(m.dir, "output"))
	require.NoError(t, err)
	defer output.Close()
	bash.Stdout, bash.Stderr = output, output
	if err := bash.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	return m.read(t, "output"), bash.ProcessState.ExitCode()
}

// bootScript is the user data of a fleet whose boot may take no time at all.
func bootScript(t *testing.T, behindBalancer bool, change ...func(*fleet.Props)) string {
	t.Helper()
	var text string
	if behindBalancer {
		stack, props := web(t)
		props.CABundleURL = "https://truststore.example.com/bundle.pem"
		for _, each := range change {
			each(&props)
		}
		fleet.New(stack, "Web", props)
		text = userData(t, stack)
	} else {
		stack, props := setup(t)
		fleet.New(stack, "Worker", props)
		text = userData(t, stack)
	}
	require.Contains(t, text, "readonly limit=300 ")
	return strings.Replace(text, "readonly limit=300 ", "readonly limit=1 ", 1)
}

func TestBoot(t *testing.T) {
	script := bootScript(t, true)
	signal := func(t *testing.T, m machine) string {
		t.Helper()
		var signals []string
		for line := range strings.Lines(m.read(t, "calls")) {
			if strings.HasPrefix(line, "cfn-signal ") {
				signals = append(signals, strings.TrimSpace(line))
			}
		}
		require.Len(t, signals, 1, "one signal, whatever happens")
		return signals[0]
	}

	t.Run("signals success once the target is healthy", func(t *testing.T) {
		m := newMachine(t, script)
		output, status := m.boot(t)
		require.Zero(t, status, output)
		require.Contains(t, output, "boot: serving after")
		require.Regexp(t, `^cfn-signal --exit-code 0 --region .* --stack Test --resource WebGroupASG\w+$`, signal(t, m))

		require.Equal(t, program, m.read(t, "opt/loadbearing/app"))
		info, err := os.Stat(filepath.Join(m.dir, "opt/loadbearing/app"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o755), info.Mode().Perm())

		env := m.read(t, "etc/loadbearing/app.env")
		require.True(t, strings.HasPrefix(env, "LOADBEARING_COLOR=blue\n"), env)
		require.Contains(t, env, "\nLOADBEARING_INSTANCE_ID=i-0123456789abcdef0\nAWS_REGION=")
		require.Contains(t, env, "\nLOADBEARING_CA_FILE="+m.dir+"/etc/loadbearing/ca.pem\n")
		require.Equal(t, "roots\n", m.read(t, "etc/loadbearing/ca.pem"))
		info, err = os.Stat(filepath.Join(m.dir, "etc/loadbearing/app.env"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

		require.Contains(t, m.read(t, "etc/systemd/system/loadbearing.service"), "ExecStart="+m.dir+"/opt/loadbearing/app serve\n")
		require.Contains(t, m.read(t, "etc/systemd/system/loadbearing-drain.service"), "/opt/loadbearing/drain i-0123456789abcdef0\n")
		syntax(t, m.read(t, "opt/loadbearing/drain"))
		require.Contains(t, m.read(t, "calls"), "aws s3 cp --only-show-errors s3://assets/"+artifactKey+" ")
		require.Contains(t, m.read(t, "calls"), "systemctl enable --now loadbearing.service loadbearing-drain.service\n")
	})

	for name, test := range map[string]struct {
		env  string
		says string
	}{
		"bytes that are not the artifact": {"CONTENT=another program", "is not the artifact with SHA-256"},
		"a parameter that is no artifact": {"PARAMETER=none", "holds no artifact: none"},
		"a target that stays unhealthy":   {"HEALTH=unhealthy", "target is 'unhealthy' after 1 s"},
	} {
		t.Run("signals failure for "+name, func(t *testing.T) {
			m := newMachine(t, script)
			output, status := m.boot(t, test.env)
			require.Equal(t, 1, status, output)
			require.Contains(t, output, test.says)
			require.Contains(t, signal(t, m), "--exit-code 1 ")
			if !strings.HasPrefix(test.env, "HEALTH") {
				require.NoFileExists(t, filepath.Join(m.dir, "opt/loadbearing/app"))
				require.NotContains(t, m.read(t, "calls"), "systemctl")
			}
		})
	}

	t.Run("a signal nobody waits for does not fail the boot", func(t *testing.T) {
		m := newMachine(t, script)
		m.stub(t, "opt/aws/bin/cfn-signal", "exit 1")
		output, status := m.boot(t)
		require.Zero(t, status, output)
	})
}

func TestBootWithoutTargetGroup(t *testing.T) {
	script := bootScript(t, false)
	m := newMachine(t, script)
	output, status := m.boot(t)
	require.Zero(t, status, output)

	m = newMachine(t, script)
	output, status = m.boot(t, "READY=22")
	require.Equal(t, 1, status)
	require.Contains(t, output, "not ready after 1 s")
}

func TestDrainCompletesTheHookAfterTheProgramStopped(t *testing.T) {
	m := newMachine(t, bootScript(t, true))
	_, status := m.boot(t)
	require.Zero(t, status)
	require.NoError(t, os.Remove(filepath.Join(m.dir, "calls")))
	// In service at first, unreachable once, then to be terminated.
	m.stub(t, "bin/curl", fmt.Sprintf(`
[[ ${*: -1} == */api/token ]] && { echo a-token; exit; }
n=$(cat %[1]s/polls 2>/dev/null || echo 0); echo $((n + 1)) > %[1]s/polls
case $n in 0) echo InService ;; 1) exit 28 ;; *) echo Terminated ;; esac`, m.dir))
	m.stub(t, "bin/aws", "")

	drain := exec.CommandContext(t.Context(), filepath.Join(m.dir, "opt/loadbearing/drain"), "i-0123456789abcdef0")
	drain.Env = []string{"PATH=" + filepath.Join(m.dir, "bin") + ":" + os.Getenv("PATH")}
	output, err := drain.CombinedOutput()
	require.NoError(t, err, "%s", output)

	var calls []string
	for line := range strings.Lines(m.read(t, "calls")) {
		if program, _, _ := strings.Cut(line, " "); program == "aws" || program == "systemctl" {
			calls = append(calls, strings.TrimSpace(line))
		}
	}
	require.Equal(t, []string{
		"systemctl stop loadbearing.service",
		"aws autoscaling complete-lifecycle-action --lifecycle-action-result CONTINUE --lifecycle-hook-name drain" +
			" --auto-scaling-group-name loadbearing-dev-web-blue --instance-id i-0123456789abcdef0",
	}, calls)
}

func TestAgent(t *testing.T) {
	script := bootScript(t, true)
	t.Run("ships the program's log and the boot's", func(t *testing.T) {
		m := newMachine(t, script)
		output, status := m.boot(t)
		require.Zero(t, status, output)
		require.Contains(t, output, "boot: logs and metrics are shipped")
		require.Contains(t, m.read(t, "calls"), "dnf install --assumeyes --quiet amazon-cloudwatch-agent\n")
		require.Contains(t, m.read(t, "calls"), "agent-ctl -a fetch-config -m ec2 -s -c file:"+m.dir+"/etc/loadbearing/agent.json\n")

		unit := m.read(t, "etc/systemd/system/loadbearing.service")
		require.Contains(t, unit, "StandardOutput=append:"+m.dir+"/var/log/loadbearing/app.log\n")
		info, err := os.Stat(filepath.Join(m.dir, "var/log/loadbearing/app.log"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
		require.Contains(t, m.read(t, "etc/logrotate.d/loadbearing"), m.dir+"/var/log/loadbearing/app.log {\n")
		require.Contains(t, m.read(t, "calls"), "systemctl restart logrotate.timer\n")
	})
	t.Run("is not needed to serve", func(t *testing.T) {
		m := newMachine(t, script)
		output, status := m.boot(t, "NO_AGENT=1")
		require.Zero(t, status, output)
		require.Contains(t, output, "boot: logs and metrics are NOT shipped")
		require.Contains(t, output, "boot: serving after")
		require.NotContains(t, m.read(t, "calls"), "agent-ctl")
	})
	t.Run("ships a boot that failed", func(t *testing.T) {
		m := newMachine(t, script)
		output, status := m.boot(t, "CONTENT=another program")
		require.Equal(t, 1, status)
		require.Contains(t, output, "boot: logs and metrics are shipped")
		// The agent starts beside the boot: neither waits for the other.
		require.Contains(t, m.read(t, "calls"), "cfn-signal")
		require.Contains(t, m.read(t, "calls"), "agent-ctl")
	})
}

func TestAgentConfiguration(t *testing.T) {
	// A name in place of the log group's reference, which is no JSON before it is deployed.
	script := regexp.MustCompile(`{"Ref":"WebLogs\w+"}`).ReplaceAllString(bootScript(t, true), "the-group")
	_, rest, found := strings.Cut(script, "<<'AGENT'\n")
	require.True(t, found)
	text, _, _ := strings.Cut(rest, "\nAGENT\n")
	group := `{"AutoScalingGroupName": "loadbearing-dev-web-blue"}`
	require.JSONEq(t, `{
		"agent": {"metrics_collection_interval": 60, "omit_hostname": true},
		"logs": {"force_flush_interval": 5, "logs_collected": {"files": {"collect_list": [
			{"file_path": "/var/log/loadbearing/app.log", "log_group_name": "the-group", "log_stream_name": "{instance_id}/app"},
			{"file_path": "/var/log/cloud-init-output.log", "log_group_name": "the-group", "log_stream_name": "{instance_id}/boot"}
		]}}},
		"metrics": {
			"namespace": "CWAgent",
			"aggregation_dimensions": [["AutoScalingGroupName"]],
			"metrics_collected": {
				"mem": {"measurement": ["mem_used_percent"], "append_dimensions": `+group+`},
				"disk": {"measurement": ["disk_used_percent"], "append_dimensions": `+group+`, "resources": ["/"], "drop_device": true}
			}
		}
	}`, text)
}

func warmScript(t *testing.T) string {
	t.Helper()
	return bootScript(t, true, func(p *fleet.Props) { p.WarmPool.ReuseOnScaleIn = true })
}

func TestBootIntoTheWarmPool(t *testing.T) {
	m := newMachine(t, warmScript(t))
	output, status := m.boot(t, "STATE=Warmed:Stopped")
	require.Zero(t, status, output)
	require.Contains(t, output, "boot: warm after")
	calls := m.read(t, "calls")
	require.Equal(t, program, m.read(t, "opt/loadbearing/app"))
	require.NotContains(t, calls, "cfn-signal", "it serves nobody yet")
	require.NotContains(t, calls, "systemctl enable --now")
	require.NotContains(t, calls, "loadbearing.service")
	shipped, completed := strings.Index(calls, "agent-ctl"), strings.Index(calls, "--lifecycle-hook-name boot")
	require.Positive(t, shipped)
	require.Greater(t, completed, shipped, "the pool stops the instance at once")
}

func TestBootBesideTheWarmPool(t *testing.T) {
	m := newMachine(t, warmScript(t))
	output, status := m.boot(t)
	require.Zero(t, status, output)
	calls := m.read(t, "calls")
	require.Contains(t, calls, "systemctl enable --now loadbearing-drain.service\n")
	require.Contains(t, calls, "cfn-signal --exit-code 0 ")
}

func TestLifeInAWarmPool(t *testing.T) {
	m := newMachine(t, warmScript(t))
	_, status := m.boot(t, "STATE=Warmed:Stopped")
	require.Zero(t, status)
	require.NoError(t, os.Remove(filepath.Join(m.dir, "calls")))
	// Warm, then serves (and is asked twice), returns, serves again, is terminated.
	m.stub(t, "bin/curl", fmt.Sprintf(`
case "${*: -1}" in */api/token) echo a-token; exit ;; */readyz) exit 0 ;; esac
n=$(cat %[1]s/polls 2>/dev/null || echo 0); echo $((n + 1)) > %[1]s/polls
states=(Warmed:Stopped InService InService Warmed:Stopped Warmed:Stopped InService Terminated)
echo "${states[n]}"`, m.dir))
	next := sha256.Sum256([]byte("the next program"))
	m.stub(t, "bin/aws", fmt.Sprintf(`
case "$1 $2" in
  "ssm get-parameter") echo '{"bucket":"assets","key":"next","sha256":"%x"}' ;;
  "s3 cp") printf 'the next program' > "$5" ;;
esac`, next))

	drain := exec.CommandContext(t.Context(), filepath.Join(m.dir, "opt/loadbearing/drain"), "i-0123456789abcdef0")
	drain.Env = []string{"PATH=" + filepath.Join(m.dir, "bin") + ":" + os.Getenv("PATH")}
	output, err := drain.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Equal(t, "the next program", m.read(t, "opt/loadbearing/app"), "what is released now, not what it booted with")

	hook := regexp.MustCompile(`--lifecycle-hook-name (\w+)`)
	var events []string
	for line := range strings.Lines(m.read(t, "calls")) {
		if found := hook.FindStringSubmatch(line); found != nil {
			events = append(events, "complete "+found[1])
		} else if strings.HasPrefix(line, "systemctl ") {
			events = append(events, strings.TrimSpace(line))
		}
	}
	start, stop := "systemctl start loadbearing.service", "systemctl stop loadbearing.service"
	require.Equal(t, []string{
		start, "complete boot", stop, "complete drain", start, "complete boot", stop, "complete drain",
	}, events)
	require.NoFileExists(t, filepath.Join(m.dir, "run/loadbearing-serves"))
}
