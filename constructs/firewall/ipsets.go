package firewall

import (
	"slices"
	"strings"

	waf "github.com/aws/aws-cdk-go/awscdk/v2/awswafv2"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// byVersion sorts the addresses into IPv4 and IPv6 ranges: a set of WAF has one kind.
func (s IPSet) byVersion() (four, six []string) {
	for _, address := range s.Addresses {
		prefix, _ := parseRange(address)
		if prefix.Addr().Is4() {
			four = append(four, prefix.String())
		} else {
			six = append(six, prefix.String())
		}
	}
	return four, six
}

// makeIPSets makes the sets of a list, and returns their ARNs and those of the
// existing ones.
func (f *Firewall) makeIPSets(list IPSet) []string {
	arns := slices.Clone(list.ARNs)
	four, six := list.byVersion()
	for _, set := range []struct {
		version   string
		addresses []string
	}{{"IPV4", four}, {"IPV6", six}} {
		if len(set.addresses) == 0 {
			continue
		}
		made := waf.NewCfnIPSet(f, new("IPSet-"+list.Name+"-"+set.version), &waf.CfnIPSetProps{
			Addresses:        cdkx.Strings(set.addresses...),
			IpAddressVersion: &set.version,
			Scope:            new(string(f.scope)),
			// WAF allows no underscore here, and no text under three characters.
			Description: new("Addresses of " + strings.ReplaceAll(list.Name, "_", "-")),
		})
		f.IPSets[list.Name] = append(f.IPSets[list.Name], made)
		arns = append(arns, *made.AttrArn())
	}
	return arns
}
