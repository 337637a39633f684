package test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image"
	_ "image/jpeg"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cloudformationtypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/uuid"
	"github.com/gruntwork-io/terratest/modules/aws"
	httphelper "github.com/gruntwork-io/terratest/modules/http-helper"
	"github.com/gruntwork-io/terratest/modules/logger"
	"github.com/gruntwork-io/terratest/modules/retry"
	"github.com/gruntwork-io/terratest/modules/shell"
	teststructure "github.com/gruntwork-io/terratest/modules/test-structure"
	"github.com/jackc/pgx/v5"
	gops "github.com/shirou/gopsutil/v4/process"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/mediatest"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/internal/release"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/local/cdk"
	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/drill"
	"github.com/loadbearing/loadbearing/test/drills"
)

// TestMiniStack deploys every stack to MiniStack with `loadbearing up`, uses
// the service through the edge, breaks it, deploys again and destroys it.
func TestMiniStack(t *testing.T) {
	e := newEnvironment(t)
	defer teststructure.RunTestStage(t, "down", func() { e.down(t) })

	teststructure.RunTestStage(t, "up", func() { e.run(t, "up", "--detach") })
	s := e.status(t)
	useEndpoint(t, s.AWSEndpointURL)
	announce(t, s.Emulator.Name, s.Emulator.Version, s.RemovedResourceTypes)

	teststructure.RunTestStage(t, "api", func() {
		t.Run("Deployed", func(t *testing.T) { testDeployed(t, s) })
		t.Run("Queues", testQueues)
		t.Run("Fleets", func(t *testing.T) { testFleets(t, s) })
		t.Run("Weights", func(t *testing.T) { testWeights(t, s) })
		t.Run("Databases", func(t *testing.T) { testDatabases(t, s) })
	})
	teststructure.RunTestStage(t, "edge", func() {
		t.Run("Image", func(t *testing.T) { testImage(t, s) })
		t.Run("Video", func(t *testing.T) { testVideo(t, s) })
		t.Run("Projects", func(t *testing.T) { testProjects(t, s) })
		t.Run("BadInput", func(t *testing.T) { testBadInput(t, s) })
		t.Run("BadMedia", func(t *testing.T) { testBadMedia(t, s) })
		t.Run("Origins", func(t *testing.T) { testOrigins(t, s) })
	})
	teststructure.RunTestStage(t, "faults", func() {
		t.Run("InstanceKilled", func(t *testing.T) { testInstanceKilled(t, e) })
		t.Run("SecondUp", func(t *testing.T) { testSecondUp(t, e) })
	})
	teststructure.RunTestStage(t, "drills", func() {
		for _, d := range drills.All() {
			t.Run(d.Name, func(t *testing.T) { testDrill(t, e, d) })
		}
	})
	teststructure.RunTestStage(t, "crash", func() {
		testCrash(t, e)
		s = e.status(t)
	})
	teststructure.RunTestStage(t, "redeploy", func() { testRedeploy(t, e, s) })
	teststructure.RunTestStage(t, "destroy", func() { testDestroy(t, e, s) })
}

// testDeployed: every stack is there, whole, and nothing was left out.
func testDeployed(t *testing.T, s local.Status) {
	require.Empty(t, s.RemovedResourceTypes, "the default emulator takes every resource type")
	names := map[string]bool{}
	for _, stack := range s.Stacks {
		names[stack.Name] = true
		assert.Regexp(t, `^(CREATE|UPDATE)_COMPLETE$`, stack.Status, stack.Name)
		assert.Positive(t, stack.Resources, stack.Name)
	}
	for _, stack := range []string{"network", "data", "messaging", "web", "edge", "release", "observability"} {
		assert.True(t, names[contract.StackPrefix(environment)+stack], "stack %s is deployed; there are %v", stack, names)
	}
	for _, setting := range contract.Settings() {
		assert.NotEmpty(t, aws.GetParameterContext(t, t.Context(), region, setting.Parameter(environment)), setting)
	}
}

