package stacks_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/stacks"
)

func ofType(t template, kind string) []map[string]any {
	var list []map[string]any
	for _, resource := range t.Resources {
		if resource.Type == kind {
			list = append(list, resource.Properties)
		}
	}
	return list
}

func TestWebAndEdge(t *testing.T) {
	texts, _ := build(t, stacks.Dev())
	web, edge := parse(t, texts["loadbearing-dev-web"]), parse(t, texts["loadbearing-dev-edge"])

	sizes := map[string][3]any{}
	for _, group := range ofType(web, "AWS::AutoScaling::AutoScalingGroup") {
		sizes[group["AutoScalingGroupName"].(string)] = [3]any{group["MinSize"], group["DesiredCapacity"], group["MaxSize"]}
	}
	require.Equal(t, map[string][3]any{
		"loadbearing-dev-web-blue":    {"2", "2", "4"},
		"loadbearing-dev-web-green":   {"0", "0", "4"},
		"loadbearing-dev-worker-blue": {"1", "1", "3"},
	}, sizes)

	// What each role may do to what, beyond its own boot.
	for _, policy := range ofType(web, "AWS::IAM::Policy") {
		for _, each := range policy["PolicyDocument"].(map[string]any)["Statement"].([]any) {
			statement := each.(map[string]any)
			text, err := json.Marshal(statement)
			require.NoError(t, err)
			require.NotContains(t, string(text), "MasterSecret", "the owner's secret is for migrations")
		}
	}

	require.Equal(t, "CLOUDFRONT", ofType(edge, "AWS::WAFv2::WebACL")[0]["Scope"])
	require.Empty(t, ofType(edge, "AWS::WAFv2::WebACLAssociation"))
	distribution := ofType(edge, "AWS::CloudFront::Distribution")[0]["DistributionConfig"].(map[string]any)
	require.Contains(t, distribution, "WebACLId")
	events := distribution["CacheBehaviors"].([]any)[0].(map[string]any)
	require.Equal(t, "/v1/events", events["PathPattern"], "first, or another behavior ends the stream")
	require.Equal(t, false, events["Compress"])
	policy, err := json.Marshal(ofType(edge, "AWS::CloudFront::ResponseHeadersPolicy"))
	require.NoError(t, err)
	require.Regexp(t, `connect-src 'self' https://.*Media`, string(policy), "pages upload to the bucket")
	data := parse(t, texts["loadbearing-dev-data"])
	require.Equal(t, []any{"https://*.cloudfront.net"}, mediaCORS(data)["AllowedOrigins"])
	require.Equal(t, []any{"PUT"}, mediaCORS(data)["AllowedMethods"])
	require.Equal(t, 3, strings.Count(texts["loadbearing-dev-web"], `"s3:ListBucket"`), "an object that is gone is 404 to both web fleets and the workers")
	var outputs struct{ Outputs map[string]any }
	require.NoError(t, json.Unmarshal([]byte(texts["loadbearing-dev-edge"]), &outputs))
	for _, name := range []string{"EdgeURL", "AlbDNS", "StaticBucket"} {
		require.Contains(t, outputs.Outputs, name)
	}
}

