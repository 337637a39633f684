package edge

import (
	"flag"
	"os"
	"testing"
)

// TestMain runs many cases at a time: they wait for health checks above all.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "24"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// conformanceCase is a sentence of the documentation.
type conformanceCase struct {
	name       string
	page       string   // where it stands
	aws, local string   // why it is skipped there
	attributes []string // of the load balancer, as key=value
	run        func(f *fixture)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	e := open(t)
	t.Run("parallel", func(t *testing.T) {
		for _, list := range [][]conformanceCase{ruleCases, targetCases, requestCases} {
			for _, c := range list {
				if len(c.attributes) == 0 {
					t.Run(c.name, func(t *testing.T) {
						t.Parallel()
						c.check(t, e)
					})
				}
			}
		}
	})
	// Attributes are those of every case.
	for _, c := range requestCases {
		if len(c.attributes) > 0 {
			t.Run(c.name, func(t *testing.T) { c.check(t, e) })
		}
	}
}

func (c conformanceCase) check(t *testing.T, e *environment) {
	t.Log(c.page)
	if !e.local && c.aws != "" {
		t.Skip(c.aws)
	}
	if e.local && c.local != "" {
		t.Skip(c.local)
	}
	f := e.fixture(t)
	if len(c.attributes) > 0 {
		f.attributes(c.attributes)
	}
	c.run(f)
}
