package cost_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/cost"
)

var update = flag.Bool("update", false, "rewrite the expected estimates")

func prices(t *testing.T) cost.Prices {
	t.Helper()
	p, err := cost.LoadPrices()
	require.NoError(t, err)
	return p
}

func read(t *testing.T, stacks ...string) []cost.Template {
	t.Helper()
	var templates []cost.Template
	for _, s := range stacks {
		template, err := cost.Read(s, filepath.Join("testdata", s+".json"))
		require.NoError(t, err)
		templates = append(templates, template)
	}
	return templates
}

func TestEstimates(t *testing.T) {
	t.Parallel()
	used, err := cost.ReadUsage(filepath.Join("testdata", "usage.json"))
	require.NoError(t, err)
	for name, test := range map[string]struct {
		stacks []string
		used   map[string]float64
	}{
		"compute":    {stacks: []string{"compute"}},
		"data":       {stacks: []string{"data"}},
		"operations": {stacks: []string{"operations"}, used: used["prod"]},
		"imports":    {stacks: []string{"outputs", "imports"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := cost.New("prod", "us-east-1", prices(t), read(t, test.stacks...), test.used)
			require.NoError(t, err)
			var out bytes.Buffer
			require.NoError(t, e.Print(&out))
			expected := filepath.Join("testdata", name+".txt")
			if *update {
				require.NoError(t, os.WriteFile(expected, out.Bytes(), 0o600))
			}
			want, err := os.ReadFile(expected)
			require.NoError(t, err)
			assert.Equal(t, string(want), out.String())

			sum := 0.0
			for _, s := range e.Stacks {
				for _, i := range s.Items {
					sum += i.Monthly
				}
			}
			assert.InDelta(t, e.Fixed, sum, 1e-6)
			assert.InDelta(t, e.Monthly, e.Fixed+e.Used, 1e-6)
		})
	}
}

func TestEstimateAsJSON(t *testing.T) {
	t.Parallel()
	e, err := cost.New("dev", "us-east-1", prices(t), read(t, "outputs"), map[string]float64{"snsRequests": 3_000_000})
	require.NoError(t, err)
	data, err := json.Marshal(e)
	require.NoError(t, err)
	assert.JSONEq(t, `{
		"env": "dev", "region": "us-east-1",
		"stacks": [{"stack": "outputs", "items": null, "monthly": 0}],
		"usage": [{"key": "snsRequests", "what": "SNS topics, requests of up to 64 KB", "unit": "1,000,000 requests",
			"usd": 0.5, "quantity": 3000000, "monthly": 1.5, "verified": true}],
		"fixed": 0, "used": 1.5, "monthly": 1.5, "unpriced": {}, "unknown": null, "unverified": null,
		"notes": ["List prices on demand of us-east-1, a month of 730 hours; without free tiers, commitments, support and tax."]
	}`, string(data))
}

func TestEstimateRefuses(t *testing.T) {
	t.Parallel()
	for want, test := range map[string]struct {
		region string
		used   map[string]float64
	}{
		"the price table has no prices of mars-north-1, but of us-east-1": {"mars-north-1", nil},
		`usage "natGigabytes": there are cloudFrontOutGB, `:               {"us-east-1", map[string]float64{"natGigabytes": 1}},
		"usage natGB: -1 is below 0":                                      {"us-east-1", map[string]float64{"natGB": -1}},
	} {
		_, err := cost.New("prod", test.region, prices(t), nil, test.used)
		require.ErrorContains(t, err, want)
	}
	_, err := cost.ReadUsage("doc.go")
	require.ErrorContains(t, err, "read the usage file")
	_, err = cost.Read("s", "doc.go")
	require.ErrorContains(t, err, "read the template")
}

// TestConstructsArePriced fails on a type that somebody adds to a construct
// without saying here what it costs.
func TestConstructsArePriced(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join("..", "..", "constructs", "*", "testdata", "*.golden.json"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		template, err := cost.Read(filepath.Base(path), path)
		require.NoError(t, err)
		for id, r := range template.Resources {
			assert.True(t, cost.Knows(r.Type), "%s: %s is of type %s, which is neither in rules nor in free", path, id, r.Type)
		}
	}
}
