// A firewall before a load balancer that is there already, which only counts: what
// it would block shows in its log and metrics before anybody is blocked.
package main

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/firewall"
)

// The load balancer to protect.
const balancer = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/shop/0123456789abcdef"

func main() {
	cdkapp.Main(func(app awscdk.App) error {
		stack := cdkapp.Stack(app, "shop-firewall", cdkapp.StackProps{Region: "eu-west-1"})

		wall := firewall.New(stack, "Firewall", firewall.Props{
			Scope:       firewall.Regional,
			ObserveOnly: true, // take it away to block
			AllowedIPs:  []firewall.IPSet{{Name: "Office", Addresses: []string{"203.0.113.0/28"}}},
			BlockedIPs:  []firewall.IPSet{{Name: "Scanners", Addresses: []string{"198.51.100.0/24", "2001:db8::/32"}}},
			Countries:   firewall.Countries{Allowed: []string{"DE", "FR", "IE", "NL"}},
			RateLimits: []firewall.RateLimit{
				{Name: "Login", Path: "/login", Method: "POST", Limit: 20, Window: time.Minute},
				{Name: "PerAddress", Limit: 2000},
			},
		})
		wall.ProtectARN("Shop", balancer)

		cdkapp.Output(stack, "FirewallARN", wall.ARN(), "Of the web ACL")
		return nil
	})
}
