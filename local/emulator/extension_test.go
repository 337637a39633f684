package emulator_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/elasticache"
	elbv2 "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/wafv2"
	"github.com/stretchr/testify/require"
)

type (
	object = map[string]any
	list   = []any
)

func ref(id string) object               { return object{"Ref": id} }
func att(id, attribute string) object    { return object{"Fn::GetAtt": list{id, attribute}} }
func resource(t string, p object) object { return object{"Type": t, "Properties": p} }
func outputs(values map[string]any) object {
	o := object{}
	for name, value := range values {
		o[name] = object{"Value": value}
	}
	return o
}

// stack is a stack of one test, deleted with it.
type stack struct {
	t    *testing.T
	api  *cloudformation.Client
	name string
}

// deploy creates the stack of a test.
func deploy(t *testing.T, template object) *stack {
	t.Helper()
	s := &stack{t: t, api: cloudformation.NewFromConfig(shared.AWSConfig()), name: strings.ReplaceAll(t.Name(), "/", "-")}
	_, err := s.api.CreateStack(t.Context(), &cloudformation.CreateStackInput{
		StackName: &s.name, TemplateBody: body(t, template),
		Capabilities: []cfntypes.Capability{cfntypes.CapabilityCapabilityIam, cfntypes.CapabilityCapabilityAutoExpand},
	})
	require.NoError(t, err)
	s.settle(cfntypes.StackStatusCreateComplete)
	return s
}

func (s *stack) update(template object) {
	s.t.Helper()
	_, err := s.api.UpdateStack(s.t.Context(), &cloudformation.UpdateStackInput{
		StackName: &s.name, TemplateBody: body(s.t, template),
		Capabilities: []cfntypes.Capability{cfntypes.CapabilityCapabilityIam, cfntypes.CapabilityCapabilityAutoExpand},
	})
	// The SDK repeats a request whose answer was lost: the repetition finds nothing left to do.
	if err == nil || !strings.Contains(err.Error(), "No updates are to be performed") {
		require.NoError(s.t, err)
	}
	s.settle(cfntypes.StackStatusUpdateComplete)
}

func (s *stack) delete() {
	s.t.Helper()
	described, err := s.api.DescribeStacks(s.t.Context(), &cloudformation.DescribeStacksInput{StackName: &s.name})
	require.NoError(s.t, err)
	_, err = s.api.DeleteStack(s.t.Context(), &cloudformation.DeleteStackInput{StackName: &s.name})
	require.NoError(s.t, err)
	s.name = *described.Stacks[0].StackId // a deleted stack is only found by its id
	s.settle(cfntypes.StackStatusDeleteComplete)
}

// settle waits until the stack is at rest, which must be in the wanted state.
func (s *stack) settle(want cfntypes.StackStatus) {
	s.t.Helper()
	var status cfntypes.StackStatus
	require.Eventually(s.t, func() bool {
		out, err := s.api.DescribeStacks(s.t.Context(), &cloudformation.DescribeStacksInput{StackName: &s.name})
		require.NoError(s.t, err)
		status = out.Stacks[0].StackStatus
		return !strings.HasSuffix(string(status), "_IN_PROGRESS")
	}, 20*time.Second, 20*time.Millisecond)
	if status == want {
		return
	}
	events, err := s.api.DescribeStackEvents(s.t.Context(), &cloudformation.DescribeStackEventsInput{StackName: &s.name})
	require.NoError(s.t, err)
	var reasons []string
	for _, e := range events.StackEvents {
		if strings.HasSuffix(string(e.ResourceStatus), "_FAILED") {
			reasons = append(reasons, fmt.Sprintf("%s: %s", aws.ToString(e.LogicalResourceId), aws.ToString(e.ResourceStatusReason)))
		}
	}
	require.Equal(s.t, want, status, strings.Join(reasons, "\n"))
}

// output reads the outputs of the stack.
func (s *stack) outputs() map[string]string {
	s.t.Helper()
	out, err := s.api.DescribeStacks(s.t.Context(), &cloudformation.DescribeStacksInput{StackName: &s.name})
	require.NoError(s.t, err)
	values := map[string]string{}
	for _, o := range out.Stacks[0].Outputs {
		values[*o.OutputKey] = *o.OutputValue
	}
	return values
}

func body(t *testing.T, template object) *string {
	t.Helper()
	data, err := json.Marshal(template)
	require.NoError(t, err)
	return aws.String(string(data))
}