// testQueues: each queue the deployment made has a dead-letter queue behind it
// that keeps messages longer, and is encrypted.
func testQueues(t *testing.T) {
	client := aws.NewSqsClientContext(t, t.Context(), region)
	url := aws.GetParameterContext(t, t.Context(), region, contract.JobsQueue.Parameter(environment))
	attributes := func(url string) map[string]string {
		out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
			QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameAll},
		})
		require.NoError(t, err)
		return out.Attributes
	}
	jobs := attributes(url)
	var redrive struct {
		Target string `json:"deadLetterTargetArn"`
		Max    any    `json:"maxReceiveCount"`
	}
	require.NoError(t, json.Unmarshal([]byte(jobs["RedrivePolicy"]), &redrive))
	assert.Equal(t, "5", fmt.Sprint(redrive.Max))
	dlqURL, err := client.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{
		QueueName: awssdk.String(redrive.Target[strings.LastIndex(redrive.Target, ":")+1:]),
	})
	require.NoError(t, err)
	dlq := attributes(*dlqURL.QueueUrl)
	keeps := func(a map[string]string) int {
		n, err := strconv.Atoi(a["MessageRetentionPeriod"])
		require.NoError(t, err)
		return n
	}
	assert.Greater(t, keeps(dlq), keeps(jobs))
	assert.NotEmpty(t, jobs["KmsMasterKeyId"], "by the environment's own key")
}

// testFleets: what runs is what the Auto Scaling groups ask for, and each
// instance runs the artifact its parameter names.
func testFleets(t *testing.T, s local.Status) {
	running := map[string]int64{}
	for _, i := range s.Instances {
		assert.Equal(t, "in-service", i.State, i.ID)
		running[i.Fleet+"/"+i.Color]++
	}
	assert.Equal(t, map[string]int64{"web/blue": 2, "worker/blue": 1}, running)
	for fleet, want := range map[string]int64{"web-blue": 2, "web-green": 0, "worker-blue": 1} {
		capacity := aws.GetCapacityInfoForAsgContext(t, t.Context(), contract.StackPrefix(environment)+fleet, region)
		assert.Equal(t, want, capacity.DesiredCapacity, fleet)
	}
	var artifact contract.Artifact
	value := aws.GetParameterContext(t, t.Context(), region,
		contract.ArtifactParameter(environment, contract.FleetWeb, contract.ColorBlue))
	require.NoError(t, json.Unmarshal([]byte(value), &artifact))
	object := aws.GetS3ObjectContentsContext(t, t.Context(), region, artifact.Bucket, artifact.Key)
	sum := sha256.Sum256([]byte(object))
	assert.Equal(t, artifact.SHA256, hex.EncodeToString(sum[:]))
}

// testWeights: the listener rule sends everything to blue but what testers ask
// for.
func testWeights(t *testing.T, s local.Status) {
	client := elasticloadbalancingv2.NewFromConfig(sdkConfig(t))
	balancers, err := client.DescribeLoadBalancers(t.Context(), &elasticloadbalancingv2.DescribeLoadBalancersInput{})
	require.NoError(t, err)
	require.Len(t, balancers.LoadBalancers, 1)
	listeners, err := client.DescribeListeners(t.Context(), &elasticloadbalancingv2.DescribeListenersInput{
		LoadBalancerArn: balancers.LoadBalancers[0].LoadBalancerArn,
	})
	require.NoError(t, err)
	require.Len(t, listeners.Listeners, 1)
	rules, err := client.DescribeRules(t.Context(), &elasticloadbalancingv2.DescribeRulesInput{
		ListenerArn: listeners.Listeners[0].ListenerArn,
	})
	require.NoError(t, err)
	var weights []int32
	testers := 0
	for _, rule := range rules.Rules {
		for _, action := range rule.Actions {
			if action.ForwardConfig == nil {
				continue
			}
			if len(action.ForwardConfig.TargetGroups) == 1 {
				testers++
				continue
			}
			for _, group := range action.ForwardConfig.TargetGroups {
				weights = append(weights, awssdk.ToInt32(group.Weight))
			}
		}
	}
	assert.ElementsMatch(t, []int32{100, 0}, weights)
	assert.Equal(t, 2, testers, "one rule for the testers of each color")

	// A tester reaches the color asked for, and the idle one has no instance.
	for color, status := range map[string]int{contract.ColorBlue: http.StatusOK, contract.ColorGreen: http.StatusServiceUnavailable} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.EdgeURL+contract.PathVersion, nil)
		require.NoError(t, err)
		request.Header.Set("X-Release", color)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, status, response.StatusCode, color)
	}
}