// Both colors scale alike; what would fill an idle one is on the other only.
func TestWebFleetsScaleOnConnections(t *testing.T) {
	for name, settings := range map[string]stacks.Settings{"dev": stacks.Dev(), "prod": stacks.Prod()} {
		t.Run(name, func(t *testing.T) {
			texts, environment := build(t, settings)
			web := parse(t, texts["loadbearing-"+name+"-web"])
			targets := map[string]float64{}
			for _, policy := range ofType(web, "AWS::AutoScaling::ScalingPolicy") {
				configuration := policy["TargetTrackingConfiguration"].(map[string]any)
				metric := configuration["CustomizedMetricSpecification"]
				if metric == nil {
					metric = configuration["PredefinedMetricSpecification"]
				}
				what := "backlog"
				for _, key := range []string{"MetricName", "PredefinedMetricType"} {
					if value, found := metric.(map[string]any)[key]; found {
						what = value.(string)
					}
				}
				group := policy["AutoScalingGroupName"].(map[string]any)["Ref"].(string)
				targets[strings.SplitN(group, "Group", 2)[0]+" "+what] = configuration["TargetValue"].(float64)
			}
			require.Equal(t, map[string]float64{
				"WebBlue ActiveConnections": float64(settings.Web.ConnectionsPerInstance), "WebBlue ASGAverageCPUUtilization": 60,
				"WebGreen ActiveConnections": float64(settings.Web.ConnectionsPerInstance), "WebGreen ASGAverageCPUUtilization": 60,
				"WorkerBlue backlog": float64(settings.Worker.BacklogPerInstance),
			}, targets)
			require.Positive(t, settings.Web.ConnectionsPerInstance)
			require.Len(t, environment.Web.Blue.Schedule, len(settings.Web.Schedule))
			require.Empty(t, environment.Web.Green.Schedule)
			pools := ofType(web, "AWS::AutoScaling::WarmPool")
			if settings.Web.Warm == 0 {
				require.Empty(t, pools)
				return
			}
			require.Len(t, pools, 2)
			for _, pool := range pools {
				require.InDelta(t, settings.Web.Warm, pool["MinSize"], 0)
				require.InDelta(t, settings.Web.Desired, pool["MaxGroupPreparedCapacity"], 0)
			}
		})
	}
}

// mediaCORS is the only CORS rule of the data stack's buckets.
func mediaCORS(data template) map[string]any {
	for _, bucket := range ofType(data, "AWS::S3::Bucket") {
		if configuration, found := bucket["CorsConfiguration"].(map[string]any); found {
			return configuration["CorsRules"].([]any)[0].(map[string]any)
		}
	}
	return nil
}

func TestEdgeInAnotherRegionProtectsTheLoadBalancer(t *testing.T) {
	settings := stacks.Prod()
	settings.Region = "eu-west-1"
	texts, environment := build(t, settings)
	edge := parse(t, texts["loadbearing-prod-edge"])
	require.Equal(t, "REGIONAL", ofType(edge, "AWS::WAFv2::WebACL")[0]["Scope"])
	require.Len(t, ofType(edge, "AWS::WAFv2::WebACLAssociation"), 1)
	require.NotContains(t, ofType(edge, "AWS::CloudFront::Distribution")[0]["DistributionConfig"], "WebACLId")
	require.Nil(t, environment.Edge.Edge.ErrorAlarm, "CloudFront's metrics are in us-east-1")
	redacted, err := json.Marshal(ofType(edge, "AWS::WAFv2::LoggingConfiguration")[0]["RedactedFields"])
	require.NoError(t, err)
	require.Contains(t, string(redacted), "x-origin-verify", "there the web ACL sees the header that CloudFront adds")

	// What prod keeps that dev does not.
	web := parse(t, texts["loadbearing-prod-web"])
	require.Len(t, ofType(web, "AWS::S3::Bucket"), 1)
	require.Contains(t, ofType(web, "AWS::ElasticLoadBalancingV2::LoadBalancer")[0]["LoadBalancerAttributes"],
		map[string]any{"Key": "deletion_protection.enabled", "Value": "true"})
}

func TestDomainIsServedWithACertificateOfUSEast1(t *testing.T) {
	settings := stacks.Dev()
	settings.Domain = "media.example.com"
	texts, _ := build(t, settings)
	edge := parse(t, texts["loadbearing-dev-edge"])
	require.Equal(t, "media.example.com", ofType(edge, "AWS::CertificateManager::Certificate")[0]["DomainName"])
	require.Equal(t, []any{"media.example.com"},
		ofType(edge, "AWS::CloudFront::Distribution")[0]["DistributionConfig"].(map[string]any)["Aliases"])
	require.Equal(t, []any{"https://media.example.com"}, mediaCORS(parse(t, texts["loadbearing-dev-data"]))["AllowedOrigins"])

	settings.Region = "eu-west-1"
	app := newApp(t, nil)
	require.PanicsWithError(t, `loadbearing-dev-edge/Edge (edge): Certificate is "in eu-west-1"; allowed: a certificate of us-east-1`,
		func() { stacks.Build(app, local(t, settings)) })
}
