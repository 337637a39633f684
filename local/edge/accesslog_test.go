package edge

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/edge/alb"
)

// logBucket keeps what it is given by key.
type logBucket struct {
	mu      sync.Mutex
	objects map[string]string
	err     error
	lost    []error // deliveries that failed
}

func (b *logBucket) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *logBucket) lose(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.lost = append(b.lost, err)
	}
}

// kept is what was delivered and what was lost so far.
func (b *logBucket) kept() (map[string]string, []error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.objects), slices.Clone(b.lost)
}

func (b *logBucket) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, b.err
	}
	packed, err := gzip.NewReader(in.Body)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(packed)
	b.objects[*in.Bucket+"/"+*in.Key] = string(content)
	return &s3.PutObjectOutput{}, err
}

func TestAccessLogIsDelivered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := &logBucket{objects: map[string]string{}}
		path := filepath.Join(dir, "access.log")
		l, err := openAccessLog(path, b, netip.MustParseAddr("127.0.0.1"))
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		go l.run(ctx, 5*time.Minute, b.lose)
		delivered := func() map[string]string {
			synctest.Wait()
			objects, _ := b.kept()
			return objects
		}
		file := func(name string) string {
			content, err := os.ReadFile(name)
			require.NoError(t, err)
			return string(content)
		}
		off := alb.LoadBalancer{ARN: "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/1"}
		on := off
		on.AccessLogs = alb.AccessLogs{Bucket: "logs", Prefix: "alb"}
		l.add(off, []byte("one\n"))
		l.add(on, []byte("two\n"))
		l.add(on, []byte("three\n"))
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, "one\ntwo\nthree\n", file(path))
		require.Empty(t, delivered())
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		require.Len(t, delivered(), 1)
		for key, content := range delivered() {
			require.Equal(t, "two\nthree\n", content)
			require.Regexp(t, `^logs/alb/AWSLogs/000000000000/elasticloadbalancing/us-east-1/2000/01/01/000000000000_elasticloadbalancing_us-east-1_app\.web\.1_20000101T0005Z_127\.0\.0\.1_[a-z2-7]{8}\.log\.gz$`, key)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		require.Len(t, delivered(), 1, "nothing to deliver")

		// A bucket that refuses costs the entries, and it is said.
		b.fail(errors.New("AccessDenied"))
		l.add(on, []byte("four\n"))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		_, lost := b.kept()
		require.Len(t, lost, 1)
		require.ErrorContains(t, lost[0], "deliver access logs to s3://logs/alb/AWSLogs/")
		b.fail(nil)

		// A long file is set aside.
		long := strings.Repeat("x", logLimit)
		l.add(off, []byte(long))
		time.Sleep(time.Second)
		synctest.Wait()
		require.Empty(t, file(path))
		require.Len(t, file(path+".1"), logLimit+len("one\ntwo\nthree\nfour\n"))

		l.add(on, []byte("last\n"))
		stop()
		synctest.Wait()
		require.Equal(t, "last\n", file(path))
		require.Len(t, delivered(), 2)
	})
}
