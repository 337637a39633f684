package main

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSetting(t *testing.T) {
	t.Parallel()
	about := "Props configures it. VPC and Name are required; Size is not. Domain is required with Certificate: no default."
	for _, test := range []struct{ name, typ, text, fallback, meaning string }{
		{"Size", "int", "Size of it, 1 to 9. Default 3.", "3", "Size of it, 1 to 9."},
		{"Size", "int", "Size of it. Default 0.5 GiB; up to 9. More costs more.", "0.5 GiB; up to 9", "Size of it. More costs more."},
		{"Size", "int", "Default: a new one.", "a new one", ""},
		{"Size", "int", "Default, and most, 9.", "and most, 9", ""},
		{"Size", "int", "Defaults to 3.\nSize of it.", "3", "Size of it."},
		{"Size", "int", "Size, default 3.", "3", "Size."},
		{"Size", "int", "Size of it (e.g. Large). Default\nthat of the\nVPC.", "that of the VPC", "Size of it (e.g. Large)."},
		{"Size", "int", "The size.\n\n\tDefault code.\n\nDefault 3.", "3", "The size.\n\n\tDefault code."},
		{"On", "bool", "On makes it go.", "false", "On makes it go."},
		{"On", "bool", "On makes it go. Default it does.", "false: it does", "On makes it go."},
		{"VPC", "T", "VPC it stands in, and the Subnets, default the isolated ones.", requiredCell, "VPC it stands in, and the Subnets."},
		{"Name", "string", "Name of it.", requiredCell, "Name of it."},
		{"Other", "string", "Other name. Required.", requiredCell, "Other name."},
		{"Other", "string", "Other name. Required without Name.", requiredCell + " without Name", "Other name."},
		{"Domain", "string", "Domain of it. Default none.", requiredCell, "Domain of it."},
	} {
		s := structDoc{name: "Props", text: about}
		got, missing := s.setting(field{name: test.name, typ: ast.NewIdent(test.typ), text: test.text})
		require.Nil(t, missing, test.text)
		require.Equal(t, test.fallback, got.fallback, test.text)
		require.Equal(t, test.meaning, got.meaning, test.text)
	}

	s := structDoc{name: "Props", text: about}
	for text, want := range map[string]string{
		"":                        "Props.Size: no doc comment; write what it is, its unit and limits, and its default",
		"Size of it (default 3).": `Props.Size: no default; add a sentence "Default …." to its doc comment, or "Size is required" to that of Props`,
	} {
		_, missing := s.setting(field{name: "Size", typ: ast.NewIdent("int"), text: text})
		require.NotNil(t, missing, text)
		require.Equal(t, want, missing.what+": "+missing.text)
	}
	for _, f := range []field{{name: "Override", override: true}, {name: "Overrides", typ: ast.NewIdent("Overrides"), text: "Overrides have the last word."}} {
		_, missing := s.setting(f)
		require.Nil(t, missing, f.name)
	}
}

func TestMentions(t *testing.T) {
	t.Parallel()
	value := map[string]any{
		"A": map[string]any{"Ref": "One"},
		"B": []any{map[string]any{"Fn::GetAtt": []any{"Two", "Arn"}}, map[string]any{"Fn::GetAtt": "Three.Arn"}},
		"C": map[string]any{"Fn::Sub": "${Four}-${Five.Arn}-${!Literal}-${AWS::Region}"},
		"D": map[string]any{"Fn::Sub": []any{"${Six} ${Local}", map[string]any{"Local": map[string]any{"Ref": "Seven"}}}},
		"E": map[string]any{"Fn::Join": []any{"", []any{"Text", map[string]any{"Ref": "AWS::Partition"}}}},
	}
	var found []string
	mentions(value, func(id string) { found = append(found, id) })
	require.Equal(t, []string{"One", "Two", "Three", "Four", "Five", "Six", "Local", "Seven", "AWS::Partition"}, found)
}

func TestClaim(t *testing.T) {
	t.Parallel()
	g := &golden{roots: []string{"Web"}, resources: []*resource{{id: "WebGroup12345678"}, {id: "WebACL12345678"}, {id: "Other"}}}
	g.claim([]string{"WebACL", "Other", "W"})
	require.True(t, g.resources[0].inside)
	require.Equal(t, "Group", g.resources[0].name)
	require.False(t, g.resources[1].inside, "a longer id of something else fits")
	require.False(t, g.resources[2].inside)
}

