package instances

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// launch is what a new instance of a group runs.
type launch struct {
	templateVersion string
	environment     map[string]string // of the environment file in the user data
	artifact        contract.Artifact
	path            string // of the verified artifact
}

// errForeign says that a launch template is not one of this service's.
var errForeign = errors.New("its user data writes no " + contract.EnvFile)

// templateOf returns which launch template a group uses, from either of the
// two places where it may stand, or nil.
func templateOf(g types.AutoScalingGroup) *types.LaunchTemplateSpecification {
	if g.LaunchTemplate != nil {
		return g.LaunchTemplate
	}
	if p := g.MixedInstancesPolicy; p != nil && p.LaunchTemplate != nil {
		return p.LaunchTemplate.LaunchTemplateSpecification
	}
	return nil
}

// resolve reads the launch template and the artifact parameter, as an instance
// does when it boots, and has the artifact downloaded.
func (m *Manager) resolve(ctx context.Context, spec *types.LaunchTemplateSpecification) (launch, error) {
	var l launch
	if spec == nil {
		return l, errors.New("the group has no launch template")
	}
	version, err := m.templateVersion(ctx, spec)
	if err != nil {
		return l, err
	}
	name := templateName(spec)
	l.templateVersion = strconv.FormatInt(aws.ToInt64(version.VersionNumber), 10)
	data, err := base64.StdEncoding.DecodeString(aws.ToString(version.LaunchTemplateData.UserData))
	if err != nil {
		return l, fmt.Errorf("launch template %s, version %s: user data is not base64: %w", name, l.templateVersion, err)
	}
	if l.environment, err = environmentFile(string(data)); err != nil {
		return l, fmt.Errorf("launch template %s, version %s: %w", name, l.templateVersion, err)
	}
	if l.artifact, err = m.artifact(ctx, l.environment); err != nil {
		return l, err
	}
	l.path, err = m.download(ctx, l.artifact)
	return l, err
}

func templateName(spec *types.LaunchTemplateSpecification) string {
	return cmp.Or(aws.ToString(spec.LaunchTemplateName), aws.ToString(spec.LaunchTemplateId))
}

// templateVersion reads the version of a launch template that a group uses.
func (m *Manager) templateVersion(ctx context.Context, spec *types.LaunchTemplateSpecification) (ec2types.LaunchTemplateVersion, error) {
	var none ec2types.LaunchTemplateVersion
	in := &ec2.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateId: spec.LaunchTemplateId,
		// EC2 knows "$Latest" and "$Default" as versions; a group without one means the latter.
		Versions: []string{cmp.Or(aws.ToString(spec.Version), "$Default")},
	}
	if aws.ToString(spec.LaunchTemplateId) == "" {
		in.LaunchTemplateId, in.LaunchTemplateName = nil, spec.LaunchTemplateName
	}
	out, err := m.o.API.Templates.DescribeLaunchTemplateVersions(ctx, in)
	if err != nil {
		return none, fmt.Errorf("read launch template %s: %w", templateName(spec), err)
	}
	if len(out.LaunchTemplateVersions) != 1 || out.LaunchTemplateVersions[0].LaunchTemplateData == nil {
		return none, fmt.Errorf("read launch template %s: version %s has no data", templateName(spec), in.Versions[0])
	}
	return out.LaunchTemplateVersions[0], nil
}

// environmentFile returns the variables that user data writes to
// contract.EnvFile, in the form of systemd.exec(5): blank lines and comments
// are skipped, a pair of quotes around a value is taken off.
func environmentFile(userData string) (map[string]string, error) {
	variables := map[string]string{}
	inside, found := false, false
	for line := range strings.Lines(userData) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case !inside:
			inside = line == contract.EnvFileBegin
			found = found || inside
		case line == contract.EnvFileEnd:
			inside = false
		case strings.TrimSpace(line) == "" || strings.HasPrefix(strings.TrimSpace(line), "#"):
		default:
			name, value, ok := strings.Cut(line, "=")
			if !ok || name == "" {
				return nil, fmt.Errorf("%s: %q is not KEY=value", contract.EnvFile, line)
			}
			if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
				value = value[1 : n-1]
			}
			variables[strings.TrimSpace(name)] = value
		}
	}
	if !found {
		return nil, errForeign
	}
	if inside {
		return nil, fmt.Errorf("%s: no line %s ends it", contract.EnvFile, contract.EnvFileEnd)
	}
	var missing []string
	for _, name := range []string{contract.EnvEnvironment, contract.EnvFleet, contract.EnvColor, contract.EnvCommand} {
		if variables[name] == "" {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return nil, fmt.Errorf("%s has no %s", contract.EnvFile, strings.Join(missing, ", "))
	}
	return variables, nil
}

var sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (m *Manager) artifact(ctx context.Context, env map[string]string) (contract.Artifact, error) {
	var a contract.Artifact
	name := contract.ArtifactParameter(env[contract.EnvEnvironment], env[contract.EnvFleet], env[contract.EnvColor])
	out, err := m.o.API.Parameters.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	if err != nil {
		return a, fmt.Errorf("read parameter %s: %w", name, err)
	}
	if out.Parameter == nil {
		return a, fmt.Errorf("parameter %s has no value", name)
	}
	value := aws.ToString(out.Parameter.Value)
	if err := json.Unmarshal([]byte(value), &a); err != nil || a.Bucket == "" || a.Key == "" || !sha256Pattern.MatchString(a.SHA256) {
		return a, fmt.Errorf("parameter %s holds no artifact {bucket, key, sha256}: %q", name, value)
	}
	return a, nil
}

// download returns the path of an artifact whose bytes have the SHA-256 that
// its parameter names, and fetches it when it is not there yet.
func (m *Manager) download(ctx context.Context, a contract.Artifact) (string, error) {
	m.downloads.Lock()
	defer m.downloads.Unlock()
	dir := filepath.Join(m.o.RunDir, "artifacts")
	path := filepath.Join(dir, a.SHA256)
	switch sum, err := sumFile(path); {
	case err == nil && sum == a.SHA256:
		return path, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read the cached artifact: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	source := "s3://" + a.Bucket + "/" + a.Key
	out, err := m.o.API.Objects.GetObject(ctx, &s3.GetObjectInput{Bucket: &a.Bucket, Key: &a.Key})
	if err != nil {
		return "", fmt.Errorf("download artifact %s: %w", source, err)
	}
	defer out.Body.Close()
	next, err := os.CreateTemp(dir, ".download-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(next.Name()) }()
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(next, hash), out.Body)
	// Closed before it is run: a program open for writing is "text file busy".
	if err := errors.Join(err, next.Chmod(0o755), next.Close()); err != nil {
		return "", fmt.Errorf("download artifact %s: %w", source, err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != a.SHA256 {
		return "", fmt.Errorf("artifact %s refused: its SHA-256 is %s, its parameter says %s; deploy again to publish the pair anew", source, got, a.SHA256)
	}
	return path, os.Rename(next.Name(), path)
}

func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