func TestNetworkResources(t *testing.T) {
	t.Parallel()
	api := ec2.NewFromConfig(shared.AWSConfig())
	template := func(port int, description string) object {
		return object{
			"Resources": object{
				"Vpc":    resource("AWS::EC2::VPC", object{"CidrBlock": "10.0.0.0/16"}),
				"Subnet": resource("AWS::EC2::Subnet", object{"VpcId": ref("Vpc"), "CidrBlock": "10.0.0.0/24"}),
				"Eip":    resource("AWS::EC2::EIP", object{"Domain": "vpc", "Tags": list{object{"Key": "Name", "Value": t.Name()}}}),
				"Nat":    resource("AWS::EC2::NatGateway", object{"AllocationId": att("Eip", "AllocationId"), "SubnetId": ref("Subnet")}),
				"Client": resource("AWS::EC2::SecurityGroup", object{"GroupDescription": "client", "VpcId": ref("Vpc")}),
				"Server": resource("AWS::EC2::SecurityGroup", object{"GroupDescription": "server", "VpcId": ref("Vpc")}),
				"In": resource("AWS::EC2::SecurityGroupIngress", object{
					"GroupId": att("Server", "GroupId"), "SourceSecurityGroupId": att("Client", "GroupId"),
					"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "Description": description,
				}),
				"Out": resource("AWS::EC2::SecurityGroupEgress", object{
					"GroupId": att("Client", "GroupId"), "DestinationSecurityGroupId": att("Server", "GroupId"),
					"IpProtocol": "tcp", "FromPort": port, "ToPort": port,
				}),
				"Flow": resource("AWS::EC2::FlowLog", object{
					"ResourceId": ref("Vpc"), "ResourceType": "VPC", "TrafficType": "REJECT", "LogDestinationType": "s3",
					"LogDestination": "arn:aws:s3:::logs",
				}),
			},
			"Outputs": outputs(map[string]any{
				"Ip": ref("Eip"), "Allocation": att("Eip", "AllocationId"), "Nat": ref("Nat"), "NatAtt": att("Nat", "NatGatewayId"),
				"Client": att("Client", "GroupId"), "Server": att("Server", "GroupId"), "Flow": ref("Flow"), "In": ref("In"),
			}),
		}
	}
	s := deploy(t, template(5432, "first"))
	first := s.outputs()
	require.Equal(t, first["Nat"], first["NatAtt"])

	addresses, err := api.DescribeAddresses(t.Context(), &ec2.DescribeAddressesInput{AllocationIds: []string{first["Allocation"]}})
	require.NoError(t, err)
	require.Equal(t, first["Ip"], *addresses.Addresses[0].PublicIp)
	require.NotEmpty(t, addresses.Addresses[0].Tags)

	gateways, err := api.DescribeNatGateways(t.Context(), &ec2.DescribeNatGatewaysInput{NatGatewayIds: []string{first["Nat"]}})
	require.NoError(t, err)
	require.Len(t, gateways.NatGateways, 1)

	flows, err := api.DescribeFlowLogs(t.Context(), &ec2.DescribeFlowLogsInput{FlowLogIds: []string{first["Flow"]}})
	require.NoError(t, err)
	require.Equal(t, "REJECT", string(flows.FlowLogs[0].TrafficType))

	rules := func(group string) (in, out []string) {
		groups, err := api.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{GroupIds: []string{group}})
		require.NoError(t, err)
		for _, p := range groups.SecurityGroups[0].IpPermissions {
			in = append(in, fmt.Sprintf("%d %s %s", *p.FromPort, *p.UserIdGroupPairs[0].GroupId, aws.ToString(p.UserIdGroupPairs[0].Description)))
		}
		for _, p := range groups.SecurityGroups[0].IpPermissionsEgress {
			out = append(out, fmt.Sprintf("%d %d", aws.ToInt32(p.FromPort), len(p.UserIdGroupPairs)))
		}
		return in, out
	}
	in, _ := rules(first["Server"])
	require.Equal(t, []string{"5432 " + first["Client"] + " first"}, in)
	_, out := rules(first["Client"])
	require.Equal(t, []string{"5432 1"}, out, "the allow-all rule of a new group goes")

	// A description changes in place, a port replaces the rule.
	s.update(template(5432, "second"))
	require.Equal(t, first["In"], s.outputs()["In"])
	in, _ = rules(first["Server"])
	require.Equal(t, []string{"5432 " + first["Client"] + " second"}, in)
	s.update(template(6379, "third"))
	require.NotEqual(t, first["In"], s.outputs()["In"])
	in, _ = rules(first["Server"])
	require.Equal(t, []string{"6379 " + first["Client"] + " third"}, in)
	require.Equal(t, first["Nat"], s.outputs()["Nat"])

	s.delete()
	addresses, err = api.DescribeAddresses(t.Context(), &ec2.DescribeAddressesInput{AllocationIds: []string{first["Allocation"]}})
	require.NoError(t, err)
	require.Empty(t, addresses.Addresses)
	gateways, err = api.DescribeNatGateways(t.Context(), &ec2.DescribeNatGatewaysInput{NatGatewayIds: []string{first["Nat"]}})
	require.NoError(t, err)
	require.Empty(t, gateways.NatGateways)
	flows, err = api.DescribeFlowLogs(t.Context(), &ec2.DescribeFlowLogsInput{FlowLogIds: []string{first["Flow"]}})
	require.NoError(t, err)
	require.Empty(t, flows.FlowLogs)
}

