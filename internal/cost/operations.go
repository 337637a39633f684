package cost

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// alarm costs by the metrics it reads; one on a band of anomalies by three.
func alarm(r resource) {
	metrics, period, anomaly := 1.0, r.number(60, "Period"), r.raw("ThresholdMetricId") != nil
	if list := r.items("Metrics"); len(list) > 0 {
		metrics = 0
		for _, v := range list {
			query, _ := v.(map[string]any)
			stat, _ := query["MetricStat"].(map[string]any)
			if stat == nil {
				continue
			}
			metrics++
			at := resource{r.e, r.t, r.id, r.kind, stat}
			period = min(period, at.number(period, "Period"))
		}
		if metrics == 0 {
			metrics = 1
			r.e.unknown(r, "a query costs by the metrics it finds; it is priced as one")
		}
	}
	if anomaly {
		metrics = 3
	}
	if period < 60 {
		r.add("CloudWatch alarm, high resolution, by metric", metrics, "cloudwatch.alarm.high-resolution")
		return
	}
	r.add("CloudWatch alarm, by metric", metrics, "cloudwatch.alarm.standard")
}

func compositeAlarm(r resource) {
	r.add("CloudWatch composite alarm", 1, "cloudwatch.alarm.composite")
}

// freeDashboards is how many an account has for nothing: CloudWatch pricing.
const freeDashboards = 3

func dashboard(r resource) {
	r.e.dashboards++
	if r.e.dashboards <= freeDashboards {
		r.addAt("CloudWatch dashboard, free among an account's first 3", 1, "cloudwatch.dashboard", 0)
		return
	}
	r.add("CloudWatch dashboard", 1, "cloudwatch.dashboard")
}

func canary(r resource) {
	expression := r.text("Schedule", "Expression")
	every, ok := rate(expression)
	if !ok {
		r.e.unknown(r, fmt.Sprintf("its runs a month cannot be told from %q", expression))
		return
	}
	r.add("Synthetics canary, runs", float64(HoursPerMonth*time.Hour)/float64(every), "cloudwatch.canary")
}

// rate reads a schedule such as "rate(5 minutes)".
func rate(expression string) (every time.Duration, ok bool) {
	var n int
	var unit string
	if _, err := fmt.Sscanf(strings.TrimSuffix(expression, ")"), "rate(%d %s", &n, &unit); err != nil || n <= 0 {
		return 0, false
	}
	length, ok := map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}[strings.TrimSuffix(unit, "s")]
	return time.Duration(n) * length, ok
}

// paidGroups are the groups of AWS managed rules that have a subscription.
var paidGroups = []string{"AWSManagedRulesBotControlRuleSet", "AWSManagedRulesATPRuleSet", "AWSManagedRulesACFPRuleSet"}

func webACL(r resource) {
	r.uses("wafRequests")
	r.add("WAF web ACL", 1, "waf.acl")
	for _, v := range r.items("Rules") {
		rule, _ := v.(map[string]any)
		statement, _ := rule["Statement"].(map[string]any)
		managed, _ := statement["ManagedRuleGroupStatement"].(map[string]any)
		if managed == nil {
			r.add("WAF rule", 1, "waf.rule")
			continue
		}
		r.add("WAF managed rule group", 1, "waf.managed-group")
		if name := fmt.Sprint(managed["Name"]); slices.Contains(paidGroups, name) {
			r.add("WAF subscription of "+name, 1, "waf.paid-group")
		}
	}
}

func ruleGroup(r resource) { r.add("WAF rule", float64(len(r.items("Rules"))), "waf.rule") }

func queue(r resource) {
	if r.isTrue("FifoQueue") {
		r.uses("sqsFifoRequests")
		return
	}
	r.uses("sqsRequests")
}

func function(r resource) {
	r.uses("lambdaRequests", "logsIngestedGB")
	if slices.Contains(r.items("Architectures"), any("arm64")) {
		r.uses("lambdaArmGBSeconds")
	} else {
		r.uses("lambdaX86GBSeconds")
	}
	if r.text("TracingConfig", "Mode") == "Active" {
		r.uses("traces")
	}
}

// provisioned: a version or alias costs nothing but the concurrency kept for it.
func provisioned(r resource) {
	if r.raw("ProvisionedConcurrencyConfig") != nil {
		r.e.unknown(r, "provisioned concurrency is not priced")
	}
}

func stateMachine(r resource) {
	if r.text("StateMachineType") == "EXPRESS" {
		r.uses("expressRequests", "expressGBSeconds")
		return
	}
	r.uses("stateTransitions")
}
