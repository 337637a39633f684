package settings_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/httpapi"
	"github.com/loadbearing/loadbearing/app/settings"
	"github.com/loadbearing/loadbearing/internal/contract"
)

const (
	appARN  = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:app"
	authARN = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:auth"
)

// store answers one parameter in a page.
type store struct {
	names, values []string
	calls         int
	err           error
}

func (s *store) GetParametersByPath(_ context.Context, in *ssm.GetParametersByPathInput, _ ...func(*ssm.Options)) (*ssm.GetParametersByPathOutput, error) {
	s.calls++
	if s.err != nil {
		return nil, s.err
	}
	i := 0
	if in.NextToken != nil {
		_, _ = fmt.Sscan(*in.NextToken, &i)
	}
	out := &ssm.GetParametersByPathOutput{Parameters: []types.Parameter{{Name: aws.String(*in.Path + s.names[i]), Value: aws.String(s.values[i])}}}
	if i+1 < len(s.names) {
		out.NextToken = aws.String(fmt.Sprint(i + 1))
	}
	return out, nil
}

type vault map[string]string

func (v vault) GetSecretValue(_ context.Context, in *secretsmanager.GetSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	text, ok := v[*in.SecretId]
	if !ok {
		return nil, errors.New("no such secret")
	}
	return &secretsmanager.GetSecretValueOutput{SecretString: &text}, nil
}

func source(env map[string]string, parameters *store) settings.Source {
	return settings.Source{
		Lookup:     func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		Parameters: parameters,
		Secrets:    vault{appARN: `{"username":"svc","password":"hunter2","engine":"postgres"}`, authARN: strings.Repeat("k", 32)},
	}
}

func TestTheEnvironmentOverridesParameters(t *testing.T) {
	t.Parallel()
	parameters := &store{
		names:  []string{"database/primary", "database/name", "database/app-secret", "database/replicas", "auth/secret", "web/blue/artifact"},
		values: []string{"db:5432", "media", appARN, "r1:5432, r2:5433", authARN, "{}"},
	}
	s, err := settings.Load(t.Context(), source(map[string]string{
		contract.EnvEnvironment:     "dev",
		contract.DatabaseName.Env(): "override",
	}, parameters), contract.DatabasePrimary, contract.DatabaseName, contract.DatabaseAppSecret, contract.DatabaseReplicas, contract.AuthSecret)
	require.NoError(t, err)
	require.Equal(t, "db:5432", s.Database.Primary)
	require.Equal(t, "override", s.Database.Name)
	require.Equal(t, []string{"r1:5432", "r2:5433"}, s.Database.Replicas)
	require.Equal(t, "svc", s.Database.App.Username)
	require.Equal(t, "hunter2", s.Database.App.Password.Reveal())
	require.Equal(t, ":8080", s.Process.HTTPAddr)
	require.Equal(t, ":9090", s.Process.MetricsAddr)
	require.Equal(t, time.Second, s.Process.DrainDelay)
	require.Equal(t, slog.LevelInfo, s.Process.LogLevel)
	require.True(t, s.Database.TLS.InsecureSkipVerify, "encrypted, not verified, without a CA file")
	require.Equal(t, len(parameters.names), parameters.calls)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	limits := func(env map[string]string) (settings.Limits, error) {
		env[contract.EnvEnvironment] = "dev"
		s, err := settings.Load(t.Context(), source(env, nil))
		return s.Limits, err
	}
	got, err := limits(map[string]string{})
	require.NoError(t, err)
	require.Equal(t, settings.Limits{
		TenantQuota: app.DefaultQuota, ImageBytes: httpapi.MaxImageBytes, VideoBytes: httpapi.MaxVideoBytes, Uploads: 8,
		StreamsPerUser: httpapi.DefaultStreamsPerUser, Streams: httpapi.DefaultStreams, Heartbeat: httpapi.DefaultHeartbeat,
	}, got, "what the packages have as their defaults")

	got, err = limits(map[string]string{
		settings.EnvTenantQuota: "1", settings.EnvImageBytes: "2", settings.EnvVideoBytes: "3", settings.EnvUploads: "4",
		settings.EnvStreamsPerUser: "5", settings.EnvStreams: "6", settings.EnvHeartbeat: "7s",
	})
	require.NoError(t, err)
	require.Equal(t, settings.Limits{1, 2, 3, 4, 5, 6, 7 * time.Second}, got)

	wrong := map[string]string{
		settings.EnvTenantQuota: "0", settings.EnvImageBytes: "33554433", settings.EnvVideoBytes: "5GB", settings.EnvUploads: "-1",
		settings.EnvStreamsPerUser: "0", settings.EnvStreams: "1e3", settings.EnvHeartbeat: "1m",
	}
	_, err = limits(wrong)
	e, ok := errors.AsType[*settings.Error](err)
	require.True(t, ok)
	require.Len(t, e.Problems, 7)
}

func TestSecretsAreMasked(t *testing.T) {
	t.Parallel()
	s, err := settings.Load(t.Context(), source(map[string]string{
		contract.EnvEnvironment: "dev", contract.DatabaseAppSecret.Env(): appARN, contract.AuthSecret.Env(): authARN,
	}, nil), contract.DatabaseAppSecret, contract.AuthSecret)
	require.NoError(t, err, "the parameters are not read when none is needed")
	encoded, err := json.Marshal(s)
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "all", s, "one", s.Auth.Secret)
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s.Auth.Secret, s.Auth.Secret), string(encoded), log.String()} {
		require.NotContains(t, text, "hunter2")
		require.NotContains(t, text, "kkkk")
		require.Contains(t, text, "***")
	}
}

func TestParametersThatCannotBeReadAreSaidOnce(t *testing.T) {
	t.Parallel()
	_, err := settings.Load(t.Context(), source(map[string]string{contract.EnvEnvironment: "dev"}, &store{err: errors.New("access denied")}),
		contract.DatabasePrimary, contract.MediaBucket)
	require.Equal(t, 1, strings.Count(err.Error(), "access denied"))
	e, ok := errors.AsType[*settings.Error](err)
	require.True(t, ok)
	require.Len(t, e.Problems, 2)
	require.Equal(t, "/loadbearing/dev/media/bucket", e.Problems[1].Parameter)
}
