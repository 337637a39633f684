package compliance

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/cdklabs/cdk-nag-go/cdknag/v2"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/stacks"
)

// acknowledgement is a rule that somebody gave a reason for, beside the resource.
type acknowledgement struct {
	ID        string   `json:"id"`
	Reason    string   `json:"reason"`
	AppliesTo []string `json:"applies_to"`
}

// finding is a line of cdk-nag's report.
type finding struct {
	Rule       string `json:"ruleId"`
	Resource   string `json:"resourceId"`
	Compliance string `json:"compliance"`
	Reason     string `json:"exceptionReason"`
	Info       string `json:"ruleInfo"`
}

// TestNag runs the AwsSolutions, HIPAA, NIST 800-53 R5 and PCI DSS packs of
// cdk-nag on production. A finding is fixed, or acknowledged beside the resource
// (cdkx.Acknowledge); the acknowledgements stand in docs/compliance.md.
func TestNag(t *testing.T) {
	props := &cdknag.NagPackProps{ReportFormats: &[]cdknag.NagReportFormat{cdknag.NagReportFormat_JSON}}
	templates, dir := synth(t, stacks.Prod(), func(app awscdk.App) {
		for _, pack := range []awscdk.IAspect{
			cdknag.NewAwsSolutionsChecks(props),
			cdknag.NewHIPAASecurityChecks(props),
			cdknag.NewNIST80053R5Checks(props),
			cdknag.NewPCIDSS321Checks(props),
		} {
			awscdk.Aspects_Of(app).Add(pack, nil)
		}
	})
	reports, err := filepath.Glob(filepath.Join(dir, "*NagReport.json"))
	require.NoError(t, err)
	require.Len(t, reports, 4*len(templates), "one report for each pack and stack")

	checked := 0
	var acknowledged []finding
	for _, path := range reports {
		var report struct{ Lines []finding }
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &report))
		for _, line := range report.Lines {
			checked++
			switch line.Compliance {
			case "Compliant", "N/A":
			case "Suppressed":
				acknowledged = append(acknowledged, line)
			default:
				t.Errorf("%s: %s at %s\n  %s", line.Compliance, line.Rule, line.Resource, line.Info)
			}
		}
	}
	require.Greater(t, checked, 1000, "the packs found resources to check")
	requireUsed(t, templates, acknowledged)
	text, count := compliancePage(acknowledged)
	t.Logf("%d checks in 4 packs; %d findings acknowledged for %d reasons", checked, len(acknowledged), count)
	golden(t, filepath.Join("..", "..", "docs", "compliance.md"), text, "the acknowledged findings changed")
}

// reason is what was acknowledged. cdk-nag writes the finding before it when the
// rule has several.
func (f finding) reason() string {
	if strings.HasPrefix(f.Reason, "[") {
		_, reason, _ := strings.Cut(f.Reason, "] ")
		return reason
	}
	return f.Reason
}

// finding is the one of several that was acknowledged.
func (f finding) finding() string {
	text, _, _ := strings.Cut(strings.TrimPrefix(f.Reason, "["), "] ")
	return text
}

// requireUsed fails for an acknowledgement that no rule asks for any more.
func requireUsed(t *testing.T, templates []template, acknowledged []finding) {
	t.Helper()
	// A reason may be given for several spellings of one finding, such as an ARN
	// with the partition's name or a reference to it, and a finding may have
	// several reasons, of which cdk-nag repeats one.
	used := map[string]bool{}
	for _, each := range acknowledged {
		used[each.Resource+" "+shared(each.Rule)+" "+each.reason()] = true
		used[each.Resource+" "+shared(each.Rule)+" "+each.finding()] = true
	}
	for _, template := range templates {
		for id, resource := range template.Resources {
			for _, each := range resource.Metadata.Nag.Rules {
				key := resource.Metadata.Path + " " + shared(each.ID) + " "
				if !used[key+each.Reason] && !slices.ContainsFunc(each.AppliesTo, func(finding string) bool { return used[key+finding] }) {
					t.Errorf("%s %s acknowledges %s %v, which no rule finds: remove the acknowledgement", template.Stack, id, each.ID, each.AppliesTo)
				}
			}
		}
	}
}

// shared is the name of a rule without its pack when several packs have it.
func shared(rule string) string {
	for _, pack := range []string{"HIPAA.Security-", "NIST.800.53.R5-", "PCI.DSS.321-"} {
		if name, found := strings.CutPrefix(rule, pack); found {
			return name
		}
	}
	return rule
}

// compliancePage lists each reason once, with its rules and resources.
func compliancePage(acknowledged []finding) (page string, reasons int) {
	type entry struct{ rules, resources map[string]bool }
	byReason := map[string]entry{}
	for _, each := range acknowledged {
		reason := each.reason()
		if byReason[reason].rules == nil {
			byReason[reason] = entry{map[string]bool{}, map[string]bool{}}
		}
		byReason[reason].rules[shared(each.Rule)] = true
		byReason[reason].resources[strings.TrimSuffix(each.Resource, "/Resource")] = true
	}
	var text strings.Builder
	fmt.Fprintf(&text, `# What cdk-nag finds, and why it stays

`+"`make test`"+` runs the AwsSolutions, HIPAA, NIST 800-53 R5 and PCI DSS packs of cdk-nag on the production stacks.
A finding is fixed, or acknowledged beside the resource with a reason; any other fails the build. This page is
written by the test (`+"`make golden`"+`): %d findings, %d reasons.

| reason | rules | resources |
|---|---|---|
`, len(acknowledged), len(byReason))
	cell := func(set map[string]bool) string {
		return "`" + strings.ReplaceAll(strings.Join(slices.Sorted(maps.Keys(set)), "`<br>`"), "|", `\|`) + "`"
	}
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		fmt.Fprintf(&text, "| %s | %s | %s |\n", strings.ReplaceAll(reason, "|", `\|`), cell(byReason[reason].rules), cell(byReason[reason].resources))
	}
	return text.String(), len(byReason)
}
