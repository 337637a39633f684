package cost

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPriceTable(t *testing.T) {
	t.Parallel()
	p, err := LoadPrices()
	require.NoError(t, err)
	assert.Equal(t, []string{"us-east-1"}, p.Regions())
	for at, price := range p.byKey {
		_, err := time.Parse(time.DateOnly, price.Date)
		require.NoError(t, err, at)
	}
	documented, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	for _, u := range usages {
		_, ok := p.lookup("us-east-1", u.price)
		assert.True(t, ok, u.price)
		assert.Contains(t, string(documented), "//\t"+u.key+" | ", "the package documentation lists every key")
	}
	for kind := range rules {
		assert.False(t, free[kind], "%s is priced and free", kind)
	}
}

func TestPriceTableIsChecked(t *testing.T) {
	t.Parallel()
	const good = `"key": "k", "service": "s", "unit": "u", "usd": 1, "region": "r", "source": "https://aws.amazon.com/", "date": "2026-01-01"`
	parse := func(prices string) error {
		_, err := parsePrices(fmt.Appendf(nil, `{"copies": {"c": "a copy"}, "prices": [%s]}`, prices))
		return err
	}
	require.NoError(t, parse(`{`+good+`}, {`+good+`, "key": "l", "verified": true, "copy": "c"}`))
	for want, prices := range map[string]string{
		"r k stands in it twice":                                  `{` + good + `}, {` + good + `}`,
		"r k needs a service, a unit, a price above 0 and a date": `{` + good + `, "usd": 0}`,
		"r k needs its source":                                    `{` + good + `, "source": "memory"}`,
		"r k is verified exactly when it names a copy":            `{` + good + `, "verified": true}`,
		"read the price table: invalid character":                 `{`,
	} {
		require.ErrorContains(t, parse(prices), want)
	}
	require.ErrorContains(t, parse(`{`+good+`, "verified": false, "copy": "c"}`), "is verified exactly when it names a copy")
}

func TestRate(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]time.Duration{
		"rate(1 minute)": time.Minute, "rate(5 minutes)": 5 * time.Minute, "rate(2 hours)": 2 * time.Hour, "rate(1 day)": 24 * time.Hour,
		"rate(0 minutes)": 0, "rate(1 week)": 0, "cron(0 * * * ? *)": 0, "": 0,
	} {
		every, ok := rate(expression)
		assert.Equal(t, want, every, expression)
		assert.Equal(t, want > 0, ok, expression)
	}
}

func TestProcessors(t *testing.T) {
	t.Parallel()
	for class, want := range map[string]float64{
		"db.t4g.micro": 2, "db.m7g.large": 2, "db.m7g.xlarge": 4, "db.m7g.2xlarge": 8, "db.r7g.16xlarge": 64,
	} {
		assert.InDelta(t, want, processors(class), 0, class)
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "$1,234,567.90", usd(1234567.899))
	assert.Equal(t, "$0.05", usd(0.05))
	assert.Equal(t, "1,460.5", number(1460.5))
	assert.Equal(t, "$0.0000166667 per GB *", unitPrice(0.0000166667, "GB", false))
	assert.Equal(t, "$5.00 per month", unitPrice(5, "month", true))
	assert.Equal(t, "$0.40 per month", unitPrice(0.4, "month", true))
}
