package firewall_test

import (
	"fmt"
	"time"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/firewall"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
)

func Example() {
	stack := cdkapp.Stack(cdktest.App(), "shop", cdkapp.StackProps{Region: "us-east-1"})
	wall := firewall.New(stack, "Firewall", firewall.Props{
		BlockedIPs: []firewall.IPSet{{Name: "Scanners", Addresses: []string{"192.0.2.0/24", "2001:db8::/32"}}},
		RateLimits: []firewall.RateLimit{
			{Name: "Login", Path: "/login", Method: "POST", Limit: 20, Window: time.Minute},
			{Name: "Tenant", Path: "/api/*", Limit: 6000, Keys: []firewall.Key{firewall.ByHeader("X-Tenant")}},
		},
		LargeBodies: []string{"/api/images/*"},
	})

	cdktest.Print(stack, "AWS::WAFv2::WebACL", "AWS::WAFv2::IPSet", "AWS::WAFv2::LoggingConfiguration")
	fmt.Println(wall.Capacity(), "of 1500 capacity units")
	// Output:
	// 1 AWS::WAFv2::WebACL
	// 2 AWS::WAFv2::IPSet
	// 1 AWS::WAFv2::LoggingConfiguration
	// 1231 of 1500 capacity units
}
