package firewall

// Capacity units of a web ACL: the most AWS allows, and the most that the price of
// a request covers ("AWS WAF web ACL capacity units", developer guide).
const (
	maxCapacity      = 5000
	includedCapacity = 1500
)

// Units that statements take, from the developer guide's page on each. A text
// transformation other than NONE takes ten more.
const (
	unitsText      = 2
	unitsPath      = unitsText + 2*10 // decoded and normalized
	unitsPathRegex = 3 + 2*10
	unitsIPSet     = 1
	unitsGeo       = 1
	unitsSize      = 1
	unitsRate      = 2
	unitsRateKey   = 30 // each, unless the address is the only one
)

// groupUnits are those of the groups AWS manages, from the developer guide ("AWS
// Managed Rules rule groups list").
var groupUnits = map[Group]int{
	IPReputation:                            25,
	KnownBadInputs:                          200,
	Common:                                  700,
	SQLInjection:                            200,
	"AWSManagedRulesAnonymousIpList":        50,
	"AWSManagedRulesAdminProtectionRuleSet": 100,
	"AWSManagedRulesLinuxRuleSet":           200,
	"AWSManagedRulesUnixRuleSet":            100,
	"AWSManagedRulesWindowsRuleSet":         200,
	"AWSManagedRulesPHPRuleSet":             100,
	"AWSManagedRulesWordPressRuleSet":       100,
	"AWSManagedRulesBotControlRuleSet":      50,
	"AWSManagedRulesATPRuleSet":             50,
	"AWSManagedRulesACFPRuleSet":            50,
	"AWSManagedRulesAntiDDoSRuleSet":        50,
}

// capacity adds up the units of all rules.
func (p Props) capacity() int {
	units := 0
	for _, rule := range p.ruleList(placeholders) {
		units += rule.units
	}
	return units
}

// placeholders stand for the ARNs of a list's IP sets, as many as there will be.
func placeholders(set IPSet) []string {
	four, six := set.byVersion()
	count := len(set.ARNs)
	for _, addresses := range [][]string{four, six} {
		if len(addresses) > 0 {
			count++
		}
	}
	return make([]string, count)
}
