package rotate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// pollInterval is how often the distribution is looked at. A change reaches all
// edge locations within about five minutes.
const pollInterval = 10 * time.Second

// statusDeployed is the status of a distribution whose configuration is in use
// at every edge location.
const statusDeployed = "Deployed"

// Distributions is the part of the CloudFront client that a rotation uses.
type Distributions interface {
	GetDistribution(context.Context, *cloudfront.GetDistributionInput, ...func(*cloudfront.Options)) (*cloudfront.GetDistributionOutput, error)
	UpdateDistribution(context.Context, *cloudfront.UpdateDistributionInput, ...func(*cloudfront.Options)) (*cloudfront.UpdateDistributionOutput, error)
}

// distribution is what CloudFront answered about it.
type distribution struct {
	status  string
	etag    *string
	config  *types.DistributionConfig
	headers []*types.OriginCustomHeader // the header of each origin that sends it, within config
}

func (r *Rotator) distribution(ctx context.Context) (*distribution, error) {
	got, err := r.Distributions.GetDistribution(ctx, &cloudfront.GetDistributionInput{Id: &r.Settings.Distribution})
	if err != nil {
		return nil, fmt.Errorf("read distribution %s: %w", r.Settings.Distribution, err)
	}
	if got.Distribution == nil || got.Distribution.DistributionConfig == nil || got.Distribution.DistributionConfig.Origins == nil {
		return nil, fmt.Errorf("distribution %s has no origins", r.Settings.Distribution)
	}
	d := &distribution{status: aws.ToString(got.Distribution.Status), etag: got.ETag, config: got.Distribution.DistributionConfig}
	for _, origin := range d.config.Origins.Items {
		if origin.CustomHeaders == nil {
			continue
		}
		for i := range origin.CustomHeaders.Items {
			if header := &origin.CustomHeaders.Items[i]; strings.EqualFold(aws.ToString(header.HeaderName), contract.OriginVerifyHeader) {
				d.headers = append(d.headers, header)
			}
		}
	}
	if len(d.headers) == 0 {
		return nil, fmt.Errorf("no origin of distribution %s sends %s", r.Settings.Distribution, contract.OriginVerifyHeader)
	}
	return d, nil
}

func (d *distribution) deployed() bool { return d.status == statusDeployed }

func (d *distribution) values() []string {
	var list []string
	for _, header := range d.headers {
		list = append(list, aws.ToString(header.HeaderValue))
	}
	return unique(list...)
}

func (d *distribution) sendsOnly(value string) bool {
	values := d.values()
	return len(values) == 1 && values[0] == value
}

// send lets the distribution send value. Its ETag makes CloudFront refuse when
// somebody else changed the distribution meanwhile.
func (r *Rotator) send(ctx context.Context, d *distribution, value string) error {
	for _, header := range d.headers {
		header.HeaderValue = &value
	}
	if _, err := r.Distributions.UpdateDistribution(ctx, &cloudfront.UpdateDistributionInput{
		Id:                 &r.Settings.Distribution,
		IfMatch:            d.etag,
		DistributionConfig: d.config,
	}); err != nil {
		return fmt.Errorf("change distribution %s: %w", r.Settings.Distribution, err)
	}
	return nil
}

// await looks at the distribution until it is ready. It fails when ctx ends
// first; the next attempt goes on waiting.
func (r *Rotator) await(ctx context.Context, ready func(*distribution) bool) (*distribution, error) {
	for {
		d, err := r.distribution(ctx)
		if err != nil {
			return nil, err
		}
		if ready(d) {
			return d, nil
		}
		if err := pause(ctx); err != nil {
			return nil, fmt.Errorf("wait until distribution %s is deployed: %w", r.Settings.Distribution, err)
		}
	}
}
