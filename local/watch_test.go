package local

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awselasticache "github.com/aws/aws-sdk-go-v2/service/elasticache"
	"github.com/aws/aws-sdk-go-v2/service/elasticache/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/elasticache"
	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/local/redis/redistest"
)

// deployed is one replication group at a port.
type deployed int

func (port deployed) DescribeReplicationGroups(context.Context, *awselasticache.DescribeReplicationGroupsInput, ...func(*awselasticache.Options)) (*awselasticache.DescribeReplicationGroupsOutput, error) {
	return &awselasticache.DescribeReplicationGroupsOutput{ReplicationGroups: []types.ReplicationGroup{{
		ReplicationGroupId: aws.String("one"), TransitEncryptionEnabled: aws.Bool(true),
		NodeGroups: []types.NodeGroup{{PrimaryEndpoint: &types.Endpoint{Address: aws.String("127.0.0.1"), Port: aws.Int32(int32(port))}}},
	}}}, nil
}

// What has ended is said, though it runs again before anybody looks, and once.
func TestWhatHasEndedIsSaidAndStartedAgain(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	dir := t.TempDir()
	ca, err := certificates.Open(filepath.Join(dir, "certificates"))
	require.NoError(t, err)
	ports, err := process.FreePorts(1)
	require.NoError(t, err)
	r := &runtime{
		config: Config{RunDir: dir}, progress: newProgress(&out), emulator: &emulator.Emulator{},
		ended: make(chan struct{}, 1), said: map[string]bool{},
	}
	r.caches = elasticache.New(elasticache.Options{
		API: elasticache.API{Groups: deployed(ports[0])}, Runner: &process.Runner{Dir: dir}, CA: ca,
		Program: redistest.Real(t), Ended: r.hasEnded, Log: r.logger("elasticache"),
	})
	t.Cleanup(func() { r.stop(context.Background()) })
	r.onStop(r.caches.Stop)
	require.NoError(t, r.caches.Reconcile(t.Context()))
	pid := func() int { return r.caches.Caches()[0].PID }
	first := pid()

	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() { r.follow(ctx) })
	killed := time.Now()
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	require.Eventually(t, func() bool { return pid() != first }, 30*time.Second, time.Millisecond)
	t.Logf("started again after %v", time.Since(killed).Round(time.Millisecond))
	cancel()
	following.Wait()
	require.Equal(t, 1, bytes.Count(out.Bytes(), fmt.Appendf(nil, "(pid %d, ", first)), out.String())
	require.NotContains(t, out.String(), fmt.Sprint("pid ", pid()))
}