// testDatabases: a real primary and a replica that has what the primary wrote,
// both over TLS only, where the control plane says they are.
func testDatabases(t *testing.T, s local.Status) {
	ctx := testContext(t, time.Minute)
	connect := func(role string) *pgx.Conn {
		i := slices.IndexFunc(s.Postgres, func(p local.Postgres) bool { return p.Role == role })
		require.GreaterOrEqual(t, i, 0, "a %s in %v", role, s.Postgres)
		conn, err := pgx.Connect(ctx, s.Postgres[i].DSN)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	primary, replica := connect("primary"), connect("replica")
	endpoint := aws.GetParameterContext(t, ctx, region, contract.DatabasePrimary.Parameter(environment))
	assert.Equal(t, endpoint, net.JoinHostPort(primary.Config().Host, strconv.Itoa(int(primary.Config().Port))))

	var lsn string
	var encrypted, recovering, caughtUp bool
	require.NoError(t, primary.QueryRow(ctx, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&encrypted))
	assert.True(t, encrypted)
	require.NoError(t, replica.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&recovering))
	assert.True(t, recovering)

	signedUp(t, s.EdgeURL) // writes a tenant, a user, a session and a project
	require.NoError(t, primary.QueryRow(ctx, "SELECT pg_current_wal_lsn()").Scan(&lsn))
	for !caughtUp {
		require.NoError(t, replica.QueryRow(ctx, "SELECT pg_last_wal_replay_lsn() >= $1", lsn).Scan(&caughtUp), "the replica never reached %s", lsn)
	}
	count := func(conn *pgx.Conn) (n int) {
		require.NoError(t, conn.QueryRow(ctx, "SELECT count(*) FROM projects").Scan(&n))
		return n
	}
	assert.Positive(t, count(primary))
	assert.Equal(t, count(primary), count(replica))
}

// testImage: a real picture goes in, its renditions come out.
func testImage(t *testing.T, s local.Status) {
	c, p := signedUp(t, s.EdgeURL)
	ctx := testContext(t, time.Minute)
	picture := mediatest.OrientedJPEG(640, 480, 6) // a camera held upright: shown as 480 × 640
	r, err := c.Do(ctx, http.MethodPost, "/v1/projects/"+p.ID+"/images?widths=100,240", reader(picture),
		http.Header{"Content-Type": {"image/jpeg"}})
	require.NoError(t, err)
	require.NoError(t, r.Decode(http.StatusAccepted, nil))
	location := r.Header.Get("Location")
	require.Regexp(t, `^/v1/jobs/[0-9a-f-]{36}$`, location)

	job, err := api.Await(ctx, c, location, func(j api.Job) bool { return api.Final(j.Status) })
	require.NoError(t, err)
	require.Equal(t, "done", job.Status, job.Reason)
	require.Len(t, job.Renditions, 2)
	for _, want := range []struct{ width, height int }{{100, 133}, {240, 320}} {
		r, err := c.Do(ctx, http.MethodGet, fmt.Sprintf("/v1/images/%s/content?width=%d", job.ImageID, want.width), nil, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, r.Status, string(r.Body))
		got, format, err := image.DecodeConfig(bytes.NewReader(r.Body))
		require.NoError(t, err)
		assert.Equal(t, "jpeg", format)
		assert.Equal(t, want.width, got.Width)
		assert.InDelta(t, want.height, got.Height, 1)
	}

	// Another tenant is told what it would be told of an id that never was.
	other, _ := signedUp(t, s.EdgeURL)
	for _, path := range []string{location, "/v1/images/" + job.ImageID + "/content?width=100", "/v1/projects/" + p.ID} {
		r, err := other.Do(ctx, http.MethodGet, path, nil, nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusNotFound, r.Status, path)
	}
}

// testVideo: a real MP4 goes in; what the Lambdas find in it comes out.
func testVideo(t *testing.T, s local.Status) {
	c, p := signedUp(t, s.EdgeURL)
	ctx := testContext(t, 2*time.Minute)
	film := mediatest.Movie{Width: 320, Height: 180, Duration: 2 * time.Second}
	movie := film.MP4()
	r, err := c.Do(ctx, http.MethodPost, "/v1/projects/"+p.ID+"/videos", reader(movie),
		http.Header{"Content-Type": {"video/mp4"}, "X-Filename": {"clip.mp4"}})
	require.NoError(t, err)
	require.NoError(t, r.Decode(http.StatusAccepted, nil))

	video, err := api.Await(ctx, c, r.Header.Get("Location"), func(v api.Video) bool { return api.Final(v.Status) })
	require.NoError(t, err)
	require.Equal(t, "ready", video.Status, video.Reason)
	assert.True(t, video.Metered)
	assert.Equal(t, int64(len(movie)), video.Bytes)
	require.NotNil(t, video.Probe)
	assert.InDelta(t, film.Duration.Seconds(), video.Probe.Seconds, 0.05)
	assert.Equal(t, film.Width, video.Probe.Width)
	assert.Equal(t, film.Height, video.Probe.Height)
	var codecs []string
	for _, track := range video.Probe.Tracks {
		codecs = append(codecs, track.Codec)
	}
	assert.ElementsMatch(t, []string{mediatest.VideoCodec, mediatest.AudioCodec}, codecs)

	r, err = c.Do(ctx, http.MethodGet, "/v1/videos/"+video.ID+"/content", nil, http.Header{"Range": {"bytes=4-7"}})
	require.NoError(t, err)
	assert.Equal(t, http.StatusPartialContent, r.Status)
	assert.Equal(t, "ftyp", string(r.Body))
}

