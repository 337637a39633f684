// Package query calls actions of the emulator's extension that AWS has no API
// for. They stand beside the actions of an AWS service with a Query API, on the
// same endpoint and signed alike.
package query

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Client calls the actions of one service.
type Client struct {
	AWS     aws.Config // of the emulator
	Service string     // as its requests are signed: "autoscaling"
	Version string     // of its API: "2011-01-01"
}

// Call sends an action with one parameter, and returns the status and the body
// of the answer, whatever the status is.
func (c Client) Call(ctx context.Context, action, parameter string, value []byte) (status int, answer []byte, err error) {
	form := []byte(url.Values{"Action": {action}, "Version": {c.Version}, parameter: {string(value)}}.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, aws.ToString(c.AWS.BaseEndpoint), bytes.NewReader(form))
	if err != nil {
		return 0, nil, fmt.Errorf("call %s: %w", action, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	credentials, err := c.AWS.Credentials.Retrieve(ctx)
	if err != nil {
		return 0, nil, fmt.Errorf("call %s: %w", action, err)
	}
	sum := sha256.Sum256(form)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), c.Service, c.AWS.Region, time.Now()); err != nil {
		return 0, nil, fmt.Errorf("call %s: %w", action, err)
	}
	var client aws.HTTPClient = http.DefaultClient
	if c.AWS.HTTPClient != nil {
		client = c.AWS.HTTPClient
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("call %s: %w", action, err)
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("call %s: %w", action, err)
	}
	return res.StatusCode, answer, nil
}
