package edge

import (
	cf "github.com/aws/aws-cdk-go/awscdk/v2/awscloudfront"
	origins "github.com/aws/aws-cdk-go/awscdk/v2/awscloudfrontorigins"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// backends are the origins of the behaviors.
type backends struct {
	private, stream, files cf.IOrigin
}

func (b backends) of(behavior Behavior) cf.IOrigin {
	switch {
	case isStatic(behavior):
		return b.files
	case isStream(behavior):
		return b.stream
	default:
		return b.private
	}
}

// connect makes the origins. One serves private paths and streams alike, unless
// their timeouts differ, which are an origin's in CloudFront.
func connect(props Props, static awss3.IBucket) backends {
	var b backends
	if props.LoadBalancer != nil {
		b.private = balancer("private", props)
		b.stream = b.private
		streams := props
		streams.OriginReadTimeout, streams.ResponseCompletionTimeout = props.StreamReadTimeout, 0
		same := streams.OriginReadTimeout == props.OriginReadTimeout && props.ResponseCompletionTimeout == 0
		for _, behavior := range props.Behaviors {
			if isStream(behavior) && !same {
				b.stream, same = balancer("stream", streams), true
			}
		}
	}
	if static != nil {
		b.files = origins.S3BucketOrigin_WithOriginAccessControl(static, cdkx.Override(&origins.S3BucketOriginWithOACProps{
			OriginShieldRegion: cdkx.Optional(props.OriginShieldRegion),
		}, props.OverrideStaticOrigin))
	}
	return b
}

// balancer is the load balancer as an origin: over the internet, or by a VPC origin.
func balancer(name string, props Props) cf.IOrigin {
	protocol := cf.OriginProtocolPolicy_HTTP_ONLY
	if props.OriginDomain != "" {
		protocol = cf.OriginProtocolPolicy_HTTPS_ONLY
	}
	tls := &[]cf.OriginSslPolicy{cf.OriginSslPolicy_TLS_V1_2}
	headers := cdkx.StringMap(map[string]string{contract.OriginVerifyHeader: props.OriginHeaderValue})
	var attempts *float64
	if props.OriginConnectAttempts != OriginConnectAttempts {
		attempts = cdkx.Number(props.OriginConnectAttempts)
	}

	if props.VPCOrigin {
		vpc := &origins.VpcOriginWithEndpointProps{
			DomainName:         cdkx.Optional(props.OriginDomain),
			ProtocolPolicy:     protocol,
			OriginSslProtocols: tls,
			CustomHeaders:      headers,
			ConnectionAttempts: attempts,
			ConnectionTimeout:  cdkx.Duration(props.OriginConnectTimeout),
			KeepaliveTimeout:   cdkx.Duration(props.OriginKeepalive),
			ReadTimeout:        cdkx.Duration(props.OriginReadTimeout),
			OriginShieldRegion: cdkx.Optional(props.OriginShieldRegion),
		}
		if props.ResponseCompletionTimeout > 0 {
			vpc.ResponseCompletionTimeout = cdkx.Duration(props.ResponseCompletionTimeout)
		}
		if props.OverrideVPCOrigin != nil {
			props.OverrideVPCOrigin(name, vpc)
		}
		return origins.VpcOrigin_WithApplicationLoadBalancer(props.LoadBalancer, vpc)
	}

	public := &origins.HttpOriginProps{
		ProtocolPolicy:     protocol,
		OriginSslProtocols: tls,
		CustomHeaders:      headers,
		ConnectionAttempts: attempts,
		ConnectionTimeout:  cdkx.Duration(props.OriginConnectTimeout),
		KeepaliveTimeout:   cdkx.Duration(props.OriginKeepalive),
		ReadTimeout:        cdkx.Duration(props.OriginReadTimeout),
		OriginShieldRegion: cdkx.Optional(props.OriginShieldRegion),
	}
	if props.ResponseCompletionTimeout > 0 {
		public.ResponseCompletionTimeout = cdkx.Duration(props.ResponseCompletionTimeout)
	}
	if props.OverrideOrigin != nil {
		props.OverrideOrigin(name, public)
	}
	domain := props.OriginDomain
	if domain == "" {
		domain = *props.LoadBalancer.LoadBalancerDnsName()
	}
	return origins.NewHttpOrigin(&domain, public)
}
