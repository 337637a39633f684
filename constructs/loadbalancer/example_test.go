package loadbalancer_test

import (
	"fmt"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/constructs/network"
)

// A load balancer that accepts connections from CloudFront only.
func Example() {
	const region = "eu-west-1"
	stack := cdkapp.Stack(cdktest.App(), "web", cdkapp.StackProps{Region: region})
	prefixList, _ := loadbalancer.CloudFrontPrefixList(region)

	balancer := loadbalancer.New(stack, "Balancer", loadbalancer.Props{
		VPC:               network.New(stack, "Network", network.Props{}).VPC,
		CertificateARN:    "arn:aws:acm:eu-west-1:123456789012:certificate/0b1c2d3e",
		IngressPrefixList: prefixList,
	})

	fmt.Println("HTTPS:", balancer.HTTPS())
	cdktest.Print(stack, "AWS::ElasticLoadBalancingV2::TargetGroup", "AWS::ElasticLoadBalancingV2::ListenerRule")
	// Output:
	// HTTPS: true
	// 2 AWS::ElasticLoadBalancingV2::TargetGroup
	// 3 AWS::ElasticLoadBalancingV2::ListenerRule
}
