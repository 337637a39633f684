package main

import (
	"fmt"
	"slices"
	"strings"
)

// makes is the table of the construct's resources.
func makes(t *golden) string {
	count := map[string]int{}
	var kinds []string
	for _, r := range t.inside() {
		if count[r.kind] == 0 {
			kinds = append(kinds, r.kind)
		}
		count[r.kind]++
	}
	// What is drawn comes first: it is what people pay for and look at.
	slices.SortFunc(kinds, func(a, b string) int {
		first, second := typeOf(a).role != drawn, typeOf(b).role != drawn
		if first != second {
			if first {
				return 1
			}
			return -1
		}
		return strings.Compare(a, b)
	})
	var rows [][]string
	for _, kind := range kinds {
		rows = append(rows, []string{fmt.Sprint(count[kind]), escape(typeOf(kind).words), code(kind)})
	}
	return table([]string{"count", "resource", "type"}, rows)
}

func (p *pkg) caption(t *golden, picture picture) string {
	text := "Table and picture are read from the " + p.fileLink("golden template", t.file) +
		" of the tests. Arrows are references; policies, permissions, alarms, log groups and the like are left out."
	if picture.outside() {
		text += " What is dashed is not the construct's: its test passes it in or connects it."
	}
	if len(picture.more) > 0 {
		text += " Not in the picture: " + escape(strings.Join(picture.more, ", ")) + "."
	}
	return text
}

func alarmTable(alarms []alarm) string {
	if len(alarms) == 0 {
		return ""
	}
	var rows [][]string
	for _, a := range alarms {
		names := make([]string, len(a.names))
		for i, name := range a.names {
			names[i] = code(name)
		}
		rows = append(rows, []string{
			strings.Join(names, "<br>"), a.metric, a.condition, escape(a.severity), escape(oneLine(a.description)),
		})
	}
	return table([]string{"alarm", "metric", "rings when", "severity", "what it means"}, rows)
}
