package alb

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// AccessLogs says where the load balancer delivers its access logs.
type AccessLogs struct {
	Bucket string // "" delivers none (access_logs.s3.enabled)
	Prefix string
}

// entryTime is how an access log writes a time.
const entryTime = "2006-01-02T15:04:05.000000Z"

// userAgentLimit is how much of a User-Agent is logged.
const userAgentLimit = 8 << 10

// appendEntry appends the entry of a request to an access log, as a line.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html#access-log-entry-format
func (t *transaction) appendEntry(b []byte, elb string, r *http.Request) []byte {
	scheme, port := "http", 80
	if t.listener != nil {
		port = t.listener.Port
		if t.listener.Protocol == HTTPS {
			scheme = "https"
		}
	}
	kind := scheme
	if t.status == http.StatusSwitchingProtocols {
		kind = map[string]string{"http": "ws", "https": "wss"}[scheme]
	}
	x := t.exchange
	b = append(b, kind...)
	b = t.over.UTC().AppendFormat(append(b, ' '), entryTime)
	b = append(append(b, ' '), elb...)
	b = append(append(b, ' '), r.RemoteAddr...)
	b = append(append(b, ' '), x.address()...)
	if t.targetStatus != 0 {
		sent := x.began.Add(time.Duration(x.sent.Load()))
		b = appendSeconds(b, sent.Sub(t.received))
		b = appendSeconds(b, x.answered.Sub(sent))
		b = appendSeconds(b, max(0, t.answering.Sub(x.answered)))
	} else {
		b = append(b, " -1 -1 -1"...)
	}
	b = appendStatus(b, t.status)
	b = appendStatus(b, t.targetStatus)
	b = strconv.AppendInt(append(b, ' '), t.receivedBytes(r), 10)
	b = strconv.AppendInt(append(b, ' '), t.sentBytes(), 10)

	b = append(b, ` "`...)
	b = appendEscaped(b, r.Method)
	b = append(append(append(b, ' '), scheme...), "://"...)
	b = appendEscaped(b, hostname(r.Host))
	b = strconv.AppendInt(append(b, ':'), int64(port), 10)
	b = appendEscaped(b, requestURI(r))
	b = append(append(append(b, ' '), r.Proto...), '"')
	agent := r.UserAgent()
	b = appendQuoted(b, agent[:min(len(agent), userAgentLimit)])
	b = append(b, " - -"...) // no TLS here
	if x != nil {
		b = append(append(b, ' '), x.group.arn...)
	} else {
		b = append(b, " -"...)
	}
	b = appendQuoted(b, t.traceID(r))
	b = append(b, ` "-" "-"`...)

	action, redirect := "", ""
	if t.rule == nil {
		b = append(b, " -"...)
	} else {
		b = strconv.AppendInt(append(b, ' '), int64(t.rule.Priority), 10)
		switch a := t.rule.Action; {
		case a.Forward != nil:
			action = "forward"
		case a.Redirect != nil:
			action, redirect = "redirect", t.Header().Get("Location")
		case a.FixedResponse != nil:
			action = "fixed-response"
		}
	}
	b = t.received.UTC().AppendFormat(append(b, ' '), entryTime)
	b = appendQuoted(b, action)
	b = appendQuoted(b, redirect)
	b = append(b, ` "-"`...) // the reasons are those of Lambda targets, authentication and WAF
	b = appendQuoted(b, strings.TrimPrefix(x.address(), "-"))
	status := ""
	if t.targetStatus != 0 {
		status = strconv.Itoa(t.targetStatus)
	}
	b = appendQuoted(b, status)
	b = append(b, ` "-" "-" `...) // net/http refuses what does not comply with RFC 7230
	if trace, ok := r.Context().Value(connTraceKey{}).(string); ok {
		b = append(b, trace...)
	} else {
		b = append(b, '-')
	}
	return append(b, " \"-\" \"-\" \"-\"\n"...) // no rule transforms
}