// testProjects: a list is paged by a cursor that is worth nothing to another tenant.
func testProjects(t *testing.T, s local.Status) {
	c, first := signedUp(t, s.EdgeURL)
	ctx := testContext(t, time.Minute)
	want := []string{first.ID}
	for i := range 4 {
		p, err := c.CreateProject(ctx, fmt.Sprintf("Project %d", i))
		require.NoError(t, err)
		want = append([]string{p.ID}, want...)
	}
	type page struct {
		Items      []api.Project `json:"items"`
		NextCursor *string       `json:"next_cursor"`
	}
	var got, cursors []string
	for path := "/v1/projects?limit=2"; ; {
		var list page
		r, err := c.Do(ctx, http.MethodGet, path, nil, nil)
		require.NoError(t, err)
		require.NoError(t, r.Decode(http.StatusOK, &list))
		assert.LessOrEqual(t, len(list.Items), 2)
		for _, p := range list.Items {
			got = append(got, p.ID)
		}
		if list.NextCursor == nil {
			break
		}
		cursors = append(cursors, *list.NextCursor)
		path = "/v1/projects?limit=2&cursor=" + *list.NextCursor
	}
	assert.Equal(t, want, got, "newest first, none twice, none missing")
	require.NotEmpty(t, cursors)

	other, _ := signedUp(t, s.EdgeURL)
	r, err := other.Do(ctx, http.MethodGet, "/v1/projects?cursor="+cursors[0], nil, nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, r.Status, "another tenant's cursor")

	r, err = c.Do(ctx, http.MethodDelete, "/v1/projects/"+first.ID, nil, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, r.Status, string(r.Body))
	r, err = c.Do(ctx, http.MethodGet, "/v1/projects/"+first.ID, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusNotFound, r.Status)
}

// testBadInput: each wrong request gets its 4xx as a problem, never a 500.
func testBadInput(t *testing.T, s local.Status) {
	c, p := signedUp(t, s.EdgeURL)
	anonymous, err := api.New(s.EdgeURL)
	require.NoError(t, err)
	forged, err := api.New(s.EdgeURL)
	require.NoError(t, err)
	forged.SetCookies([]*http.Cookie{{Name: "access", Value: "eyJhbGciOiJub25lIn0.e30.", Path: "/"}})
	stranger := uuid.Must(uuid.NewV7()).String()
	images := "/v1/projects/" + p.ID + "/images"
	picture := mediatest.PNG(8, 8)

	for name, tc := range map[string]struct {
		client       *api.Client
		method, path string
		body         any
		contentType  string
		status       int
	}{
		"unknown route":        {c, "GET", "/v1/nothing", nil, "", 404},
		"wrong method":         {c, "PUT", "/v1/me", nil, "", 405},
		"malformed JSON":       {c, "POST", "/v1/projects", strings.NewReader("{"), "application/json", 400},
		"unknown field":        {c, "POST", "/v1/projects", map[string]any{"name": "x", "shape": "round"}, "", 400},
		"wrong type of JSON":   {c, "POST", "/v1/projects", strings.NewReader("name=x"), "application/x-www-form-urlencoded", 415},
		"empty name":           {c, "POST", "/v1/projects", map[string]any{"name": ""}, "", 400},
		"bad cursor":           {c, "GET", "/v1/projects?cursor=bm9wZQ", nil, "", 400},
		"bad limit":            {c, "GET", "/v1/projects?limit=0", nil, "", 400},
		"foreign id":           {c, "GET", "/v1/projects/" + stranger, nil, "", 404},
		"id that is none":      {c, "GET", "/v1/projects/1", nil, "", 404},
		"image of text type":   {c, "POST", images, strings.NewReader("hello"), "text/plain", 415},
		"image that is text":   {c, "POST", images, strings.NewReader("hello, world"), "image/png", 415},
		"empty image":          {c, "POST", images, strings.NewReader(""), "image/png", 400},
		"widths out of range":  {c, "POST", images + "?widths=0", reader(picture), "image/png", 400},
		"image over its limit": {c, "POST", images, reader(append(picture, make([]byte, 26<<20)...)), "image/png", 413},
		"JSON over its limit":  {c, "POST", "/v1/projects", map[string]any{"name": strings.Repeat("x", 2<<20)}, "", 413},
		"image for a stranger": {c, "POST", "/v1/projects/" + stranger + "/images", reader(picture), "image/png", 404},
		"no cookie":            {anonymous, "GET", "/v1/me", nil, "", 401},
		"forged cookie":        {forged, "GET", "/v1/me", nil, "", 401},
		"wrong password":       {anonymous, "POST", "/v1/auth/login", map[string]any{"email": "nobody@example.com", "password": "wrong horse battery"}, "", 401},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if tc.contentType != "" {
				header.Set("Content-Type", tc.contentType)
			}
			r, err := tc.client.Do(testContext(t, time.Minute), tc.method, tc.path, tc.body, header)
			require.NoError(t, err)
			assert.Equal(t, tc.status, r.Status, string(r.Body))
			problem, err := r.Problem()
			require.NoError(t, err)
			assert.Equal(t, tc.status, problem.Status)
			assert.NotEmpty(t, problem.Code)
			assert.NotEmpty(t, problem.RequestID)
			assert.Equal(t, r.Header.Get("X-Request-Id"), problem.RequestID)
		})
	}
}

