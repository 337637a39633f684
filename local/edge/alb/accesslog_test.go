package alb_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/edge/alb"
)

// entryFields are those of the documentation, in order.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html#access-log-entry-syntax
var entryFields = []string{
	"type", "time", "elb", "client:port", "target:port", "request_processing_time", "target_processing_time", "response_processing_time",
	"elb_status_code", "target_status_code", "received_bytes", "sent_bytes", "request", "user_agent", "ssl_cipher", "ssl_protocol",
	"target_group_arn", "trace_id", "domain_name", "chosen_cert_arn", "matched_rule_priority", "request_creation_time", "actions_executed",
	"redirect_url", "error_reason", "target:port_list", "target_status_code_list", "classification", "classification_reason", "conn_trace_id",
	"transformed_host", "transformed_uri", "request_transform_status",
}

var entryField = regexp.MustCompile(`"[^"]*"|\S+`)

func parseEntry(t *testing.T, line string) map[string]string {
	t.Helper()
	require.True(t, strings.HasSuffix(line, "\n"))
	values := entryField.FindAllString(line, -1)
	require.Len(t, values, len(entryFields), line)
	entry := map[string]string{}
	for i, name := range entryFields {
		entry[name] = values[i]
	}
	return entry
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	entries := make(chan string, 1)
	s := server(t, alb.Options{Check: alwaysHealthy, AccessLog: func(_ alb.LoadBalancer, entry []byte) { entries <- string(entry) }})
	arrived := make(chan struct{}, 1)
	b := backendFunc(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/wait":
			arrived <- struct{}{}
			<-r.Context().Done()
		case "/socket":
			echoSocket(w, r)
		case "/die":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				conn.Close()
			}
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, "hello")
		}
	})
	cfg := config(forwardTo("a"), targetGroup("a", 0, b.target), targetGroup("b", 0))
	cfg.LoadBalancer.ARN = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/0123456789abcdef"
	rule := func(priority int, path string, action alb.Action) alb.Rule {
		return alb.Rule{ARN: path, Priority: priority, Conditions: []alb.Condition{{Field: alb.FieldPath, Values: []string{path}}}, Action: action}
	}
	cfg.Listeners[0].Rules = append([]alb.Rule{
		rule(5, "/fixed", alb.Action{FixedResponse: &alb.FixedResponse{Status: 418, Body: "tea"}}),
		rule(6, "/moved", alb.Action{Redirect: &alb.Redirect{Path: "/there", Status: 301}}),
		rule(7, "/none", forwardTo("b")),
	}, cfg.Listeners[0].Rules...)
	apply(t, s, cfg)
	wait(t, s, b.target, alb.Healthy)
	front := httptest.NewUnstartedServer(s)
	front.Config.ConnContext = alb.ConnContext
	front.Start()
	defer front.Close()

	send := func(raw string) {
		conn, err := net.Dial("tcp", front.Listener.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, raw)
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
	}
	const trace = "Root=1-58337262-36d228ad5d99923122bbe354"
	for name, tc := range map[string]struct {
		request string
		want    map[string]string
	}{
		"target": {
			"POST /a?b=%22 HTTP/1.1\r\nHost: www.example.com:99\r\nUser-Agent: say \"hi\"\r\nContent-Length: 3\r\nX-Amzn-Trace-Id: " + trace + "\r\n\r\nabc",
			map[string]string{
				"type": "http", "elb": "app/web/0123456789abcdef", "target:port": b.hostport, "elb_status_code": "201", "target_status_code": "201",
				"request": `"POST http://www.example.com:80/a?b=%22 HTTP/1.1"`, "user_agent": `"say \x22hi\x22"`, "ssl_cipher": "-",
				"target_group_arn": "a", "matched_rule_priority": "0", "actions_executed": `"forward"`, "redirect_url": `"-"`, "error_reason": `"-"`,
				"target:port_list": `"` + b.hostport + `"`, "target_status_code_list": `"201"`, "classification": `"-"`,
			},
		},
		"fixed response": {
			"GET /fixed HTTP/1.1\r\nHost: a\r\n\r\n",
			map[string]string{
				"target:port": "-", "request_processing_time": "-1", "target_processing_time": "-1", "response_processing_time": "-1", "elb_status_code": "418",
				"target_status_code": "-", "target_group_arn": "-", "matched_rule_priority": "5", "actions_executed": `"fixed-response"`, "user_agent": `"-"`,
				"target:port_list": `"-"`, "target_status_code_list": `"-"`,
			},
		},
		"redirect": {
			"GET /moved HTTP/1.1\r\nHost: a\r\n\r\n",
			map[string]string{"elb_status_code": "301", "matched_rule_priority": "6", "actions_executed": `"redirect"`, "redirect_url": `"http://a:80/there"`},
		},
		"no target": {
			"GET /none HTTP/1.1\r\nHost: a\r\n\r\n",
			map[string]string{"elb_status_code": "503", "target_status_code": "-", "target:port": "-", "matched_rule_priority": "7", "actions_executed": `"forward"`},
		},
		"target that closes": {
			"GET /die HTTP/1.1\r\nHost: a\r\n\r\n",
			map[string]string{"elb_status_code": "502", "target_status_code": "-", "target:port": b.hostport, "target_processing_time": "-1", "target_group_arn": "a"},
		},
	} {
		began := time.Now()
		send(tc.request)
		line := <-entries
		entry := parseEntry(t, line)
		for field, want := range tc.want {
			require.Equal(t, want, entry[field], "%s: %s of %s", name, field, line)
		}
		created, err := time.Parse(time.RFC3339Nano, entry["request_creation_time"])
		require.NoError(t, err)
		ended, err := time.Parse(time.RFC3339Nano, entry["time"])
		require.NoError(t, err)
		require.WithinRange(t, created, began.Truncate(time.Microsecond), ended)
		require.Regexp(t, `^127\.0\.0\.1:\d+$`, entry["client:port"])
		require.Regexp(t, `^TID_[0-9a-f]{16}$`, entry["conn_trace_id"])
		if name == "target" {
			require.Equal(t, fmt.Sprint(len(tc.request)), entry["received_bytes"], "with its headers")
			require.Regexp(t, `^"Self=1-[0-9a-f]{8}-[0-9a-f]{24};`+trace+`"$`, entry["trace_id"])
			require.Regexp(t, `^\d\.\d{3}$`, entry["request_processing_time"])
			require.Regexp(t, `^\d\.\d{3}$`, entry["target_processing_time"])
			require.Regexp(t, `^1\d\d$`, entry["sent_bytes"], "with its headers")
		} else {
			require.Regexp(t, `^"Root=1-[0-9a-f]{8}-[0-9a-f]{24}"$`, entry["trace_id"])
		}
	}

	// A client that leaves is a 460.
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, front.URL+"/wait", nil)
	require.NoError(t, err)
	gone := make(chan error, 1)
	go func() {
		_, err := http.DefaultClient.Do(req)
		gone <- err
	}()
	<-arrived
	leave()
	require.ErrorIs(t, <-gone, context.Canceled)
	entry := parseEntry(t, <-entries)
	require.Equal(t, []string{"460", "-", b.hostport, "0"}, []string{entry["elb_status_code"], entry["target_status_code"], entry["target:port"], entry["sent_bytes"]})

	// A socket is logged when it is closed.
	conn, stream := upgrade(t, front.Listener.Addr().String())
	_, err = io.WriteString(conn, "ping\n")
	require.NoError(t, err)
	_, err = stream.ReadString('\n')
	require.NoError(t, err)
	require.Empty(t, entries)
	conn.Close()
	entry = parseEntry(t, <-entries)
	require.Equal(t, []string{"ws", "101", "101"}, []string{entry["type"], entry["elb_status_code"], entry["target_status_code"]})
	require.Equal(t, "5", entry["received_bytes"])
}

func TestLogKey(t *testing.T) {
	t.Parallel()
	lb := alb.LoadBalancer{
		ARN:        "arn:aws:elasticloadbalancing:us-east-2:123456789012:loadbalancer/app/my-loadbalancer/1234567890abcdef",
		AccessLogs: alb.AccessLogs{Bucket: "my-bucket", Prefix: "prefix"},
	}
	end := time.Date(2016, 5, 1, 23, 40, 3, 0, time.UTC)
	key := "AWSLogs/123456789012/elasticloadbalancing/us-east-2/2016/05/01/" +
		"123456789012_elasticloadbalancing_us-east-2_app.my-loadbalancer.1234567890abcdef_20160501T2340Z_172.160.1.192_20sg8hgm.log.gz"
	require.Equal(t, "prefix/"+key, lb.LogKey(end, netip.MustParseAddr("172.160.1.192"), "20sg8hgm"))
	lb.AccessLogs.Prefix = ""
	require.Equal(t, key, lb.LogKey(end, netip.MustParseAddr("172.160.1.192"), "20sg8hgm"))
}