func TestWeightedForwardAndEdge(t *testing.T) {
	t.Parallel()
	api := elbv2.NewFromConfig(shared.AWSConfig())
	group := func() object {
		return resource("AWS::ElasticLoadBalancingV2::TargetGroup", object{"Port": 8080, "Protocol": "HTTP", "VpcId": ref("Vpc"), "TargetType": "instance"})
	}
	forward := func(blue, green int) list {
		return list{object{"Type": "forward", "ForwardConfig": object{
			"TargetGroups": list{
				object{"TargetGroupArn": ref("Blue"), "Weight": blue},
				object{"TargetGroupArn": ref("Green"), "Weight": green},
			},
			"TargetGroupStickinessConfig": object{"Enabled": true, "DurationSeconds": 600},
		}}}
	}
	template := func(priority, blue, green int) object {
		return object{
			"Resources": object{
				"Vpc":   resource("AWS::EC2::VPC", object{"CidrBlock": "10.0.0.0/16"}),
				"Alb":   resource("AWS::ElasticLoadBalancingV2::LoadBalancer", object{"Scheme": "internal"}),
				"Blue":  group(),
				"Green": group(),
				"Listener": resource("AWS::ElasticLoadBalancingV2::Listener", object{
					"LoadBalancerArn": ref("Alb"), "Port": 80, "Protocol": "HTTP", "DefaultActions": forward(blue, green),
				}),
				"Rule": resource("AWS::ElasticLoadBalancingV2::ListenerRule", object{
					"ListenerArn": ref("Listener"), "Priority": priority, "Actions": forward(100, 0),
					"Conditions": list{object{"Field": "path-pattern", "PathPatternConfig": object{"Values": list{"/v1/*"}}}},
				}),
				"Acl": resource("AWS::WAFv2::WebACL", object{
					"Scope": "REGIONAL", "DefaultAction": object{"Allow": object{}},
					"Rules": list{object{
						"Name": "login", "Priority": 1, "Action": object{"Count": object{}},
						"VisibilityConfig": object{"SampledRequestsEnabled": true, "CloudWatchMetricsEnabled": true, "MetricName": "login"},
						"Statement": object{"RateBasedStatement": object{"Limit": 100, "AggregateKeyType": "IP", "ScopeDownStatement": object{"ByteMatchStatement": object{
							"FieldToMatch": object{"UriPath": object{}}, "PositionalConstraint": "STARTS_WITH", "SearchString": "/v1/auth/",
							"TextTransformations": list{object{"Priority": 0, "Type": "NONE"}},
						}}}},
					}},
					"VisibilityConfig": object{"SampledRequestsEnabled": true, "CloudWatchMetricsEnabled": true, "MetricName": "m"},
				}),
				"Association": resource("AWS::WAFv2::WebACLAssociation", object{"ResourceArn": ref("Alb"), "WebACLArn": att("Acl", "Arn")}),
				"Logs":        resource("AWS::Logs::LogGroup", object{"LogGroupName": "aws-waf-logs-extension"}),
				"Logging": resource("AWS::WAFv2::LoggingConfiguration", object{
					"ResourceArn": att("Acl", "Arn"), "LogDestinationConfigs": list{att("Logs", "Arn")},
					"RedactedFields": list{object{"SingleHeader": object{"Name": "cookie"}}},
				}),
				"Origin": resource("AWS::CloudFront::VpcOrigin", object{"VpcOriginEndpointConfig": object{
					"Name": "origin", "Arn": ref("Alb"), "HTTPPort": 80, "OriginProtocolPolicy": "http-only", "OriginSSLProtocols": list{"TLSv1.2"},
				}}),
			},
			"Outputs": outputs(map[string]any{
				"Alb": ref("Alb"), "Listener": ref("Listener"), "Rule": ref("Rule"), "Blue": ref("Blue"), "Green": ref("Green"),
				"Acl": att("Acl", "Arn"), "Origin": att("Origin", "Id"),
			}),
		}
	}
	weights := func(actions []elbtypes.Action) string {
		require.Len(t, actions, 1)
		require.Nil(t, actions[0].TargetGroupArn)
		c := actions[0].ForwardConfig
		return fmt.Sprintf("%d/%d sticky %v %d", *c.TargetGroups[0].Weight, *c.TargetGroups[1].Weight,
			*c.TargetGroupStickinessConfig.Enabled, aws.ToInt32(c.TargetGroupStickinessConfig.DurationSeconds))
	}

	s := deploy(t, template(10, 90, 10))
	out := s.outputs()
	listener := func() elbtypes.Listener {
		o, err := api.DescribeListeners(t.Context(), &elbv2.DescribeListenersInput{ListenerArns: []string{out["Listener"]}})
		require.NoError(t, err)
		return o.Listeners[0]
	}
	rule := func() elbtypes.Rule {
		o, err := api.DescribeRules(t.Context(), &elbv2.DescribeRulesInput{RuleArns: []string{out["Rule"]}})
		require.NoError(t, err)
		return o.Rules[0]
	}
	require.Equal(t, "90/10 sticky true 600", weights(listener().DefaultActions))
	require.Equal(t, "100/0 sticky true 600", weights(rule().Actions))
	groups, err := api.DescribeTargetGroups(t.Context(), &elbv2.DescribeTargetGroupsInput{TargetGroupArns: []string{out["Green"]}})
	require.NoError(t, err)
	require.Equal(t, []string{out["Alb"]}, groups.TargetGroups[0].LoadBalancerArns)

	// A release controller moves the weights through the API.
	_, err = api.ModifyRule(t.Context(), &elbv2.ModifyRuleInput{RuleArn: aws.String(out["Rule"]), Actions: []elbtypes.Action{{
		Type: elbtypes.ActionTypeEnumForward, ForwardConfig: &elbtypes.ForwardActionConfig{
			TargetGroups: []elbtypes.TargetGroupTuple{
				{TargetGroupArn: aws.String(out["Blue"]), Weight: aws.Int32(95)}, {TargetGroupArn: aws.String(out["Green"]), Weight: aws.Int32(5)},
			},
			TargetGroupStickinessConfig: &elbtypes.TargetGroupStickinessConfig{Enabled: aws.Bool(true), DurationSeconds: aws.Int32(60)},
		},
	}}})
	require.NoError(t, err)
	require.Equal(t, "95/5 sticky true 60", weights(rule().Actions))

	// A deployment that does not touch the rule leaves them; one that touches the listener updates it.
	s.update(template(10, 50, 50))
	require.Equal(t, "50/50 sticky true 600", weights(listener().DefaultActions))
	require.Equal(t, "95/5 sticky true 60", weights(rule().Actions))

	// The short form reads back with a configuration too, as on AWS.
	short, err := api.CreateRule(t.Context(), &elbv2.CreateRuleInput{
		ListenerArn: aws.String(out["Listener"]), Priority: aws.Int32(20),
		Conditions: []elbtypes.RuleCondition{{Field: aws.String("path-pattern"), Values: []string{"/x"}}},
		Actions:    []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: aws.String(out["Blue"])}},
	})
	require.NoError(t, err)
	require.Equal(t, out["Blue"], *short.Rules[0].Actions[0].TargetGroupArn)
	require.Equal(t, int32(1), *short.Rules[0].Actions[0].ForwardConfig.TargetGroups[0].Weight)

	waf := wafv2.NewFromConfig(shared.AWSConfig())
	acl, err := waf.GetWebACLForResource(t.Context(), &wafv2.GetWebACLForResourceInput{ResourceArn: aws.String(out["Alb"])})
	require.NoError(t, err)
	require.Equal(t, out["Acl"], *acl.WebACL.ARN)
	require.Equal(t, "/v1/auth/", string(acl.WebACL.Rules[0].Statement.RateBasedStatement.ScopeDownStatement.ByteMatchStatement.SearchString))
	logging, err := waf.GetLoggingConfiguration(t.Context(), &wafv2.GetLoggingConfigurationInput{ResourceArn: aws.String(out["Acl"])})
	require.NoError(t, err)
	require.Len(t, logging.LoggingConfiguration.LogDestinationConfigs, 1)
	require.Equal(t, "cookie", *logging.LoggingConfiguration.RedactedFields[0].SingleHeader.Name)
	cf := cloudfront.NewFromConfig(shared.AWSConfig())
	origin, err := cf.GetVpcOrigin(t.Context(), &cloudfront.GetVpcOriginInput{Id: aws.String(out["Origin"])})
	require.NoError(t, err)
	require.Equal(t, out["Alb"], *origin.VpcOrigin.VpcOriginEndpointConfig.Arn)

	s.delete()
	_, err = waf.GetWebACLForResource(t.Context(), &wafv2.GetWebACLForResourceInput{ResourceArn: aws.String(out["Alb"])})
	require.Error(t, err)
	_, err = waf.GetLoggingConfiguration(t.Context(), &wafv2.GetLoggingConfigurationInput{ResourceArn: aws.String(out["Acl"])})
	require.Error(t, err)
	_, err = cf.GetVpcOrigin(t.Context(), &cloudfront.GetVpcOriginInput{Id: aws.String(out["Origin"])})
	require.Error(t, err)
}