func TestCondition(t *testing.T) {
	t.Parallel()
	for want, properties := range map[string]map[string]any{
		"above 1,234,567.5 in 1 min": {
			"ComparisonOperator": "GreaterThanThreshold", "Threshold": 1234567.5, "EvaluationPeriods": 1.0, "Period": 60.0,
		},
		"at or below -5 in each of 2 periods of 30 s": {
			"ComparisonOperator": "LessThanOrEqualToThreshold", "Threshold": -5.0, "EvaluationPeriods": 2.0, "Period": 30.0,
		},
		"below 5 GiB in 2 of 3 periods of 1 h; no data counts as that": {
			"ComparisonOperator": "LessThanThreshold", "Threshold": 5.0 * (1 << 30), "EvaluationPeriods": 3.0, "DatapointsToAlarm": 2.0,
			"Period": 3600.0, "TreatMissingData": "breaching",
		},
		"outside the expected band in each of 3 periods of 5 min; no data keeps the state": {
			"ComparisonOperator": "LessThanLowerOrGreaterThanUpperThreshold", "EvaluationPeriods": 3.0, "TreatMissingData": "ignore",
			"Metrics": []any{map[string]any{"Expression": "x"}, map[string]any{"MetricStat": map[string]any{"Period": 300.0}}},
		},
		"at or above a value known on deployment in the metric's period": {
			"ComparisonOperator": "GreaterThanOrEqualToThreshold", "Threshold": map[string]any{"Ref": "P"}, "EvaluationPeriods": 1.0,
		},
	} {
		require.Equal(t, want, new(golden).condition(properties))
	}
}

func TestMetric(t *testing.T) {
	t.Parallel()
	g := new(golden)
	require.Equal(t, "p99 of `Latency` in `AWS/ELB`", g.metric(map[string]any{
		"MetricName": "Latency", "Namespace": "AWS/ELB", "ExtendedStatistic": "p99",
	}))
	stat := func(id string) map[string]any {
		return map[string]any{"Id": id, "ReturnData": false, "MetricStat": map[string]any{
			"Metric": map[string]any{"MetricName": "CPU", "Namespace": "N"}, "Stat": "Average",
		}}
	}
	require.Equal(t, "`MAX([a, b])`<br>`a, b`: Average of `CPU` in `N`", g.metric(map[string]any{"Metrics": []any{
		map[string]any{"Id": "e", "Expression": "MAX([a, b])"}, stat("a"), stat("b"),
	}}))
	require.Equal(t, "Average of `CPU` in `N`<br>`band`: `ANOMALY_DETECTION_BAND(a, 2)`", g.metric(map[string]any{
		"ThresholdMetricId": "a", "Metrics": []any{stat("a"), map[string]any{"Id": "band", "Expression": "ANOMALY_DETECTION_BAND(a, 2)"}},
	}))
}

func TestAlarmsThatDifferInWhatTheyWatchShareARow(t *testing.T) {
	t.Parallel()
	one := func(id, severity string) *resource {
		return &resource{id: id, name: id, kind: alarmType, inside: true, properties: map[string]any{
			"AlarmDescription": "Look.", "Tags": []any{map[string]any{"Key": severityTag, "Value": severity}},
		}}
	}
	composite := one("C", "critical")
	composite.kind = compositeType
	composite.properties["AlarmRule"] = map[string]any{"Fn::Join": []any{"", []any{"ALARM(", map[string]any{"Fn::GetAtt": []any{"A", "Arn"}}, ")"}}}
	g := &golden{resources: []*resource{one("A", "warning"), one("B", "warning"), composite, {id: "X", kind: alarmType}}}
	alarms, problems := g.alarms("dir")
	require.Empty(t, problems)
	require.Len(t, alarms, 2)
	require.Equal(t, "`ALARM(A)`", alarms[0].condition)
	require.Equal(t, []string{"A", "B"}, alarms[1].names)
}

func TestCamelWords(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"DeadLetter1":      "dead letter 1",
		"NATGateway":       "NAT gateway",
		"VPCpublicSubnet2": "VPC public subnet 2",
		"CPUAlarm":         "CPU alarm",
		"VPCS3":            "VPC S3",
		"":                 "",
	} {
		require.Equal(t, want, strings.Join(camelWords(name), " "))
	}
	require.Equal(t, "Some odd thing", typeOf("AWS::Some::OddThing").words)
	require.Equal(t, "Backup plan", derivedWords("AWS::Backup::BackupPlan"))
	require.Equal(t, "Own thing", derivedWords("Custom::OwnThing"))
	require.Equal(t, supported, typeOf("AWS::Some::OddPolicy").role)
}