// testBadMedia: what only its decoding shows to be wrong ends as failed, with a reason.
func testBadMedia(t *testing.T, s local.Status) {
	c, p := signedUp(t, s.EdgeURL)
	for name, tc := range map[string]struct {
		kind, contentType string
		body              []byte
	}{
		"truncated picture":  {"images", "image/png", mediatest.Truncated(mediatest.PNG(64, 64))},
		"100-megapixel bomb": {"images", "image/png", mediatest.Bomb(10_000, 10_000)},
		"MP4 that is text":   {"videos", "video/mp4", []byte("this is not a video, whatever its type says")},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := testContext(t, time.Minute)
			r, err := c.Do(ctx, http.MethodPost, "/v1/projects/"+p.ID+"/"+tc.kind, reader(tc.body),
				http.Header{"Content-Type": {tc.contentType}, "X-Filename": {"file"}})
			require.NoError(t, err)
			require.NoError(t, r.Decode(http.StatusAccepted, nil))
			job, err := api.Await(ctx, c, r.Header.Get("Location"), func(j api.Job) bool { return api.Final(j.Status) })
			require.NoError(t, err)
			assert.Equal(t, "failed", job.Status)
			assert.NotEmpty(t, job.Reason)
		})
	}
}

// testOrigins: static files come from the private bucket, and neither the load
// balancer nor the bucket answers whom is not CloudFront.
func testOrigins(t *testing.T, s local.Status) {
	ctx := testContext(t, time.Minute)
	httphelper.HTTPGetWithRetryWithCustomValidationContext(t, ctx, s.EdgeURL+contract.PathVersion, nil, 1, time.Second,
		func(status int, body string) bool {
			return status == http.StatusOK && strings.Contains(body, `"color":"blue"`)
		})
	for path, want := range map[string]int{contract.PathHealth: http.StatusForbidden, "/v1/me": http.StatusForbidden} {
		r, err := get(t, s.ALBURL+path)
		require.NoError(t, err)
		assert.Equal(t, want, r.Status, path)
	}

	bucket := stackOutput(t, contract.StackPrefix(environment)+"edge", "StaticBucket")
	const content = "body { color: black }"
	aws.PutS3ObjectContentsContext(t, ctx, region, bucket, "static/site.css", strings.NewReader(content))
	r, err := get(t, s.EdgeURL+"/static/site.css")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, r.Status)
	assert.Equal(t, content, string(r.Body))
	assert.NotEmpty(t, r.Header.Get("Strict-Transport-Security"))
	r, err = get(t, s.EdgeURL+"/static/absent.css")
	require.NoError(t, err)
	assert.Contains(t, []int{http.StatusForbidden, http.StatusNotFound}, r.Status)
	assert.Contains(t, aws.GetS3BucketPolicyContext(t, ctx, region, bucket), "cloudfront.amazonaws.com")
}