func TestDatabaseAndCacheEndpoints(t *testing.T) {
	t.Parallel()
	template := func(retention int, description string) object {
		return object{
			"Transform": "AWS::SecretsManager-2020-07-23",
			"Resources": object{
				"Secret": resource("AWS::SecretsManager::Secret", object{"GenerateSecretString": object{
					"SecretStringTemplate": `{"username":"owner"}`, "GenerateStringKey": "password", "ExcludeCharacters": `"@/\`,
				}}),
				"Primary": object{"Type": "AWS::RDS::DBInstance", "DeletionPolicy": "Delete", "Properties": object{
					"Engine": "postgres", "EngineVersion": "17.4", "DBInstanceClass": "db.t4g.micro", "AllocatedStorage": "20", "DBName": "media",
					"MasterUsername": "owner", "Port": "5432", "BackupRetentionPeriod": retention, "StorageEncrypted": true,
					"MasterUserPassword": object{"Fn::Join": list{"", list{"{{resolve:secretsmanager:", ref("Secret"), ":SecretString:password::}}"}}},
				}},
				"Attachment": resource("AWS::SecretsManager::SecretTargetAttachment", object{
					"SecretId": ref("Secret"), "TargetId": ref("Primary"), "TargetType": "AWS::RDS::DBInstance",
				}),
				"Rotation": resource("AWS::SecretsManager::RotationSchedule", object{
					"SecretId": ref("Attachment"), "HostedRotationLambda": object{"RotationType": "PostgreSQLSingleUser"},
					"RotationRules": object{"ScheduleExpression": "rate(30 days)"},
				}),
				"Replica": object{"Type": "AWS::RDS::DBInstance", "DeletionPolicy": "Delete", "Properties": object{
					"DBInstanceClass": "db.t4g.small", "SourceDBInstanceIdentifier": att("Primary", "DBInstanceArn"), "Port": "5432",
				}},
				"Cache": resource("AWS::ElastiCache::ReplicationGroup", object{
					"ReplicationGroupDescription": description, "Engine": "valkey", "EngineVersion": "8.0", "CacheNodeType": "cache.t4g.micro",
					"NumCacheClusters": 2, "AutomaticFailoverEnabled": true, "MultiAZEnabled": true, "TransitEncryptionEnabled": true, "Port": 6379,
				}),
			},
			"Outputs": outputs(map[string]any{
				"Primary": ref("Primary"), "PrimaryHost": att("Primary", "Endpoint.Address"), "PrimaryPort": att("Primary", "Endpoint.Port"),
				"Replica": ref("Replica"), "ReplicaPort": att("Replica", "Endpoint.Port"), "Secret": ref("Secret"), "Cache": ref("Cache"),
				"CacheHost": att("Cache", "PrimaryEndPoint.Address"), "CachePort": att("Cache", "PrimaryEndPoint.Port"),
				"ReaderPort": att("Cache", "ReaderEndPoint.Port"),
			}),
		}
	}
	databases := rds.NewFromConfig(shared.AWSConfig())
	s := deploy(t, template(1, "first"))
	out := s.outputs()
	require.Equal(t, "127.0.0.1", out["PrimaryHost"])
	require.NotEqual(t, out["PrimaryPort"], out["ReplicaPort"])
	require.Equal(t, "127.0.0.1", out["CacheHost"])
	require.Equal(t, out["CachePort"], out["ReaderPort"])

	read := func(id string) (address string, master, name, source string, replicas []string, version string) {
		o, err := databases.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &id})
		require.NoError(t, err)
		i := o.DBInstances[0]
		return fmt.Sprintf("%s:%d", *i.Endpoint.Address, *i.Endpoint.Port), *i.MasterUsername, *i.DBName,
			aws.ToString(i.ReadReplicaSourceDBInstanceIdentifier), i.ReadReplicaDBInstanceIdentifiers, *i.EngineVersion
	}
	address, master, name, source, replicas, _ := read(out["Primary"])
	require.Equal(t, "127.0.0.1:"+out["PrimaryPort"], address)
	require.Empty(t, source)
	require.Equal(t, []string{out["Replica"]}, replicas)
	require.Equal(t, "owner media", master+" "+name)
	address, master, name, source, replicas, version := read(out["Replica"])
	require.Equal(t, "127.0.0.1:"+out["ReplicaPort"], address)
	require.Equal(t, out["Primary"], source)
	require.Empty(t, replicas)
	require.Equal(t, "owner media 17.4", master+" "+name+" "+version)

	secrets := secretsmanager.NewFromConfig(shared.AWSConfig())
	value, err := secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(out["Secret"])})
	require.NoError(t, err)
	var credentials struct {
		Username, Password, Host, Dbname string
		Port                             int
	}
	require.NoError(t, json.Unmarshal([]byte(*value.SecretString), &credentials))
	require.Equal(t, "owner 127.0.0.1 media "+out["PrimaryPort"],
		fmt.Sprintf("%s %s %s %d", credentials.Username, credentials.Host, credentials.Dbname, credentials.Port))
	described, err := secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String(out["Secret"])})
	require.NoError(t, err)
	require.True(t, *described.RotationEnabled)
	require.Equal(t, "rate(30 days)", *described.RotationRules.ScheduleExpression)

	// Updates leave every endpoint where it is, and the password what it was.
	s.update(template(7, "second"))
	require.Equal(t, out, s.outputs())
	caches := elasticache.NewFromConfig(shared.AWSConfig())
	group, err := caches.DescribeReplicationGroups(t.Context(), &elasticache.DescribeReplicationGroupsInput{ReplicationGroupId: aws.String(out["Cache"])})
	require.NoError(t, err)
	require.Equal(t, "second", *group.ReplicationGroups[0].Description)
	require.Equal(t, out["CachePort"], fmt.Sprint(*group.ReplicationGroups[0].NodeGroups[0].PrimaryEndpoint.Port))
	again, err := secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(out["Secret"])})
	require.NoError(t, err)
	require.Equal(t, *value.SecretString, *again.SecretString)

	s.delete()
	for _, id := range []string{out["Primary"], out["Replica"]} {
		_, err := databases.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &id})
		require.Error(t, err)
	}
	_, err = caches.DescribeReplicationGroups(t.Context(), &elasticache.DescribeReplicationGroupsInput{ReplicationGroupId: aws.String(out["Cache"])})
	require.Error(t, err)
}

func TestATransformHidesNoUnknownType(t *testing.T) {
	t.Parallel()
	_, err := cloudformation.NewFromConfig(shared.AWSConfig()).CreateStack(t.Context(), &cloudformation.CreateStackInput{
		StackName:    aws.String(t.Name()),
		Capabilities: []cfntypes.Capability{cfntypes.CapabilityCapabilityAutoExpand},
		TemplateBody: body(t, object{
			"Transform": "AWS::SecretsManager-2020-07-23", "Resources": object{"A": object{"Type": "AWS::Nonsense::Thing"}},
		}),
	})
	require.ErrorContains(t, err, "Unrecognized resource types: [AWS::Nonsense::Thing]")
}

func TestAutoScalingGroup(t *testing.T) {
	t.Parallel()
	template := func(maximum string) object {
		return object{
			"Resources": object{
				"Vpc": resource("AWS::EC2::VPC", object{"CidrBlock": "10.0.0.0/16"}),
				"Targets": resource("AWS::ElasticLoadBalancingV2::TargetGroup", object{
					"Port": 8080, "Protocol": "HTTP", "VpcId": ref("Vpc"), "TargetType": "instance",
				}),
				"Launch": resource("AWS::EC2::LaunchTemplate", object{"LaunchTemplateData": object{
					"ImageId": "ami-1", "InstanceType": "t4g.small", "MetadataOptions": object{"HttpTokens": "required"},
					"UserData": object{"Fn::Base64": "#!/bin/sh\necho up"},
				}}),
				// No instance will ever signal here: the deployment must not wait for one.
				"Group": object{
					"Type":           "AWS::AutoScaling::AutoScalingGroup",
					"CreationPolicy": object{"ResourceSignal": object{"Count": 2, "Timeout": "PT15M"}},
					"UpdatePolicy":   object{"AutoScalingRollingUpdate": object{"WaitOnResourceSignals": true, "PauseTime": "PT15M"}},
					"Properties": object{
						"MinSize": "1", "MaxSize": maximum, "VPCZoneIdentifier": list{"subnet-1"}, "HealthCheckType": "ELB",
						"LaunchTemplate":    object{"LaunchTemplateId": ref("Launch"), "Version": att("Launch", "LatestVersionNumber")},
						"TargetGroupARNs":   list{ref("Targets")},
						"MetricsCollection": list{object{"Granularity": "1Minute", "Metrics": list{"GroupDesiredCapacity"}}},
						"Tags":              list{object{"Key": "loadbearing:fleet", "Value": "web", "PropagateAtLaunch": true}},
					},
				},
				"Policy": resource("AWS::AutoScaling::ScalingPolicy", object{
					"AutoScalingGroupName": ref("Group"), "PolicyType": "TargetTrackingScaling",
					"TargetTrackingConfiguration": object{"TargetValue": 100, "CustomizedMetricSpecification": object{
						"Namespace": "Loadbearing", "MetricName": "ActiveConnections", "Statistic": "Average",
						"Dimensions": list{object{"Name": "AutoScalingGroupName", "Value": ref("Group")}},
					}},
				}),
				"Hook": resource("AWS::AutoScaling::LifecycleHook", object{
					"AutoScalingGroupName": ref("Group"), "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING", "HeartbeatTimeout": 60,
				}),
				"Warm": resource("AWS::AutoScaling::WarmPool", object{"AutoScalingGroupName": ref("Group"), "MinSize": 1, "PoolState": "Stopped"}),
			},
			"Outputs": outputs(map[string]any{"Group": ref("Group"), "Targets": ref("Targets"), "Launch": ref("Launch")}),
		}
	}
	api := autoscaling.NewFromConfig(shared.AWSConfig())
	s := deploy(t, template("4"))
	out := s.outputs()
	describe := func() (capacity string, targets []string, metrics, instances int) {
		o, err := api.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{out["Group"]}})
		require.NoError(t, err)
		g := o.AutoScalingGroups[0]
		require.Equal(t, out["Launch"], *g.LaunchTemplate.LaunchTemplateId)
		return fmt.Sprintf("%d %d %d", *g.MinSize, *g.DesiredCapacity, *g.MaxSize), g.TargetGroupARNs, len(g.EnabledMetrics), len(g.Instances)
	}
	capacity, targets, metrics, instances := describe()
	require.Equal(t, "1 1 4", capacity)
	require.Equal(t, []string{out["Targets"]}, targets)
	require.Equal(t, 1, metrics)
	require.Zero(t, instances)

	// What a scaling policy sets stays, also over a deployment that leaves capacity open.
	_, err := api.SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String(out["Group"]), DesiredCapacity: aws.Int32(3)})
	require.NoError(t, err)
	s.update(template("5"))
	capacity, targets, _, instances = describe()
	require.Equal(t, "1 3 5", capacity)
	require.Equal(t, []string{out["Targets"]}, targets)
	require.Zero(t, instances, "nothing runs them")
	s.update(template("2"))
	capacity, _, _, _ = describe()
	require.Equal(t, "1 2 2", capacity, "never above the maximum")
	_, err = api.SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String(out["Group"]), DesiredCapacity: aws.Int32(3)})
	require.ErrorContains(t, err, "New SetDesiredCapacity value 3 is above max value 2 for the AutoScalingGroup.")
	_, err = api.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: aws.String(out["Group"]), MaxSize: aws.Int32(4), DesiredCapacity: aws.Int32(5)})
	require.ErrorContains(t, err, "Desired capacity:5 must be between the specified min size:1 and max size:4")
	for _, size := range []struct{ least, desired, most, want string }{
		{"3", "", "4", "3 3 4"}, {"0", "", "", "0 3 4"}, {"0", "0", "", "0 0 4"}, {"2", "2", "2", "2 2 2"}, {"1", "", "1", "1 1 1"},
	} {
		_, err = api.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{
			AutoScalingGroupName: aws.String(out["Group"]), MinSize: number(t, size.least), DesiredCapacity: number(t, size.desired), MaxSize: number(t, size.most),
			TerminationPolicies: []string{"NewestInstance"}, NewInstancesProtectedFromScaleIn: aws.Bool(true),
		})
		require.NoError(t, err)
		capacity, _, _, _ = describe()
		require.Equal(t, size.want, capacity)
	}
	changed, err := api.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{out["Group"]}})
	require.NoError(t, err)
	require.Equal(t, []string{"NewestInstance"}, changed.AutoScalingGroups[0].TerminationPolicies)
	require.True(t, *changed.AutoScalingGroups[0].NewInstancesProtectedFromScaleIn)

	pool, err := api.DescribeWarmPool(t.Context(), &autoscaling.DescribeWarmPoolInput{AutoScalingGroupName: aws.String(out["Group"])})
	require.NoError(t, err)
	require.Equal(t, int32(1), *pool.WarmPoolConfiguration.MinSize)
	policies, err := api.DescribePolicies(t.Context(), &autoscaling.DescribePoliciesInput{AutoScalingGroupName: aws.String(out["Group"])})
	require.NoError(t, err)
	require.Equal(t, "ActiveConnections", *policies.ScalingPolicies[0].TargetTrackingConfiguration.CustomizedMetricSpecification.MetricName)
	hooks, err := api.DescribeLifecycleHooks(t.Context(), &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: aws.String(out["Group"])})
	require.NoError(t, err)
	require.Len(t, hooks.LifecycleHooks, 1)
	versions, err := ec2.NewFromConfig(shared.AWSConfig()).DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateId: aws.String(out["Launch"]), Versions: []string{"$Latest"},
	})
	require.NoError(t, err)
	require.Equal(t, "required", string(versions.LaunchTemplateVersions[0].LaunchTemplateData.MetadataOptions.HttpTokens))
	require.NotEmpty(t, versions.LaunchTemplateVersions[0].LaunchTemplateData.UserData)

	s.delete()
	left, err := api.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{})
	require.NoError(t, err)
	require.False(t, slices.ContainsFunc(left.AutoScalingGroups, func(g astypes.AutoScalingGroup) bool { return *g.AutoScalingGroupName == out["Group"] }))
}

func TestAnInstanceRefreshIsCheckedAndKept(t *testing.T) {
	t.Parallel()
	api := autoscaling.NewFromConfig(shared.AWSConfig())
	group := aws.String("refreshed-" + strings.ToLower(rand.Text()))
	_, err := api.CreateAutoScalingGroup(t.Context(), &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: group, MinSize: aws.Int32(0), MaxSize: aws.Int32(1)})
	require.NoError(t, err)
	percent := func(least, most int32) *astypes.RefreshPreferences {
		return &astypes.RefreshPreferences{MinHealthyPercentage: &least, MaxHealthyPercentage: &most}
	}
	for want, in := range map[string]*autoscaling.StartInstanceRefreshInput{
		"MaxHealthyPercentage 210 must be between 100 and 200":                                              {Preferences: percent(100, 210)},
		"The difference between MaxHealthyPercentage and MinHealthyPercentage must not be greater than 100": {Preferences: percent(50, 200)},
		"MaxHealthyPercentage requires MinHealthyPercentage":                                                {Preferences: &astypes.RefreshPreferences{MaxHealthyPercentage: aws.Int32(110)}},
		"AutoRollback requires a desired configuration, which is not supported here":                        {Preferences: &astypes.RefreshPreferences{AutoRollback: aws.Bool(true)}},
		"Preferences.AlarmSpecification is not supported here":                                              {Preferences: &astypes.RefreshPreferences{AlarmSpecification: &astypes.AlarmSpecification{Alarms: []string{"errors"}}}},
		"Preferences.BakeTime is not supported here":                                                        {Preferences: &astypes.RefreshPreferences{BakeTime: aws.Int32(60)}},
		"CheckpointPercentages [50, 20] must ascend from 1 to 100":                                          {Preferences: &astypes.RefreshPreferences{CheckpointPercentages: []int32{50, 20}}},
		"CheckpointDelay requires CheckpointPercentages":                                                    {Preferences: &astypes.RefreshPreferences{CheckpointDelay: aws.Int32(60)}},
		"DesiredConfiguration is not supported here":                                                        {DesiredConfiguration: &astypes.DesiredConfiguration{LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateId: aws.String("lt-1")}}},
		"Strategy ReplaceRootVolume is not supported here: use Rolling":                                     {Strategy: "ReplaceRootVolume"},
	} {
		in.AutoScalingGroupName = group
		_, err := api.StartInstanceRefresh(t.Context(), in)
		require.ErrorContains(t, err, want)
	}

	// Nothing carries it out here: it stays as it was asked for.
	preferences := percent(100, 110)
	preferences.CheckpointPercentages, preferences.ScaleInProtectedInstances = []int32{20, 100}, astypes.ScaleInProtectedInstancesRefresh
	_, err = api.StartInstanceRefresh(t.Context(), &autoscaling.StartInstanceRefreshInput{AutoScalingGroupName: group, Preferences: preferences})
	require.NoError(t, err)
	out, err := api.DescribeInstanceRefreshes(t.Context(), &autoscaling.DescribeInstanceRefreshesInput{AutoScalingGroupName: group})
	require.NoError(t, err)
	require.Len(t, out.InstanceRefreshes, 1)
	require.Equal(t, astypes.InstanceRefreshStatusPending, out.InstanceRefreshes[0].Status)
	preferences.SkipMatching = aws.Bool(false)
	require.Equal(t, preferences, out.InstanceRefreshes[0].Preferences)
	_, err = api.CancelInstanceRefresh(t.Context(), &autoscaling.CancelInstanceRefreshInput{AutoScalingGroupName: group})
	require.NoError(t, err)
	out, err = api.DescribeInstanceRefreshes(t.Context(), &autoscaling.DescribeInstanceRefreshesInput{AutoScalingGroupName: group})
	require.NoError(t, err)
	require.Equal(t, astypes.InstanceRefreshStatusCancelling, out.InstanceRefreshes[0].Status)
	_, err = api.DeleteAutoScalingGroup(t.Context(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: group})
	require.NoError(t, err)
}

// number is the number in a text, or nil of an empty one.
func number(t *testing.T, text string) *int32 {
	t.Helper()
	if text == "" {
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	require.NoError(t, err)
	return aws.Int32(int32(n))
}

func TestAlarms(t *testing.T) {
	t.Parallel()
	namespace := t.Name() + rand.Text() // data points outlive the stack
	color := func(c string) list { return list{object{"Name": "Color", "Value": c}} }
	query := func(id, c string) object {
		return object{"Id": id, "ReturnData": false, "MetricStat": object{
			"Period": 60, "Stat": "Sum", "Metric": object{"Namespace": namespace, "MetricName": "Errors", "Dimensions": color(c)},
		}}
	}
	alarm := func(extra object) object {
		properties := object{"ComparisonOperator": "GreaterThanThreshold", "Threshold": 5, "EvaluationPeriods": 1, "TreatMissingData": "notBreaching"}
		maps.Copy(properties, extra)
		return resource("AWS::CloudWatch::Alarm", properties)
	}
	single := func(c string) object {
		return alarm(object{"Namespace": namespace, "MetricName": "Errors", "Statistic": "Sum", "Period": 60, "Dimensions": color(c)})
	}
	math := func(expression string) object {
		return alarm(object{"Metrics": list{object{"Id": "e", "Expression": expression}, query("blue", "blue"), query("green", "green")}})
	}
	s := deploy(t, object{
		"Resources": object{
			"Blue": single("blue"), "Green": single("green"),
			"Max": math("MAX([blue, green])"), "Ratio": math("IF(FILL(blue, 0) > 0, 100 * blue / (blue + green), 0)"),
			"Unmet":   math("blue - green * 3"),
			"Silence": alarm(object{"Namespace": namespace, "MetricName": "Heartbeat", "Statistic": "Sum", "Period": 60, "TreatMissingData": "breaching"}),
		},
		"Outputs": outputs(map[string]any{"Blue": ref("Blue"), "Green": ref("Green"), "Max": ref("Max"), "Ratio": ref("Ratio"), "Unmet": ref("Unmet"), "Silence": ref("Silence")}),
	})
	out := s.outputs()
	api := cloudwatch.NewFromConfig(shared.AWSConfig())
	states := func() map[string]string {
		described, err := api.DescribeAlarms(t.Context(), &cloudwatch.DescribeAlarmsInput{AlarmNames: slices.Collect(maps.Values(out))})
		require.NoError(t, err)
		found := map[string]string{}
		for name, physical := range out {
			for _, a := range described.MetricAlarms {
				if *a.AlarmName == physical {
					found[name] = string(a.StateValue)
				}
				if len(a.Metrics) > 0 {
					require.Equal(t, int32(60), *a.Metrics[1].MetricStat.Period)
				}
			}
		}
		return found
	}
	require.Equal(t, map[string]string{"Blue": "OK", "Green": "OK", "Max": "OK", "Ratio": "OK", "Unmet": "OK", "Silence": "ALARM"}, states())

	put := func(c string, value float64) {
		_, err := api.PutMetricData(t.Context(), &cloudwatch.PutMetricDataInput{Namespace: aws.String(namespace), MetricData: []cwtypes.MetricDatum{{
			MetricName: aws.String("Errors"), Value: &value, Dimensions: []cwtypes.Dimension{{Name: aws.String("Color"), Value: &c}},
		}}})
		require.NoError(t, err)
	}
	put("green", 4)
	put("blue", 4)
	put("blue", 4)
	require.Equal(t, map[string]string{"Blue": "ALARM", "Green": "OK", "Max": "ALARM", "Ratio": "ALARM", "Unmet": "OK", "Silence": "ALARM"}, states())

	s.delete()
	require.Empty(t, states())
}

func TestTargetTracking(t *testing.T) {
	t.Parallel()
	namespace, group := t.Name()+rand.Text(), "tracked-"+strings.ToLower(rand.Text())
	query := func(id, metric, stat string) object {
		return object{"Id": id, "ReturnData": false, "MetricStat": object{
			"Stat": stat, "Metric": object{"Namespace": namespace, "MetricName": metric, "Dimensions": list{object{"Name": "Group", "Value": group}}},
		}}
	}
	policy := func(configuration object) object {
		configuration["TargetValue"] = 60
		return resource("AWS::AutoScaling::ScalingPolicy", object{
			"AutoScalingGroupName": ref("Group"), "PolicyType": "TargetTrackingScaling", "TargetTrackingConfiguration": configuration,
		})
	}
	s := deploy(t, object{
		"Resources": object{
			"Group": resource("AWS::AutoScaling::AutoScalingGroup", object{
				"AutoScalingGroupName": group, "MinSize": "1", "MaxSize": "3", "AvailabilityZones": list{"us-east-1a"},
				"MetricsCollection": list{object{"Granularity": "1Minute"}},
			}),
			"Backlog": policy(object{"CustomizedMetricSpecification": object{"Metrics": list{
				query("messages", "Messages", "Maximum"), query("instances", "Instances", "Average"),
				object{"Id": "backlog", "Expression": "messages / instances", "ReturnData": true},
			}}}),
			"Requests": policy(object{"DisableScaleIn": true, "PredefinedMetricSpecification": object{
				"PredefinedMetricType": "ALBRequestCountPerTarget",
				"ResourceLabel":        object{"Fn::Join": list{"/", list{"app/lb/0123", att("Targets", "TargetGroupFullName")}}},
			}}),
			"Vpc":     resource("AWS::EC2::VPC", object{"CidrBlock": "10.0.0.0/16"}),
			"Targets": resource("AWS::ElasticLoadBalancingV2::TargetGroup", object{"Port": 80, "Protocol": "HTTP", "VpcId": ref("Vpc")}),
		},
		"Outputs": outputs(map[string]any{"Backlog": ref("Backlog"), "Requests": ref("Requests"), "Targets": ref("Targets")}),
	})
	out := s.outputs()
	groups := autoscaling.NewFromConfig(shared.AWSConfig())
	metrics := cloudwatch.NewFromConfig(shared.AWSConfig())

	described, err := groups.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{group}})
	require.NoError(t, err)
	require.Len(t, described.AutoScalingGroups[0].EnabledMetrics, 20, "none named is all of them")

	alarms := func(arn string) []cwtypes.MetricAlarm {
		policies, err := groups.DescribePolicies(t.Context(), &autoscaling.DescribePoliciesInput{AutoScalingGroupName: &group})
		require.NoError(t, err)
		var names []string
		for _, p := range policies.ScalingPolicies {
			if *p.PolicyARN == arn {
				for _, a := range p.Alarms {
					names = append(names, *a.AlarmName)
				}
			}
		}
		if names == nil {
			return nil // asked for none by name, it would answer with those of other tests
		}
		found, err := metrics.DescribeAlarms(t.Context(), &cloudwatch.DescribeAlarmsInput{AlarmNames: names})
		require.NoError(t, err)
		return found.MetricAlarms // by name: high before low
	}
	backlog, requests := alarms(out["Backlog"]), alarms(out["Requests"])
	require.Len(t, backlog, 2)
	require.Equal(t, []float64{60, 54}, []float64{*backlog[0].Threshold, *backlog[1].Threshold})
	require.Equal(t, "messages / instances", *backlog[0].Metrics[2].Expression)
	require.Len(t, requests, 1, "scale-in is disabled")
	require.Regexp(t, "^targetgroup/.+/.+", *requests[0].Dimensions[0].Value)
	require.True(t, strings.HasSuffix(out["Targets"], ":"+*requests[0].Dimensions[0].Value))

	// GetMetricData evaluates the policy's expression, period by period.
	begin := time.Now().Add(-time.Minute).Truncate(time.Second)
	put := func(name string, at int, value float64) {
		_, err := metrics.PutMetricData(t.Context(), &cloudwatch.PutMetricDataInput{Namespace: &namespace, MetricData: []cwtypes.MetricDatum{{
			MetricName: &name, Value: &value, Timestamp: aws.Time(begin.Add(time.Duration(at) * time.Second)),
			Dimensions: []cwtypes.Dimension{{Name: aws.String("Group"), Value: &group}},
		}}})
		require.NoError(t, err)
	}
	put("Messages", 0, 90)
	put("Messages", 1, 100)
	put("Messages", 1, 300)
	put("Instances", 1, 3)
	put("Messages", 2, 100)
	put("Instances", 2, 0)
	get := func(expression string) ([]cwtypes.MetricDataResult, error) {
		queries := slices.Clone(backlog[0].Metrics)
		for i := range queries[:2] {
			stat := *queries[i].MetricStat
			stat.Period = aws.Int32(1)
			queries[i].MetricStat = &stat
		}
		queries[2].Expression = &expression
		answer, err := metrics.GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{
			StartTime: &begin, EndTime: aws.Time(begin.Add(3 * time.Second)), MetricDataQueries: queries,
			ScanBy: cwtypes.ScanByTimestampAscending,
		})
		if err != nil {
			return nil, err
		}
		return answer.MetricDataResults, nil
	}
	results, err := get("messages / instances")
	require.NoError(t, err)
	require.Len(t, results, 1, "only what is to be returned")
	require.Equal(t, []float64{100}, results[0].Values, "no value without data, nor for a division by zero")
	require.True(t, results[0].Timestamps[0].Equal(begin.Add(time.Second)))
	results, err = get("FILL(messages, 0) - FILL(instances, 1)")
	require.NoError(t, err)
	require.Equal(t, []float64{89, 297, 100}, results[0].Values)
	_, err = get("ANOMALY_DETECTION_BAND(messages)")
	require.ErrorContains(t, err, "is not supported here")

	// The state of a scaling policy's alarm is the local runtime's to set.
	_, err = metrics.SetAlarmState(t.Context(), &cloudwatch.SetAlarmStateInput{
		AlarmName: backlog[0].AlarmName, StateValue: cwtypes.StateValueAlarm, StateReason: aws.String("backlog"),
	})
	require.NoError(t, err)
	require.Equal(t, cwtypes.StateValueAlarm, alarms(out["Backlog"])[0].StateValue)

	s.delete()
	require.Empty(t, alarms(out["Backlog"]))
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	template := func(description string) object {
		return object{
			"Resources": object{
				"Secret": resource("AWS::SecretsManager::Secret", object{"Description": description, "GenerateSecretString": object{"ExcludePunctuation": true, "PasswordLength": 200}}),
				"Policy": resource("AWS::SecretsManager::ResourcePolicy", object{"SecretId": ref("Secret"), "ResourcePolicy": object{"Version": "2012-10-17", "Statement": list{}}}),
			},
			"Outputs": outputs(map[string]any{"Secret": ref("Secret")}),
		}
	}
	api := secretsmanager.NewFromConfig(shared.AWSConfig())
	s := deploy(t, template("first"))
	arn := s.outputs()["Secret"]
	require.Regexp(t, `^arn:aws:secretsmanager:us-east-1:000000000000:secret:.+-.{6}$`, arn)
	value, err := api.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &arn})
	require.NoError(t, err)
	require.Regexp(t, `^[A-Za-z0-9]{200}$`, *value.SecretString)
	policy, err := api.GetResourcePolicy(t.Context(), &secretsmanager.GetResourcePolicyInput{SecretId: &arn})
	require.NoError(t, err)
	require.JSONEq(t, `{"Version":"2012-10-17","Statement":[]}`, *policy.ResourcePolicy)

	s.update(template("second"))
	require.Equal(t, arn, s.outputs()["Secret"])
	again, err := api.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &arn})
	require.NoError(t, err)
	require.Equal(t, *value.SecretString, *again.SecretString)
	described, err := api.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &arn})
	require.NoError(t, err)
	require.Equal(t, "second", *described.Description)

	s.delete()
	_, err = api.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &arn})
	require.Error(t, err)
}
