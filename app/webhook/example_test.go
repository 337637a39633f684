package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/loadbearing/loadbearing/app/webhook"
)

// genuine tells a receiver whether a request comes from who has the secret and
// was made within five minutes of now.
func genuine(secret string, h http.Header, body []byte, now time.Time) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return false
	}
	sent, err := strconv.ParseInt(h.Get("Webhook-Timestamp"), 10, 64)
	if err != nil || now.Sub(time.Unix(sent, 0)).Abs() > 5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.%s", h.Get("Webhook-Id"), sent, body)
	want := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	for got := range strings.FieldsSeq(h.Get("Webhook-Signature")) { // a request may have several: one has to match
		if hmac.Equal([]byte(got), want) {
			return true
		}
	}
	return false
}

// What a receiver does with a request before it believes it.
func ExampleSign() {
	const secret, id = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "0197a2b4-0000-7000-8000-000000000001"
	body := []byte(`{"specversion":"1.0"}`)
	sent := time.Unix(1_800_000_000, 0)
	signature, err := webhook.Sign(secret, id, sent, body)
	if err != nil {
		fmt.Println(err)
		return
	}
	h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {"1800000000"}, "Webhook-Signature": {"v1,AAAA " + signature}}

	fmt.Println("as sent:", genuine(secret, h, body, sent.Add(time.Minute)))
	fmt.Println("another body:", genuine(secret, h, []byte("{}"), sent))
	fmt.Println("an hour later:", genuine(secret, h, body, sent.Add(time.Hour)))
	// Output:
	// as sent: true
	// another body: false
	// an hour later: false
}