// address is that of the exchange's target.
func (x *exchange) address() string {
	if x == nil {
		return "-"
	}
	if address := x.target.address.Load(); address != nil {
		return *address
	}
	return "-"
}

// receivedBytes is the size of a request with its headers.
func (t *transaction) receivedBytes(r *http.Request) int64 {
	if t.hijacked != nil {
		return t.hijacked.read.Load()
	}
	size := len(r.Method) + len(requestURI(r)) + len(r.Proto) + len("  \r\n") + len("Host: \r\n") + len(r.Host) + headerSize(r.Header)
	body := max(0, r.ContentLength)
	if t.exchange != nil && t.exchange.upload != nil {
		body = t.exchange.upload.Size()
	}
	return int64(size) + body
}

// sentBytes is the size of an answer with its headers.
func (t *transaction) sentBytes() int64 {
	if t.hijacked != nil {
		return t.hijacked.written.Load()
	}
	if t.answering.IsZero() {
		return 0 // nobody was there to read one
	}
	return int64(len("HTTP/1.1 200 \r\n")+len(http.StatusText(t.status))+headerSize(t.Header())) + t.sent
}

func headerSize(h http.Header) int {
	size := len("\r\n")
	for name, values := range h {
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	return size
}

// traceID is the X-Amzn-Trace-Id of the request, as its target received it.
func (t *transaction) traceID(r *http.Request) string {
	if t.trace == "" {
		t.trace = traceID(r.Header.Get("X-Amzn-Trace-Id"), t.received)
	}
	return t.trace
}

func requestURI(r *http.Request) string {
	if r.RequestURI != "" {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}

func appendSeconds(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(append(b, ' '), d.Seconds(), 'f', 3, 64)
}

func appendStatus(b []byte, status int) []byte {
	if status == 0 {
		return append(b, " -"...)
	}
	return strconv.AppendInt(append(b, ' '), int64(status), 10)
}

// appendQuoted appends a string in quotes, or "-" for an empty one.
func appendQuoted(b []byte, s string) []byte {
	if s == "" {
		return append(b, ` "-"`...)
	}
	return append(appendEscaped(append(b, ` "`...), s), '"')
}

// appendEscaped writes what would end a quote or a line as \x and its number.
func appendEscaped(b []byte, s string) []byte {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			b = append(b, '\\', 'x')
			b = hex.AppendEncode(b, []byte{c})
			continue
		}
		b = append(b, c)
	}
	return b
}

type connTraceKey struct{}

// ConnContext gives a client's connection the id that its requests are logged
// with. It is meant for http.Server.
func ConnContext(ctx context.Context, _ net.Conn) context.Context {
	var id [8]byte
	_, _ = rand.Read(id[:])
	return context.WithValue(ctx, connTraceKey{}, "TID_"+hex.EncodeToString(id[:]))
}

// LogKey is the name of the object that holds the entries of the requests that
// ended before a time. node is the address of who served them.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html#access-log-file-format
func (lb LoadBalancer) LogKey(end time.Time, node netip.Addr, random string) string {
	// arn:aws:elasticloadbalancing:<region>:<account>:loadbalancer/<id>
	parts := strings.SplitN(lb.ARN, ":", 6)
	for len(parts) < 6 {
		parts = append(parts, "")
	}
	region, account := parts[3], parts[4]
	id := strings.ReplaceAll(strings.TrimPrefix(parts[5], "loadbalancer/"), "/", ".")
	end = end.UTC()
	key, _ := url.JoinPath(lb.AccessLogs.Prefix, "AWSLogs", account, "elasticloadbalancing", region, end.Format("2006/01/02"),
		strings.Join([]string{account, "elasticloadbalancing", region, id, end.Format("20060102T1504Z"), node.String(), random}, "_")+".log.gz")
	return strings.TrimPrefix(key, "/")
}
