// Command docs writes docs/constructs: one page per construct, and an index.
//
//	go run ./tools/docs          write the pages
//	go run ./tools/docs -check   name what is missing and which page is stale; exit 1 when anything is
//
// A page says nothing that the code does not: its words are doc comments, its
// example is the one the tests run, and its resources, picture and alarms are
// those of the golden template. It is run in the folder of the module's go.mod.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	check := flag.Bool("check", false, "compare instead of writing; exit 1 when anything is missing or stale")
	flag.Parse()
	os.Exit(run(".", *check, os.Stdout, os.Stderr))
}

// run writes or checks the pages of the module in root. It returns the exit
// code: 0, or 1 with what is wrong on stderr.
func run(root string, check bool, stdout, stderr io.Writer) int {
	pages, problems, err := generate(root)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	folder := filepath.Join(root, filepath.FromSlash(pagesFolder))
	if check {
		stale, err := differences(folder, pages)
		if err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
		problems = append(problems, stale...)
		for _, p := range problems {
			fmt.Fprintln(stderr, p)
		}
		if len(problems) > 0 {
			fmt.Fprintf(stderr, "docs: %d problems\n", len(problems))
			return 1
		}
		fmt.Fprintf(stdout, "docs: %d pages say what the code says\n", len(pages))
		return 0
	}
	changed, err := write(folder, pages)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	fmt.Fprintf(stdout, "docs: %d pages, %d changed\n", len(pages), changed)
	if len(problems) > 0 {
		fmt.Fprintf(stderr, "docs: %d problems; go run ./tools/docs -check lists them\n", len(problems))
	}
	return 0
}

// problem is one thing that is missing, where, and what to write.
type problem struct {
	where string // a package's folder, or a page
	what  string // the field, heading or alarm; may be empty
	text  string
}

func (p problem) String() string {
	if p.what == "" {
		return p.where + ": " + p.text
	}
	return p.where + ": " + p.what + ": " + p.text
}

// generate returns the text of every page by its file name, and what is missing
// from the packages they are made of.
func generate(root string) (map[string]string, []problem, error) {
	packages, err := load(root)
	if err != nil {
		return nil, nil, err
	}
	pages := map[string]string{}
	var problems []problem
	var all []*page
	for _, pkg := range packages {
		p, found, err := newPage(pkg)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", pkg.dir, err)
		}
		problems = append(problems, found...)
		text, err := p.render()
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", pkg.dir, err)
		}
		pages[pkg.page()] = text
		all = append(all, p)
	}
	pages[indexPage] = renderIndex(all)
	return pages, problems, nil
}
