package cost

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Item is one thing that costs the same every month.
type Item struct {
	What     string  `json:"what"`
	Quantity float64 `json:"quantity"`
	Unit     string  `json:"unit"`
	USD      float64 `json:"usd"`     // per unit
	Monthly  float64 `json:"monthly"` // USD
	Verified bool    `json:"verified"`
	Price    string  `json:"price"` // key of the price table
}

// Stack is what one stack costs whatever it is used for.
type Stack struct {
	Stack   string  `json:"stack"`
	Items   []Item  `json:"items"`
	Monthly float64 `json:"monthly"`
}

// Line is one thing whose cost depends on use.
type Line struct {
	Key      string   `json:"key"` // in the usage file
	What     string   `json:"what"`
	Unit     string   `json:"unit"`
	USD      float64  `json:"usd"`
	Quantity *float64 `json:"quantity,omitempty"` // as the usage file gives it
	Monthly  float64  `json:"monthly"`
	Verified bool     `json:"verified"`
}

// Estimate is what an environment costs a month at list price.
type Estimate struct {
	Env        string         `json:"env"`
	Region     string         `json:"region"`
	Stacks     []Stack        `json:"stacks"`
	Usage      []Line         `json:"usage"`
	Fixed      float64        `json:"fixed"`      // of all stacks
	Used       float64        `json:"used"`       // of the usage the file gives
	Monthly    float64        `json:"monthly"`    // both
	Unpriced   map[string]int `json:"unpriced"`   // resources of types this program knows nothing of
	Unknown    []string       `json:"unknown"`    // what the templates or the table do not tell
	Unverified []string       `json:"unverified"` // keys of the prices used that could not be re-read
	Notes      []string       `json:"notes"`
}

// New estimates an environment. used is how much it is used, by Line.Key.
func New(env, region string, prices Prices, templates []Template, used map[string]float64) (*Estimate, error) {
	if !slices.Contains(prices.Regions(), region) {
		return nil, fmt.Errorf("the price table has no prices of %s, but of %s", region, strings.Join(prices.Regions(), ", "))
	}
	if err := checkUsage(used); err != nil {
		return nil, err
	}
	e := &estimator{
		Estimate:  Estimate{Env: env, Region: region, Unpriced: map[string]int{}},
		templates: templates, prices: prices, usages: map[string]bool{}, unverified: map[string]bool{},
	}
	for i := range templates {
		e.stack(&templates[i])
	}
	for _, u := range usages {
		if e.usages[u.key] {
			e.line(u, used)
		}
	}
	for key := range used {
		if !e.usages[key] {
			e.Unknown = append(e.Unknown, fmt.Sprintf("the usage file gives %s, which nothing in %s uses", key, env))
		}
	}
	e.note()
	slices.Sort(e.Unknown)
	e.Unknown = slices.Compact(e.Unknown)
	e.Unverified = slices.Sorted(maps.Keys(e.unverified))
	e.Monthly = e.Fixed + e.Used
	return &e.Estimate, nil
}

type estimator struct {
	Estimate
	templates  []Template
	prices     Prices
	items      *[]Item // of the stack at hand
	usages     map[string]bool
	unverified map[string]bool
	dashboards int
	rotating   bool    // a key is rotated
	instances  float64 // of Auto Scaling groups
	most       float64 // to which they may grow
}

func (e *estimator) stack(t *Template) {
	s := Stack{Stack: t.Stack}
	e.items = &s.Items
	for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
		r := t.Resources[id]
		if r.Condition != "" {
			met, ok := e.condition(t, map[string]any{"Condition": r.Condition})
			if ok && !met {
				continue
			}
		}
		at := resource{e, t, id, r.Type, r.Properties}
		switch rule, ok := rules[r.Type]; {
		case ok:
			rule(at)
		case !isFree(r.Type):
			e.Unpriced[r.Type]++
		}
	}
	slices.SortStableFunc(s.Items, func(a, b Item) int { return strings.Compare(a.What, b.What) })
	for _, i := range s.Items {
		s.Monthly += i.Monthly
	}
	e.Fixed += s.Monthly
	e.Stacks = append(e.Stacks, s)
}

// add prices a quantity of something that exists all month.
func (r resource) add(what string, quantity float64, key string) { r.addAt(what, quantity, key, 1) }

func (r resource) addAt(what string, quantity float64, key string, share float64) {
	e := r.e
	if quantity == 0 {
		return
	}
	price, ok := e.prices.lookup(e.Region, key)
	if !ok {
		e.unknown(r, fmt.Sprintf("the price table has no %s in %s (%s)", key, e.Region, what))
		return
	}
	if !price.Verified {
		e.unverified[key] = true
	}
	monthly := quantity * price.USD * share
	if strings.HasSuffix(price.Unit, "hour") {
		monthly *= HoursPerMonth
	}
	for i := range *e.items {
		if same := &(*e.items)[i]; same.What == what && same.Price == key {
			same.Quantity += quantity
			same.Monthly += monthly
			return
		}
	}
	*e.items = append(*e.items, Item{what, quantity, price.Unit, price.USD, monthly, price.Verified, key})
}

// uses says that the resource costs by use.
func (r resource) uses(keys ...string) {
	for _, k := range keys {
		r.e.usages[k] = true
	}
}

func (e *estimator) unknown(r resource, why string) {
	e.Unknown = append(e.Unknown, fmt.Sprintf("%s %s (%s): %s", r.t.Stack, r.id, r.kind, why))
}

func (e *estimator) line(u usage, used map[string]float64) {
	price, ok := e.prices.lookup(e.Region, u.price)
	if !ok {
		e.Unknown = append(e.Unknown, fmt.Sprintf("the price table has no %s in %s (%s)", u.price, e.Region, u.what))
		return
	}
	l := Line{Key: u.key, What: u.what, Unit: price.Unit, USD: price.USD, Verified: price.Verified}
	if quantity, ok := used[u.key]; ok {
		l.Quantity, l.Monthly = &quantity, quantity/u.per*price.USD
		e.Used += l.Monthly
	}
	if !price.Verified {
		e.unverified[u.price] = true
	}
	e.Usage = append(e.Usage, l)
}

func (e *estimator) note() {
	e.Notes = []string{
		fmt.Sprintf("List prices on demand of %s, a month of %d hours; without free tiers, commitments, support and tax.", e.Region, HoursPerMonth),
	}
	if e.most > e.instances {
		e.Notes = append(e.Notes, fmt.Sprintf("Auto Scaling groups count at their desired capacity, %g instances; they may grow to %g.", e.instances, e.most))
	}
	if e.rotating {
		e.Notes = append(e.Notes, "A KMS key that is rotated costs as much again after each of its first two rotations.")
	}
	if e.dashboards > 0 {
		e.Notes = append(e.Notes, "The first 3 dashboards of an account are free and count nothing here.")
	}
}