func TestPictureThroughSupportingResources(t *testing.T) {
	t.Parallel()
	g := new(golden)
	require.NoError(t, g.decode([]byte(`{"Resources": {
		"DB":       {"Type": "AWS::RDS::DBInstance", "DependsOn": ["DBCopy1"], "Properties": {"DBSubnetGroupName": {"Ref": "DBSubnets"}, "Network": {"Ref": "VPC"}}},
		"DBAlarm":  {"Type": "AWS::CloudWatch::Alarm", "Properties": {"Dimensions": {"Ref": "DB"}}},
		"DBCopy1":  {"Type": "AWS::RDS::DBInstance", "Properties": {"SourceDBInstanceIdentifier": {"Ref": "DB"}}, "DependsOn": "DB"},
		"DBCopy2":  {"Type": "AWS::RDS::DBInstance", "Properties": {"SourceDBInstanceIdentifier": {"Ref": "DB"}, "KmsKeyId": {"Ref": "Key"}}},
		"DBRole":   {"Type": "AWS::IAM::Role"},
		"DBSubnets": {"Type": "AWS::RDS::DBSubnetGroup", "Properties": {"SubnetIds": [{"Ref": "Subnet1"}, {"Ref": "Subnet2"}]}},
		"Far":      {"Type": "AWS::SQS::Queue", "Properties": {"KmsMasterKeyId": {"Ref": "Key"}}},
		"Key":      {"Type": "AWS::KMS::Key"},
		"Subnet1":  {"Type": "AWS::EC2::Subnet", "Properties": {"VpcId": {"Ref": "VPC"}}},
		"Subnet2":  {"Type": "AWS::EC2::Subnet", "Properties": {"VpcId": {"Ref": "VPC"}}},
		"VPC":      {"Type": "AWS::EC2::VPC"}
	}}`)))
	g.roots = []string{"DB"}
	g.claim(nil)
	require.Equal(t, `flowchart LR
    n1[("RDS instance")]
    n2[("RDS instance<br/>copy<br/>× 2")]
    n3["subnet<br/>× 2"]
    n4(["KMS key"])
    n1 -->|"replicates to"| n2
    n1 --> n3
    n2 -->|"encrypted by"| n4
    classDef outside stroke-dasharray: 5 5
    class n3,n4 outside
`, g.picture().Mermaid())
}

func TestPictureStaysReadable(t *testing.T) {
	t.Parallel()
	g := new(golden)
	for i := range 40 {
		letter := string(rune('a' + i%26))
		g.resources = append(g.resources, &resource{id: fmt.Sprintf("Q%02d", i), kind: "AWS::SQS::Queue", name: "Q" + letter, inside: true})
	}
	for i := range 14 {
		g.resources = append(g.resources, &resource{id: fmt.Sprintf("T%02d", i), kind: fmt.Sprintf("AWS::S::T%c", 'a'+i), inside: true})
	}
	p := g.picture()
	require.Len(t, p.nodes, maxNodes)
	require.Contains(t, p.Mermaid(), `["SQS queue<br/>× 40"]`)
	require.Empty(t, p.more)

	g.resources = append(g.resources, &resource{id: "U", kind: "AWS::S::Z", inside: true})
	p = g.picture()
	require.Len(t, p.nodes, maxNodes)
	require.Equal(t, []string{"SQS queue × 40"}, p.more)
}

// safeLabel is what a label may hold: nothing that ends a quoted label, begins
// Markdown or HTML, and entities of digits only.
var safeLabel = regexp.MustCompile(`^([A-Za-z0-9 .,:/'()×-]|#\d+;)*$`)

func FuzzLabel(f *testing.F) {
	for _, text := range []string{
		`say "hi"`, "`code`", "<b>&amp;</b>", "1. first", "- item", "a\nb", "end", "#quot;", "%%{init}%%", "a]|b", "é€𝄞", "\xff", "*_x_*", "",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := label(text)
		require.Regexp(t, safeLabel, got)
		require.NotRegexp(t, listMarker, got)
	})
}

func TestTableEscapesPipes(t *testing.T) {
	t.Parallel()
	require.Equal(t, "| a | b |\n|---|---|\n| `x \\| y` |  |", table([]string{"a", "b"}, [][]string{{"`x | y`", ""}}))
	require.Equal(t, "`` a`b ``", code("a`b"))
	require.Equal(t, `\<a\> \*b\* \_c\_ \[d\] \\`, escape(`<a> *b* _c_ [d] \`))
}

func TestAlways(t *testing.T) {
	t.Parallel()
	require.True(t, row{how: "always"}.always())
	require.True(t, row{how: "always, unless X"}.always())
	require.False(t, row{how: "always-on X"}.always())
}

func TestSentences(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"One, at 2 a. m.", "Two (e.g. Three) of 1.5.", "Four?", `"Five."`, "Six"},
		sentences("One, at 2 a. m. Two (e.g. Three)\nof 1.5. Four? \"Five.\" Six"))
}