// testInstanceKilled: an instance that dies is replaced, and traffic goes on.
func testInstanceKilled(t *testing.T, e *environmentUnderTest) {
	before := e.status(t)
	var victim local.Instance
	for _, i := range before.Instances {
		if i.Fleet == contract.FleetWeb {
			victim = i
		}
	}
	require.NotZero(t, victim.PID)
	c, _ := signedUp(t, before.EdgeURL)
	require.NoError(t, syscall.Kill(victim.PID, syscall.SIGKILL))

	after := e.awaitStatus(t, 30*time.Second, "a replacement of "+victim.ID, func(s local.Status) bool {
		inService := 0
		for _, i := range s.Instances {
			if i.Fleet == contract.FleetWeb && i.State == "in-service" && i.ID != victim.ID {
				inService++
			}
		}
		return inService == 2
	})
	// Until the load balancer has seen the death, by health check or deregistration,
	// it sends requests to the dead instance and answers 502, as AWS does.
	ctx := testContext(t, 20*time.Second)
	var want []string
	for _, i := range after.Instances {
		if i.Fleet == contract.FleetWeb && i.State == "in-service" && i.ID != victim.ID {
			want = append(want, i.ID)
		}
	}
	served := map[string]bool{} // by the last requests, all of which were answered
	for inRow, failed := 0, 0; inRow < 40 || !served[want[0]] || !served[want[1]]; inRow++ {
		r, err := c.Do(ctx, http.MethodGet, "/v1/me", nil, nil)
		require.NoError(t, err, "%d requests failed, these served since: %v of %v", failed, served, want)
		if r.Status != http.StatusOK {
			require.Equal(t, http.StatusBadGateway, r.Status, "the session goes on on the instances that are left")
			inRow, failed, served = -1, failed+1, map[string]bool{}
			continue
		}
		served[regexp.MustCompile(`i-[0-9a-f]+`).FindString(r.Header.Get("X-Served-By"))] = true
	}
	assert.False(t, served[victim.ID])
}

// testSecondUp: a second up says that one runs, and changes nothing.
func testSecondUp(t *testing.T, e *environmentUnderTest) {
	before := e.status(t)
	out := shell.RunCommandContextAndGetOutput(t, testContext(t, time.Minute), e.command("up"))
	assert.Contains(t, out, "already running")
	assert.Equal(t, before, e.status(t))
}

// drillLimit is how long the short form of one drill may take.
const drillLimit = 6 * time.Minute

// testDrill runs the short form of a drill as a user would. It breaks what runs
// and leaves it as it was.
func testDrill(t *testing.T, e *environmentUnderTest, d drill.Drill) {
	out, err := shell.RunCommandContextAndGetStdOutE(t, testContext(t, drillLimit), e.command("drill", "--short", "--name", d.Name))
	var result drill.Result
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := lines[len(lines)-1]
	require.NoError(t, json.Unmarshal([]byte(last), &result), "it ended with %q: %v", last, err)
	require.NoError(t, err, "seed %d: %v", result.Seed, result.Failures)
	require.True(t, result.Pass)
	require.NotEmpty(t, result.Figures)
}

// testRedeploy: the same templates again change nothing.
func testRedeploy(t *testing.T, e *environmentUnderTest, s local.Status) {
	before := stackTimes(t)
	cli, assembly := e.synth(t, s)
	var out bytes.Buffer
	cli.Log = &out
	require.NoError(t, cli.Deploy(testContext(t, 5*time.Minute), assembly, cdk.ApproveNever, "--all"))
	for _, stack := range s.Stacks {
		if strings.HasPrefix(stack.Name, contract.StackPrefix(environment)) {
			assert.Contains(t, out.String(), stack.Name+" (no changes)")
		}
	}
	assert.Equal(t, before, stackTimes(t))
}

