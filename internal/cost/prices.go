package cost

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

//go:embed prices.json
var table []byte

// HoursPerMonth is how AWS's own calculator counts a month: 365 days of 24
// hours in 12 parts.
const HoursPerMonth = 730

// Price is one list price on demand, without free tier, commitment or tax.
type Price struct {
	Key      string  `json:"key"`
	Service  string  `json:"service"` // service code of the AWS price list
	Unit     string  `json:"unit"`
	USD      float64 `json:"usd"`
	Region   string  `json:"region"`   // a Region, or "global"
	Source   string  `json:"source"`   // the AWS pricing page, or the offer file of the AWS price list
	Date     string  `json:"date"`     // of the copy that was read; of writing it down, when none was
	Copy     string  `json:"copy"`     // which stored copy was read, a key of the file's "copies"
	Verified bool    `json:"verified"` // false: written from memory of the public list, no copy could be read
}

// Prices is the table of the repository.
type Prices struct {
	byKey   map[string]Price // by region and key
	regions []string
}

// LoadPrices reads the table, which is part of the program.
func LoadPrices() (Prices, error) { return parsePrices(table) }

func parsePrices(data []byte) (Prices, error) {
	var file struct {
		Copies map[string]string
		Prices []Price
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return Prices{}, fmt.Errorf("read the price table: %w", err)
	}
	p := Prices{byKey: map[string]Price{}}
	regions := map[string]bool{}
	for _, price := range file.Prices {
		at := price.Region + " " + price.Key
		switch {
		case p.byKey[at].Key != "":
			return p, fmt.Errorf("read the price table: %s stands in it twice", at)
		case price.Unit == "" || price.Service == "" || price.USD <= 0 || price.Date == "":
			return p, fmt.Errorf("read the price table: %s needs a service, a unit, a price above 0 and a date", at)
		case !strings.HasPrefix(price.Source, "https://"):
			return p, fmt.Errorf("read the price table: %s needs its source", at)
		case price.Verified != (file.Copies[price.Copy] != ""):
			return p, fmt.Errorf("read the price table: %s is verified exactly when it names a copy", at)
		}
		p.byKey[at] = price
		if price.Region != "global" {
			regions[price.Region] = true
		}
	}
	p.regions = slices.Sorted(maps.Keys(regions))
	return p, nil
}

// Regions are the Regions the table has prices of.
func (p Prices) Regions() []string { return p.regions }

func (p Prices) lookup(region, key string) (Price, bool) {
	for _, at := range []string{region, "global"} {
		if price, ok := p.byKey[at+" "+key]; ok {
			return price, true
		}
	}
	return Price{}, false
}
