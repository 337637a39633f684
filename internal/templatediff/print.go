package templatediff

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// style writes with ANSI colours or without.
type style bool

func (s style) paint(code, text string) string {
	if !s {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) red(text string) string    { return s.paint("1;31", text) }
func (s style) yellow(text string) string { return s.paint("33", text) }
func (s style) green(text string) string  { return s.paint("32", text) }
func (s style) bold(text string) string   { return s.paint("1", text) }

// Print writes the report for a reviewer: what is lost first, then what
// CloudFormation will refuse, then stack by stack permissions, security groups
// and the rest. Colour is ANSI.
func (r *Report) Print(w io.Writer, colour bool) error {
	var out bytes.Buffer
	s := style(colour)
	r.printLosses(&out, s)
	for _, stack := range r.Stacks {
		stack.print(&out, s)
	}
	if len(r.Stacks) == 0 {
		fmt.Fprint(&out, "No stack changes.\n\n")
	}
	if n := r.Noise; n != (Noise{}) {
		fmt.Fprintf(&out, "Not listed: %s, %s.\n", count(n.Assets, "asset hash", "asset hashes"), count(n.Metadata, "metadata entry", "metadata entries"))
	}
	_, err := w.Write(out.Bytes())
	return err
}

func (r *Report) printLosses(w io.Writer, s style) {
	if len(r.Losses) > 0 {
		fmt.Fprintln(w, s.red(fmt.Sprintf("STATEFUL: %s replaced or removed", count(len(r.Losses), "resource is", "resources are"))))
		for _, c := range r.Losses {
			fmt.Fprintln(w, s.red("  "+c.Stack+": "+c.Loss.Noun+" "+c.label()+" is "+c.what()+": "+c.Loss.Outcome))
			c.printReasons(w, "    ")
		}
		fmt.Fprintln(w)
	}
	if len(r.Maybe) > 0 {
		fmt.Fprintln(w, s.yellow("STATEFUL, MAY BE REPLACED: CloudFormation decides by values it alone knows"))
		for _, c := range r.Maybe {
			fmt.Fprintln(w, s.yellow("  "+c.Stack+": "+c.Loss.Noun+" "+c.label()+"; if so, "+c.Loss.Outcome))
			c.printReasons(w, "    ")
		}
		fmt.Fprintln(w)
	}
	if len(r.Blocked) > 0 {
		fmt.Fprintln(w, s.red("CLOUDFORMATION WILL REFUSE"))
		for _, why := range r.Blocked {
			fmt.Fprintln(w, s.red("  "+why))
		}
		fmt.Fprintln(w)
	}
}

func (c Change) label() string {
	if c.Name == c.ID {
		return c.ID
	}
	return c.Name + " (" + c.ID + ")"
}

// what is the action with where to, as in "is …".
func (c Change) what() string {
	switch c.Action {
	case Renamed:
		return "created again as " + c.NewID + ", since its logical id changed"
	case Moved:
		return "created again in " + c.NewStack + " as " + c.NewID
	default:
		return string(c.Action)
	}
}

func (c Change) printReasons(w io.Writer, indent string) {
	for _, because := range c.Because {
		fmt.Fprintln(w, indent+"because "+short(because))
	}
	if len(c.follows) > 0 {
		fmt.Fprintln(w, indent+"because "+strings.Join(c.follows, ", ")+" refers to what is replaced")
	}
}

func (r StackReport) print(w io.Writer, s style) {
	fmt.Fprintln(w, s.bold(r.Stack)+": "+r.summary())
	if r.Gone {
		fmt.Fprintln(w, s.yellow("  It is no longer in the app: `cdk deploy` leaves it as it is, `cdk destroy` deletes it"))
	}
	printPermissions(w, s, "IAM", r.IAM)
	printPermissions(w, s, "Security groups", r.Network)
	for _, action := range []Action{Replaced, MayReplace, Removed, Renamed, Moved, Added, Changed} {
		heading := "  " + strings.ToUpper(string(action[:1])) + string(action[1:]) + "\n"
		inTurn := map[string][]string{} // names by type
		for _, c := range r.Changes {
			if c.Action != action {
				continue
			}
			fmt.Fprint(w, heading)
			heading = ""
			if c.inTurn() {
				inTurn[c.Type] = append(inTurn[c.Type], c.Name)
				continue
			}
			c.print(w, s)
		}
		for _, kind := range slices.Sorted(maps.Keys(inTurn)) {
			names := inTurn[kind]
			fmt.Fprintln(w, s.yellow(fmt.Sprintf("    in turn, referring to what is replaced: %d %s", len(names), kind)))
			fmt.Fprintln(w, "      "+short(strings.Join(names, ", ")))
		}
	}
	if len(r.Sections) > 0 {
		fmt.Fprintln(w, "  Beside the resources")
		printDifferences(w, r.Sections)
	}
	fmt.Fprintln(w)
}

// inTurn tells whether a resource without data is replaced for no reason of its
// own.
func (c Change) inTurn() bool {
	return len(c.follows) > 0 && len(c.Because)+len(c.Differences) == 0 && c.Loss == nil
}

// summary counts the changes of each kind.
func (r StackReport) summary() string {
	var parts []string
	if r.New {
		parts = append(parts, "new stack")
	}
	for _, action := range []Action{Replaced, MayReplace, Removed, Renamed, Moved, Added, Changed} {
		n := 0
		for _, c := range r.Changes {
			if c.Action == action {
				n++
			}
		}
		if n > 0 {
			what := string(action)
			if action == Renamed {
				what = "with a new logical id"
			}
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	if n := len(r.IAM); n > 0 {
		parts = append(parts, count(n, "IAM change", "IAM changes"))
	}
	if n := len(r.Network); n > 0 {
		parts = append(parts, count(n, "security group change", "security group changes"))
	}
	return cmp.Or(strings.Join(parts, ", "), "outside its resources only")
}

func (c Change) print(w io.Writer, s style) {
	line := "    " + c.Type + " " + c.label()
	switch c.Action {
	case Renamed:
		line += " → " + c.NewID
	case Moved:
		line += " → " + c.NewID + " in " + c.NewStack
	}
	switch {
	case c.Loss != nil && c.Action != MayReplace:
		line = s.red(line)
	case c.Action == Added:
		line = s.green(line)
	case c.Action != Changed:
		line = s.yellow(line)
	}
	fmt.Fprintln(w, line)
	c.printReasons(w, "      ")
	printDifferences(w, slices.DeleteFunc(slices.Clone(c.Differences), func(d Difference) bool {
		return slices.Contains(c.Because, d.Path+": "+render(d.Old)+" → "+render(d.New))
	}))
}

func printDifferences(w io.Writer, all []Difference) {
	for _, d := range all {
		old, changed := render(d.Old), render(d.New)
		if strings.Contains(old, "\n") || strings.Contains(changed, "\n") {
			fmt.Fprintf(w, "      %s\n", d.Path)
			printLines(w, old, changed)
			continue
		}
		fmt.Fprintf(w, "      %s: %s → %s\n", d.Path, short(old), short(changed))
	}
}

// printLines tells two texts apart line by line.
func printLines(w io.Writer, old, changed string) {
	const most = 12
	a, b := strings.Split(old, "\n"), strings.Split(changed, "\n")
	var lines []string
	for _, l := range subtract(a, b) {
		lines = append(lines, "- "+l)
	}
	for _, l := range subtract(b, a) {
		lines = append(lines, "+ "+l)
	}
	if len(lines) == 0 {
		lines = []string{"the same lines in another order"}
	}
	for i, l := range lines {
		if i == most {
			fmt.Fprintf(w, "        … %s\n", count(len(lines)-most, "more line", "more lines"))
			return
		}
		fmt.Fprintln(w, "        "+short(l))
	}
}

// printPermissions groups by whose they are.
func printPermissions(w io.Writer, s style, heading string, all []Permission) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(w, "  "+heading)
	bySubject := map[string][]Permission{}
	for _, p := range all {
		bySubject[p.Subject] = append(bySubject[p.Subject], p)
	}
	for _, subject := range slices.Sorted(maps.Keys(bySubject)) {
		fmt.Fprintln(w, "    "+subject)
		for _, p := range bySubject[subject] {
			if p.Added {
				fmt.Fprintln(w, s.green("      + "+p.Text))
			} else {
				fmt.Fprintln(w, s.yellow("      - "+p.Text))
			}
		}
	}
}

// short keeps a line readable: the middle of a long value says little.
func short(text string) string {
	const most = 200
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most/2]) + " … " + string(runes[len(runes)-most/2:])
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
