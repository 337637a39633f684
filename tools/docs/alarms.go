package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	alarmType     = "AWS::CloudWatch::Alarm"
	compositeType = "AWS::CloudWatch::CompositeAlarm"
	severityTag   = "loadbearing:severity"
)

// alarm is one row of the alarms' table. Alarms that differ in nothing but what
// they watch, as those of two replicas do, share one.
type alarm struct {
	names       []string
	metric      string // Markdown
	condition   string
	severity    string
	description string
}

// alarms reads the construct's own alarms.
func (t *golden) alarms(dir string) ([]alarm, []problem) {
	var all []alarm
	var problems []problem
	for _, r := range t.inside() {
		if r.kind != alarmType && r.kind != compositeType {
			continue
		}
		a := alarm{
			names:       []string{r.name},
			severity:    tag(r, severityTag),
			description: t.text(r.properties["AlarmDescription"]),
		}
		if r.kind == compositeType {
			a.metric = "the state of other alarms"
			a.condition = code(t.text(r.properties["AlarmRule"]))
		} else {
			a.metric = t.metric(r.properties)
			a.condition = t.condition(r.properties)
		}
		if a.severity == "" {
			problems = append(problems, problem{dir, "alarm " + r.name, "no tag " + severityTag +
				" in " + t.file + "; make the alarm with cdkx.Alarm, then run: go test ./" + dir + " -update"})
		}
		if a.description == "" {
			problems = append(problems, problem{dir, "alarm " + r.name, "no description; write what it means and what to look at first"})
		}
		same := slices.IndexFunc(all, func(b alarm) bool {
			return a.metric == b.metric && a.condition == b.condition && a.severity == b.severity && a.description == b.description
		})
		if same >= 0 {
			all[same].names = append(all[same].names, r.name)
			continue
		}
		all = append(all, a)
	}
	slices.SortStableFunc(all, func(a, b alarm) int { return cmp.Compare(a.severity, b.severity) })
	return all, problems
}

func tag(r *resource, key string) string {
	list, _ := r.properties["Tags"].([]any)
	for _, entry := range list {
		if entry, ok := entry.(map[string]any); ok && entry["Key"] == key {
			value, _ := entry["Value"].(string)
			return value
		}
	}
	return ""
}

// metric says in Markdown what an alarm watches.
func (t *golden) metric(properties map[string]any) string {
	queries, _ := properties["Metrics"].([]any)
	if len(queries) == 0 {
		return t.statistic(properties)
	}
	var result string
	type operand struct {
		ids  []string
		text string
	}
	var operands []operand
	resultID := t.resultID(properties, queries)
	for _, query := range queries {
		query, _ := query.(map[string]any)
		id := t.text(query["Id"])
		text := code(t.text(query["Expression"]))
		if stat, ok := query["MetricStat"].(map[string]any); ok {
			metric, _ := stat["Metric"].(map[string]any)
			text = t.statistic(map[string]any{
				"Statistic": stat["Stat"], "MetricName": metric["MetricName"], "Namespace": metric["Namespace"],
			})
		}
		if id == resultID {
			result = text
			continue
		}
		same := slices.IndexFunc(operands, func(o operand) bool { return o.text == text })
		if same >= 0 {
			operands[same].ids = append(operands[same].ids, id)
			continue
		}
		operands = append(operands, operand{[]string{id}, text})
	}
	lines := []string{result}
	for _, o := range operands {
		lines = append(lines, code(strings.Join(o.ids, ", "))+": "+o.text)
	}
	return strings.Join(lines, "<br>")
}

// resultID is the id of the query whose value is compared with the threshold.
func (t *golden) resultID(properties map[string]any, queries []any) string {
	if id := t.text(properties["ThresholdMetricId"]); id != "" {
		return id
	}
	for _, query := range queries {
		query, _ := query.(map[string]any)
		if returned, set := query["ReturnData"]; !set || returned == true {
			return t.text(query["Id"])
		}
	}
	return ""
}

