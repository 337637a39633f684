package fleet

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/template"

	"github.com/loadbearing/loadbearing/internal/contract"
)

//go:embed boot.sh.tmpl
var bootTemplate string

// shebang is what CDK puts before the commands of Linux user data.
const shebang = "#!/bin/bash\n"

// machine is what user data knows of its stack.
type machine struct {
	Region, Stack  string
	Resource       string // logical id of the group
	TargetGroupARN string
	LogGroup       string // name
}

// Where an instance keeps its program's log, and what cloud-init writes of the boot.
const (
	logFile  = "/var/log/loadbearing/app.log"
	bootFile = "/var/log/cloud-init-output.log"
)

// userData is the script that boots an instance. Validate measures it with a
// machine of which nothing is known.
func (p Props) userData(m machine) string {
	values := struct {
		Props
		machine
		LimitSeconds, DrainSeconds, Port  int
		Balanced, Warm                    bool
		EnvFile, EnvFileBegin, EnvFileEnd string
		Lines                             []string
		InstanceIDKey, CAFileKey          string
		Artifact, PathReady               string
		DrainHook, BootHook               string
		LogFile, BootFile, Agent          string
	}{
		Props: p, machine: m,
		LimitSeconds:  int(p.BootTimeout.Seconds()),
		DrainSeconds:  int(p.DrainTimeout.Seconds()),
		Port:          contract.AppPort,
		Balanced:      p.TargetGroup != nil,
		Warm:          p.warm(),
		EnvFile:       contract.EnvFile,
		EnvFileBegin:  contract.EnvFileBegin,
		EnvFileEnd:    contract.EnvFileEnd,
		Lines:         p.lines(),
		InstanceIDKey: contract.EnvInstanceID,
		CAFileKey:     contract.EnvCAFile,
		Artifact:      contract.ArtifactParameter(p.Environment, p.Fleet, p.Color),
		PathReady:     contract.PathReady,
		DrainHook:     DrainHook,
		BootHook:      BootHook,
		LogFile:       logFile,
		BootFile:      bootFile,
	}
	if !p.NoAgent {
		values.Agent = p.agent(m.LogGroup)
	}
	var text strings.Builder
	text.WriteString(shebang)
	if err := template.Must(template.New("boot.sh").Parse(bootTemplate)).Execute(&text, values); err != nil {
		panic(fmt.Errorf("render the user data of %s: %w", p.GroupName, err))
	}
	return text.String()
}

// agent is the configuration of the CloudWatch agent. Its metrics have the group as
// a dimension and not the instance: what they cost does not grow with the fleet, and
// Maximum finds the fullest one.
func (p Props) agent(logGroup string) string {
	type object = map[string]any
	logs := func(file, stream string) object {
		return object{"file_path": file, "log_group_name": logGroup, "log_stream_name": "{instance_id}/" + stream}
	}
	group := object{contract.DimensionGroup: p.GroupName}
	text, err := json.Marshal(object{
		"agent": object{"metrics_collection_interval": 60, "omit_hostname": true},
		"logs": object{
			"force_flush_interval": 5,
			"logs_collected": object{"files": object{"collect_list": []any{
				logs(logFile, "app"), logs(bootFile, "boot"),
			}}},
		},
		"metrics": object{
			"namespace": agentNamespace,
			// A volume's metric also has its path and file system as dimensions,
			// which an alarm would have to know.
			"aggregation_dimensions": [][]string{{contract.DimensionGroup}},
			"metrics_collected": object{
				"mem": object{"measurement": []string{metricMemory}, "append_dimensions": group},
				"disk": object{
					"measurement": []string{metricDisk}, "append_dimensions": group,
					"resources": []string{"/"}, "drop_device": true,
				},
			},
		},
	})
	if err != nil {
		panic(fmt.Errorf("encode the agent's configuration for %s: %w", p.GroupName, err))
	}
	return string(text)
}

// digest is the SHA-256 of a file, in lower-case hex.
func digest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hash the artifact: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("hash the artifact %s: %w", path, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
