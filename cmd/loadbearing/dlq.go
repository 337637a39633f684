package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/loadbearing/loadbearing/internal/deadletter"
)

const dlqUsage = `usage: loadbearing dlq <verb> [flags]
  list     the environment's queues, their dead letters and the age of the oldest
  show     dead letters: why each is one, its attributes and body; none is consumed
  redrive  move dead letters back to their queue
  purge    delete dead letters for ever
redrive and purge say what they would do; --yes does it. Calls go to
AWS_ENDPOINT_URL, else to what ` + "`make up`" + ` runs, else to AWS.`

// dlqOptions are the flags of dlq.
type dlqOptions struct {
	env, queue string
	yes, json  bool
	aws        bool
	limit      int
	body       int
}

// runDLQ shows, redrives and purges the dead letters of an environment.
func runDLQ(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		fmt.Fprintln(stdout, dlqUsage)
		return nil
	}
	verb := args[0]
	verbs := []string{"list", "show", "redrive", "purge"}
	if !slices.Contains(verbs, verb) {
		return usageError{fmt.Errorf("no verb %q of dlq; there are: %s", verb, strings.Join(verbs, ", "))}
	}
	fs := newFlags("dlq " + verb)
	var o dlqOptions
	fs.StringVar(&o.env, "env", "dev", "environment: dev or prod")
	fs.BoolVar(&o.aws, "aws", false, "go to AWS also while `make up` runs")
	acts := verb == "redrive" || verb == "purge"
	queue := "all"
	if acts {
		queue = ""
		fs.BoolVar(&o.yes, "yes", false, "do it; without, only say what would be done")
	} else {
		fs.BoolVar(&o.json, "json", false, "print JSON")
	}
	if verb != "list" {
		fs.StringVar(&o.queue, "queue", queue, "name of a queue or of its dead-letter queue, or a part of it that no other has; all for every queue")
	}
	if verb == "show" {
		fs.IntVar(&o.limit, "limit", 10, "most messages of each queue")
		fs.IntVar(&o.body, "body", 300, "most characters of a body; 0 for all of it")
	}
	if err := parse(fs, args[1:], stderr); err != nil {
		return err
	}
	switch {
	case o.env != "dev" && o.env != "prod":
		return usageError{fmt.Errorf("--env %q: it is dev or prod", o.env)}
	case acts && o.queue == "":
		return usageError{fmt.Errorf("dlq %s: say of which queue: --queue name, or --queue all", verb)}
	case verb == "show" && (o.limit < 1 || o.body < 0):
		return usageError{errors.New("dlq show: --limit is 1 or more, --body 0 or more")}
	}
	cfg, where, err := endpoint(ctx, o.aws)
	if err != nil {
		return err
	}
	return o.run(ctx, verb, where, deadletter.New(cfg, o.env), stdout)
}

