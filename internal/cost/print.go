package cost

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Print writes the estimate as tables: what every stack costs whatever it is
// used for, what depends on use, and last and loudly what is missing.
func (e *Estimate) Print(w io.Writer) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s in %s: %s a month", e.Env, e.Region, usd(e.Fixed))
	if e.Used > 0 {
		fmt.Fprintf(&out, " and %s for the usage given, %s in all", usd(e.Used), usd(e.Monthly))
	}
	fmt.Fprint(&out, "\n\n")
	for _, s := range e.Stacks {
		if len(s.Items) == 0 {
			fmt.Fprintf(&out, "%s costs by use alone\n\n", s.Stack)
			continue
		}
		rows := [][4]string{{s.Stack, "QUANTITY", "UNIT PRICE", "MONTHLY"}}
		for _, i := range s.Items {
			rows = append(rows, [4]string{i.What, number(i.Quantity), unitPrice(i.USD, i.Unit, i.Verified), usd(i.Monthly)})
		}
		rows = append(rows, [4]string{"", "", "", usd(s.Monthly)})
		columns(&out, rows)
	}
	e.printUsage(&out)
	e.printMissing(&out)
	for _, n := range e.Notes {
		fmt.Fprintln(&out, n)
	}
	if n := len(e.Unverified); n > 0 {
		fmt.Fprintf(&out, "* %d of the prices used are from memory of the public list and were not read again; the others were read on the dates in internal/cost/prices.json.\n", n)
	}
	fmt.Fprintln(&out)
	_, err := w.Write(out.Bytes())
	return err
}

func (e *Estimate) printUsage(w io.Writer) {
	if len(e.Usage) == 0 {
		return
	}
	rows := [][4]string{{"By use (key of the usage file)", "QUANTITY", "UNIT PRICE", "MONTHLY"}}
	for _, l := range e.Usage {
		row := [4]string{l.What + " (" + l.Key + ")", "", unitPrice(l.USD, l.Unit, l.Verified), ""}
		if l.Quantity != nil {
			row[1], row[3] = number(*l.Quantity), usd(l.Monthly)
		}
		rows = append(rows, row)
	}
	rows = append(rows, [4]string{"", "", "", usd(e.Used)})
	columns(w, rows)
}

func (e *Estimate) printMissing(w io.Writer) {
	if len(e.Unpriced) > 0 {
		fmt.Fprintln(w, "!!! NOT PRICED: the estimate is too low by what these cost")
		for _, kind := range slices.Sorted(maps.Keys(e.Unpriced)) {
			fmt.Fprintf(w, "!!!   %d %s\n", e.Unpriced[kind], kind)
		}
		fmt.Fprintln(w)
	}
	if len(e.Unknown) > 0 {
		fmt.Fprintln(w, "Not known, and so not counted or counted at its least:")
		for _, why := range e.Unknown {
			fmt.Fprintln(w, "  "+why)
		}
		fmt.Fprintln(w)
	}
}

// columns writes rows with the first column left, the others right aligned,
// and an empty line after them.
func columns(w io.Writer, rows [][4]string) {
	var width [4]int
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		line := fmt.Sprintf("%-*s  %*s  %-*s  %*s", width[0], row[0], width[1], row[1], width[2], row[2], width[3], row[3])
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	fmt.Fprintln(w)
}

func unitPrice(price float64, unit string, verified bool) string {
	mark := ""
	if !verified {
		mark = " *"
	}
	text := strconv.FormatFloat(price, 'f', -1, 64)
	if whole, cents, _ := strings.Cut(text, "."); len(cents) < 2 {
		text = whole + "." + cents + strings.Repeat("0", 2-len(cents))
	}
	return "$" + text + " per " + unit + mark
}

func usd(amount float64) string {
	text := strconv.FormatFloat(amount, 'f', 2, 64)
	whole, cents, _ := strings.Cut(text, ".")
	return "$" + thousands(whole) + "." + cents
}

func number(n float64) string {
	whole, rest, fraction := strings.Cut(strconv.FormatFloat(n, 'f', -1, 64), ".")
	if fraction {
		return thousands(whole) + "." + rest
	}
	return thousands(whole)
}

func thousands(whole string) string {
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return whole
}