// testDestroy: deleting the stacks leaves nothing of them. A bucket with
// objects cannot be deleted, on AWS neither: they are emptied first.
func testDestroy(t *testing.T, e *environmentUnderTest, s local.Status) {
	ctx := testContext(t, 5*time.Minute)
	client := aws.NewS3ClientContext(t, ctx, region)
	ours := func() []string {
		list, err := client.ListBuckets(ctx, &s3.ListBucketsInput{})
		require.NoError(t, err)
		var names []string
		for _, b := range list.Buckets {
			if strings.HasPrefix(*b.Name, contract.StackPrefix(environment)) {
				names = append(names, *b.Name)
			}
		}
		return names
	}
	require.NotEmpty(t, ours())
	for _, bucket := range ours() {
		aws.EmptyS3BucketContext(t, ctx, region, bucket)
	}
	cli, assembly := e.synth(t, s)
	require.NoError(t, cli.Destroy(ctx, assembly, "--all"))

	for name := range stackTimes(t) {
		assert.NotContains(t, name, contract.StackPrefix(environment))
	}
	assert.Empty(t, ours())
	queues, err := aws.NewSqsClientContext(t, ctx, region).ListQueues(ctx, &sqs.ListQueuesInput{})
	require.NoError(t, err)
	assert.Empty(t, queues.QueueUrls)
	// With the groups gone, so are the instances.
	e.awaitStatus(t, time.Minute, "no instance", func(s local.Status) bool { return len(s.Instances) == 0 })
}

// down stops the environment and looks that nothing of it runs on.
func (e *environmentUnderTest) down(t *testing.T) {
	before, err := e.readStatus(t)
	e.run(t, "down")
	if err != nil {
		return // it never came up
	}
	pids := []int{before.Redis.PID}
	for _, p := range before.Postgres {
		pids = append(pids, p.PID)
	}
	for _, i := range before.Instances {
		pids = append(pids, i.PID)
	}
	for _, pid := range pids {
		if pid > 0 {
			assert.False(t, runs(pid), "pid %d runs on", pid)
		}
	}
}

// runs tells whether a process runs; one that has ended and that nobody has
// waited for yet does not.
func runs(pid int) bool {
	p, err := gops.NewProcess(int32(pid))
	if err != nil {
		return false
	}
	status, err := p.Status()
	return err == nil && !slices.Contains(status, gops.Zombie)
}

// synth synthesizes as `loadbearing up` does and returns the CDK CLI pointed
// at the emulator.
func (e *environmentUnderTest) synth(t *testing.T, s local.Status) (cdk.CLI, string) {
	t.Helper()
	cli := cdk.CLI{Root: e.project.Root, Env: cdk.Emulated(s.AWSEndpointURL, region)}
	assembly := t.TempDir()
	require.NoError(t, e.project.Synth(testContext(t, 5*time.Minute), cli, project.Synthesis{
		Env: environment, Region: region, Platform: project.Host(), Out: assembly,
	}))
	return cli, assembly
}

// signedUp returns a client with a session in a tenant of its own, and its first project.
func signedUp(t *testing.T, base string) (*api.Client, api.Project) {
	t.Helper()
	ctx := testContext(t, time.Minute)
	c, err := api.New(base)
	require.NoError(t, err)
	email, password := uuid.NewString()+"@example.com", "correct horse battery staple"
	require.NoError(t, c.Register(ctx, "Tenant of "+email, email, password))
	require.NoError(t, c.Login(ctx, email, password))
	p, err := c.CreateProject(ctx, "First")
	require.NoError(t, err)
	return c, p
}

// stackTimes returns the moment each stack last changed, by name. LocalStack
// goes on listing deleted stacks, which AWS does for 90 days under their id only.
func stackTimes(t *testing.T) map[string]time.Time {
	t.Helper()
	out, err := cloudformation.NewFromConfig(sdkConfig(t)).DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{})
	require.NoError(t, err)
	times := map[string]time.Time{}
	for _, stack := range out.Stacks {
		if stack.StackStatus == cloudformationtypes.StackStatusDeleteComplete {
			continue
		}
		changed := stack.CreationTime
		if stack.LastUpdatedTime != nil {
			changed = stack.LastUpdatedTime
		}
		times[*stack.StackName] = *changed
	}
	return times
}

func stackOutput(t *testing.T, stack, key string) string {
	t.Helper()
	out, err := cloudformation.NewFromConfig(sdkConfig(t)).DescribeStacks(t.Context(),
		&cloudformation.DescribeStacksInput{StackName: &stack})
	require.NoError(t, err)
	for _, o := range out.Stacks[0].Outputs {
		if *o.OutputKey == key {
			return *o.OutputValue
		}
	}
	t.Fatalf("stack %s has no output %s", stack, key)
	return ""
}

func sdkConfig(t *testing.T) awssdk.Config {
	t.Helper()
	cfg, err := aws.NewAuthenticatedSessionFromDefaultCredentialsContext(t.Context(), region)
	require.NoError(t, err)
	return *cfg
}

