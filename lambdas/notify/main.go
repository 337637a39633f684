// Command notify is the Lambda function that tells users what becomes of what
// they upload, in their browsers and through their tenant's webhook.
package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/redis"
	"github.com/loadbearing/loadbearing/app/stream"
	"github.com/loadbearing/loadbearing/app/webhook"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch"
	"github.com/loadbearing/loadbearing/lambdas/internal/consumer"
)

// EnvWebhookAllow names comma-separated address ranges (CIDR) that webhooks may
// reach although they are not public, also by http: for a receiver on the
// machine of a test. Unset in production.
const EnvWebhookAllow = "LOADBEARING_WEBHOOK_ALLOW"

// atOnce is how many events are told at the same time. A webhook may take
// webhook.Timeout; a batch of ten, one after the other, would take longer than
// the function may.
const atOnce = 10

func main() {
	redis.Quiet()
	consumer.Main(consumer.Consumer{
		Name:        app.ServiceNotify,
		Needs:       []contract.Setting{contract.CacheEndpoint, contract.CacheSecret},
		Concurrency: atOnce,
		New: func(e consumer.Environment) (batch.Handlers, error) {
			allowed, err := prefixes(os.Getenv(EnvWebhookAllow))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", EnvWebhookAllow, err)
			}
			cache := redis.New(e.Settings.Cache.Endpoint, e.Settings.Cache.Token.Reveal(), e.Settings.Cache.TLS)
			n := &notifier{
				notices: e.DB.Notices(), webhooks: e.DB.Webhooks(), streams: stream.New(cache, stream.Options{}),
				sender: webhook.New(time.Now, allowed...), log: e.Log,
			}
			return n.handlers(), nil
		},
	})
}

func prefixes(list string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("want comma-separated address ranges, such as 127.0.0.0/8: %w", err)
		}
		all = append(all, p)
	}
	return all, nil
}
