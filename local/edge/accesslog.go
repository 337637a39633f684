package edge

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/loadbearing/loadbearing/local/edge/alb"
)

// logLimit is how long the local access log grows before it is set aside; one
// that was set aside is kept.
const logLimit = 32 << 20

// bucket takes access logs.
type bucket interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

// accessLog writes the load balancer's access log to a file, and to the bucket
// that the load balancer names, every interval. Like AWS it does its best: what
// cannot be delivered is said and dropped.
type accessLog struct {
	path string // of the file, "" for none
	s3   bucket
	node netip.Addr

	mu      sync.Mutex
	file    *os.File
	buffer  *bufio.Writer // nil when there is no file
	written int64
	lb      alb.LoadBalancer // of what is packed
	packed  bytes.Buffer
	packer  *gzip.Writer // nil when nothing is packed
}

func openAccessLog(path string, s3 bucket, node netip.Addr) (*accessLog, error) {
	l := &accessLog{path: path, s3: s3, node: node}
	if path == "" {
		return l, nil
	}
	return l, l.open()
}

func (l *accessLog) open() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the load balancer's access log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return fmt.Errorf("open the load balancer's access log: %w", err)
	}
	l.file, l.buffer, l.written = file, bufio.NewWriterSize(file, 64<<10), info.Size()
	return nil
}

// add takes an entry.
func (l *accessLog) add(lb alb.LoadBalancer, entry []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buffer != nil {
		_, _ = l.buffer.Write(entry) // the error stays and is flush's
		l.written += int64(len(entry))
	}
	if lb.AccessLogs.Bucket != "" {
		if l.packer == nil {
			l.lb, l.packer = lb, gzip.NewWriter(&l.packed)
		}
		_, _ = l.packer.Write(entry) // into memory
	}
}

// flush writes the file, and sets it aside when it is long.
func (l *accessLog) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buffer == nil {
		return nil
	}
	err := l.buffer.Flush()
	if err == nil && l.written < logLimit {
		return nil
	}
	// After an error too: a buffer that has failed once takes nothing more.
	err = errors.Join(err, l.file.Close(), os.Rename(l.path, l.path+".1"))
	l.file, l.buffer = nil, nil
	return errors.Join(err, l.open())
}

// deliver puts what was packed since the last time into the bucket, in an
// object of its own.
func (l *accessLog) deliver(ctx context.Context, end time.Time) error {
	l.mu.Lock()
	lb, packer := l.lb, l.packer
	l.packer = nil
	if packer == nil {
		l.mu.Unlock()
		return nil
	}
	err := packer.Close()
	body := bytes.Clone(l.packed.Bytes())
	l.packed.Reset()
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("pack access logs: %w", err)
	}
	key := lb.LogKey(end, l.node, strings.ToLower(rand.Text()[:8]))
	if _, err := l.s3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &lb.AccessLogs.Bucket, Key: &key, Body: bytes.NewReader(body), ContentType: aws.String("application/octet-stream"),
	}); err != nil {
		return fmt.Errorf("deliver access logs to s3://%s/%s: %w", lb.AccessLogs.Bucket, key, err)
	}
	return nil
}

// run flushes and delivers until ctx ends, and then once more.
func (l *accessLog) run(ctx context.Context, every time.Duration, said func(error)) {
	flush := time.NewTicker(time.Second)
	defer flush.Stop()
	deliver := time.NewTicker(every)
	defer deliver.Stop()
	for {
		select {
		case <-flush.C:
			said(l.flush())
		case end := <-deliver.C:
			limited, cancel := context.WithTimeout(ctx, readTimeout)
			said(l.deliver(limited, end))
			cancel()
		case <-ctx.Done():
			limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastDelivery)
			defer cancel()
			err := errors.Join(l.flush(), l.deliver(limited, time.Now()))
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.file != nil {
				err = errors.Join(err, l.file.Close())
				l.file, l.buffer = nil, nil
			}
			said(err)
			return
		}
	}
}

// lastDelivery bounds the delivery when the edge ends.
const lastDelivery = 5 * time.Second