func get(t *testing.T, url string) (api.Response, error) {
	t.Helper()
	c, err := api.New(url)
	require.NoError(t, err)
	return c.Do(testContext(t, time.Minute), http.MethodGet, url, nil, nil)
}

// testCrash: in the middle of a release everything that carries it out is
// killed, the edge and the emulator with the state of the release in it. After
// `down` and `up` one version serves, and the next release works. With
// CRASH=all in each phase that lasts.
func testCrash(t *testing.T, e *environmentUnderTest) {
	phases := map[release.Phase][]string{
		release.Baking: {"--strategy", "canary", "--bake", "1m"},
	}
	if os.Getenv("CRASH") == "all" {
		phases[release.Launching] = []string{"--strategy", "canary"}
		phases[release.Holding] = []string{"--strategy", "blue-green", "--hold"}
		phases[release.Replacing] = []string{"--strategy", "rolling"}
		phases[release.Promoted] = []string{"--strategy", "blue-green", "--bake", "1s", "--min-requests", "1"}
		phases[release.Withdrawing] = []string{"--strategy", "canary", "--bake", "10s", "--timeout", "1s"}
	}
	for phase, flags := range phases {
		t.Run(string(phase), func(t *testing.T) { testCrashIn(t, e, phase, flags) })
	}
}

func testCrashIn(t *testing.T, e *environmentUnderTest, phase release.Phase, flags []string) {
	view := func() (v release.View) {
		cmd := e.command("release", "status", "--json")
		cmd.Logger = logger.Discard
		require.NoError(t, json.Unmarshal([]byte(shell.RunCommandContextAndGetStdOut(t, testContext(t, time.Minute), cmd)), &v))
		return v
	}
	browse := func(edge string) (leave func()) {
		c, _ := signedUp(t, edge)
		ctx, stop := context.WithCancel(testContext(t, 2*time.Minute))
		var visits sync.WaitGroup
		visits.Go(func() {
			for ctx.Err() == nil {
				_, _ = c.Do(ctx, http.MethodGet, "/v1/me", nil, nil)
			}
		})
		return func() { stop(); visits.Wait() }
	}
	leave := browse(e.status(t).EdgeURL)
	var before int
	retry.DoWithRetryContext(t, testContext(t, time.Minute), "wait until the last release is over", 240, 250*time.Millisecond, func() (string, error) {
		s := view().State
		if before = s.Number; before > 0 && !s.Phase.Over() {
			return "", fmt.Errorf("release %d is %s", s.Number, s.Phase)
		}
		return "", nil
	})
	e.run(t, slices.Concat([]string{"release"}, flags, []string{"--detach"})...)
	retry.DoWithRetryContext(t, testContext(t, time.Minute), "wait until the release is "+string(phase), 600, 50*time.Millisecond, func() (string, error) {
		if s := view().State; s.Number == before || s.Phase != phase {
			return "", fmt.Errorf("release %d is %s", s.Number, s.Phase)
		}
		return "", nil
	})
	leave()
	lock, err := os.ReadFile(filepath.Join(e.env["LOADBEARING_RUN_DIR"], "lock"))
	require.NoError(t, err)
	up, err := strconv.Atoi(strings.TrimSpace(string(lock)))
	require.NoError(t, err)
	p, err := gops.NewProcess(int32(up))
	require.NoError(t, err)
	children, err := p.Children() // the emulator, the data stores and the instances
	require.NoError(t, err)
	require.NotEmpty(t, children)
	require.NoError(t, syscall.Kill(up, syscall.SIGKILL))
	for _, child := range children {
		require.NoError(t, syscall.Kill(int(child.Pid), syscall.SIGKILL))
	}
	e.run(t, "down")
	e.run(t, "up", "--detach")

	v := view()
	require.Zero(t, v.State.Number, "a release without a state goes on: %+v", v.State)
	require.Equal(t, 100, v.Colors[contract.ColorBlue].Percent)
	require.Zero(t, v.Colors[contract.ColorGreen].Percent+v.Colors[contract.ColorGreen].Desired)
	leave = browse(e.status(t).EdgeURL)
	e.run(t, "release", "--strategy", "blue-green", "--bake", "1s", "--min-requests", "5", "--window", "1s", "--max-p99", "5s")
	leave()
	require.Equal(t, 100, view().Colors[contract.ColorGreen].Percent)
}