func (t *golden) statistic(properties map[string]any) string {
	name, namespace := t.text(properties["MetricName"]), t.text(properties["Namespace"])
	statistic := cmp.Or(t.text(properties["Statistic"]), t.text(properties["ExtendedStatistic"]))
	return strings.TrimSpace(escape(statistic) + " of " + code(name) + " in " + code(namespace))
}

var comparisons = map[string]string{
	"GreaterThanThreshold":                     "above %s",
	"GreaterThanOrEqualToThreshold":            "at or above %s",
	"LessThanThreshold":                        "below %s",
	"LessThanOrEqualToThreshold":               "at or below %s",
	"GreaterThanUpperThreshold":                "above the expected band",
	"LessThanLowerThreshold":                   "below the expected band",
	"LessThanLowerOrGreaterThanUpperThreshold": "outside the expected band",
}

// condition says in words when an alarm rings.
func (t *golden) condition(properties map[string]any) string {
	operator := t.text(properties["ComparisonOperator"])
	words, known := comparisons[operator]
	if !known {
		words = operator + " %s"
	}
	if strings.Contains(words, "%s") {
		words = fmt.Sprintf(words, t.threshold(properties["Threshold"]))
	}
	periods, _ := properties["EvaluationPeriods"].(float64)
	breaching, ok := properties["DatapointsToAlarm"].(float64)
	if !ok {
		breaching = periods
	}
	period := duration(t.period(properties))
	switch {
	case periods == 1:
		words += " in " + period
	case breaching == periods:
		words += fmt.Sprintf(" in each of %v periods of %s", periods, period)
	default:
		words += fmt.Sprintf(" in %v of %v periods of %s", breaching, periods, period)
	}
	switch t.text(properties["TreatMissingData"]) {
	case "breaching":
		words += "; no data counts as that"
	case "ignore":
		words += "; no data keeps the state"
	}
	return words
}

// period is in seconds, 0 when the template does not say.
func (t *golden) period(properties map[string]any) float64 {
	if seconds, ok := properties["Period"].(float64); ok {
		return seconds
	}
	queries, _ := properties["Metrics"].([]any)
	for _, query := range queries {
		query, _ := query.(map[string]any)
		if seconds, ok := query["Period"].(float64); ok {
			return seconds
		}
		stat, _ := query["MetricStat"].(map[string]any)
		if seconds, ok := stat["Period"].(float64); ok {
			return seconds
		}
	}
	return 0
}

func duration(seconds float64) string {
	d := time.Duration(seconds) * time.Second
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if d >= unit.length && d%unit.length == 0 {
			return fmt.Sprintf("%d %s", d/unit.length, unit.name)
		}
	}
	if d == 0 {
		return "the metric's period"
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// threshold writes a number as people read it. A multiple of 2^20 is an amount
// of bytes.
func (t *golden) threshold(value any) string {
	number, ok := value.(float64)
	if !ok {
		return "a value known on deployment"
	}
	for _, unit := range []struct {
		bytes float64
		name  string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}} {
		if number >= unit.bytes && math.Mod(number, unit.bytes) == 0 {
			return strconv.FormatFloat(number/unit.bytes, 'f', -1, 64) + " " + unit.name
		}
	}
	text := strconv.FormatFloat(number, 'f', -1, 64)
	whole, fraction, _ := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for at := len(whole) - 3; at > 0; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return sign + whole
}

// text writes a value of a template. What only a deployment knows is the name
// of the resource it comes from, or a parameter's.
func (t *golden) text(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	case []any:
		var b strings.Builder
		for _, element := range value {
			b.WriteString(t.text(element))
		}
		return b.String()
	case map[string]any:
		if join, ok := value["Fn::Join"].([]any); ok && len(join) == 2 {
			parts, _ := join[1].([]any)
			rendered := make([]string, len(parts))
			for i, part := range parts {
				rendered[i] = t.text(part)
			}
			return strings.Join(rendered, t.text(join[0]))
		}
		name := "…"
		mentions(value, func(id string) {
			if r := t.by(id); r != nil {
				name = cmp.Or(r.name, typeOf(r.kind).words)
			}
		})
		return name
	default:
		return fmt.Sprint(value)
	}
}