func (o dlqOptions) run(ctx context.Context, verb, where string, client *deadletter.Client, stdout io.Writer) error {
	queues, err := client.Queues(ctx)
	if err != nil {
		return fmt.Errorf("%s %s: %w", o.env, where, err)
	}
	if !o.json {
		if len(queues) > 0 {
			if a, err := arn.Parse(queues[0].ARN); err == nil {
				where += ", account " + a.AccountID
			}
		}
		fmt.Fprintf(stdout, "%s %s\n\n", o.env, where)
	}
	if verb == "list" {
		if o.json {
			return json.NewEncoder(stdout).Encode(queues)
		}
		return printQueues(stdout, queues, time.Now())
	}
	chosen, err := deadletter.Select(queues, o.queue)
	if err != nil {
		return usageError{err}
	}
	var errs []error
	for _, q := range chosen {
		switch verb {
		case "show":
			err = o.show(ctx, client, q, stdout)
		case "redrive":
			err = o.redrive(ctx, client, q, stdout)
		case "purge":
			err = o.purge(ctx, client, q, stdout)
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if !o.yes && (verb == "redrive" || verb == "purge") {
		fmt.Fprintln(stdout, "\nNothing was done; --yes does it.")
	}
	return errors.Join(errs...)
}

func printQueues(w io.Writer, queues []deadletter.Queue, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "QUEUE\tWAITING\tIN FLIGHT\tDEAD\tOLDEST\tDEAD-LETTER QUEUE")
	for _, q := range queues {
		fmt.Fprintf(t, "%s\t%d\t%d\t", q.Name, q.Waiting, q.InFlight)
		switch {
		case q.Dead != nil:
			oldest := "-"
			if q.Dead.Oldest != nil {
				oldest = age(now.Sub(*q.Dead.Oldest))
			}
			fmt.Fprintf(t, "%d\t%s\t%s\n", q.Dead.Waiting+q.Dead.InFlight, oldest, q.Dead.Name)
		case q.Elsewhere != "":
			fmt.Fprintf(t, "-\t-\tnot of this environment: %s\n", q.Elsewhere)
		default:
			fmt.Fprintln(t, "-\t-\tnone")
		}
	}
	return t.Flush()
}

func (o dlqOptions) show(ctx context.Context, client *deadletter.Client, q deadletter.Queue, stdout io.Writer) error {
	letters, err := client.Show(ctx, q, o.limit)
	if o.json {
		return errors.Join(err, json.NewEncoder(stdout).Encode(struct {
			Queue   string              `json:"queue"`
			Letters []deadletter.Letter `json:"letters"`
		}{q.Name, letters}))
	}
	fmt.Fprintf(stdout, "%s: %s, %d shown\n", q.Dead.Name, messages(q.Dead.Waiting+q.Dead.InFlight), len(letters))
	for _, l := range letters {
		fmt.Fprintf(stdout, "  %s\n    sent      %s (%s ago), received %d times\n    why       %s\n",
			l.ID, l.Sent.UTC().Format(time.RFC3339), age(time.Since(l.Sent)), l.Receives, printable(l.Why))
		for _, name := range slices.Sorted(maps.Keys(l.Attributes)) {
			fmt.Fprintf(stdout, "    attribute %s = %s\n", name, printable(cut(l.Attributes[name], o.body)))
		}
		fmt.Fprintf(stdout, "    body      %s\n", printable(cut(l.Body, o.body)))
	}
	return err
}

func (o dlqOptions) redrive(ctx context.Context, client *deadletter.Client, q deadletter.Queue, stdout io.Writer) error {
	if !o.yes {
		fmt.Fprintf(stdout, "would move %s from %s to %s\n", messages(q.Dead.Waiting), q.Dead.Name, q.Name)
		return nil
	}
	if q.Dead.Waiting == 0 {
		fmt.Fprintf(stdout, "%s is empty\n", q.Dead.Name)
		return nil
	}
	moved, err := client.Redrive(ctx, q)
	fmt.Fprintf(stdout, "moved %s from %s to %s\n", messages(moved), q.Dead.Name, q.Name)
	return err
}

func (o dlqOptions) purge(ctx context.Context, client *deadletter.Client, q deadletter.Queue, stdout io.Writer) error {
	n := messages(q.Dead.Waiting + q.Dead.InFlight)
	if !o.yes {
		fmt.Fprintf(stdout, "would delete %s from %s for ever\n", n, q.Dead.Name)
		return nil
	}
	fmt.Fprintf(stdout, "deleting %s from %s\n", n, q.Dead.Name)
	return client.Purge(ctx, q)
}

func messages(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

// age rounds to what a reader acts on.
func age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// cut shortens a text to n characters, 0 for no limit, and says by how much.
func cut(s string, n int) string {
	runes := []rune(s)
	if n == 0 || len(runes) <= n {
		return s
	}
	return fmt.Sprintf("%s… (%d more characters)", string(runes[:n]), len(runes)-n)
}

// printable keeps what senders wrote from steering the terminal.
func printable(s string) string {
	return cmp.Or(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s), "(empty)")
}
