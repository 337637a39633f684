package stacks

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/constructs/fanout"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/observability"
	"github.com/loadbearing/loadbearing/constructs/queue"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// consumerTimeout is what one batch of events may take. The queues hide a
// message for six times as long.
const consumerTimeout = 30 * time.Second

// Messaging is the stack of what runs after a request was answered.
type Messaging struct {
	Stack   awscdk.Stack
	Jobs    *queue.Queue   // image jobs for the worker fleet
	Events  *fanout.Fanout // domain events, one queue per consumer
	Migrate *function.Function
	Probe   *function.Function
	Index   *function.Function
	Meter   *function.Function
	Notify  *function.Function
	// Values are what this stack publishes for the programs, by setting; each
	// also stands in an SSM parameter.
	Values Values
}

// NewMessaging makes the job queue, the event topic with its consumers, and the
// function that migrates the database.
func NewMessaging(scope constructs.Construct, settings Settings, programs *programs, network *Network, data *Data) *Messaging {
	stack := newStack(scope, settings, "messaging", "Loadbearing: job queue, event topic, Lambda functions")
	m := &Messaging{Stack: stack}

	// The worker extends the timeout while it is at a job; 30 s is how long a
	// job waits when its worker dies.
	key := network.Key.Key
	m.Jobs = queue.New(stack, "Jobs", queue.Props{VisibilityTimeout: 30 * time.Second, Key: key})
	consumer := func(name string, types ...string) fanout.Subscription {
		return fanout.Subscription{
			Name:       name,
			QueueProps: queue.Props{Consumer: queue.Consumer{Timeout: consumerTimeout}, Key: key},
			Filter:     map[string][]string{contract.EventTypeAttribute: types},
		}
	}
	m.Events = fanout.New(stack, "Events", fanout.Props{
		Key: key,
		Subscriptions: []fanout.Subscription{
			consumer(folderProbe, app.EventVideoUploaded),
			consumer(folderIndex, app.EventVideoUploaded, app.EventVideoProbed),
			consumer(folderMeter, app.EventVideoUploaded, app.EventVideoProbed),
			consumer(folderNotify, app.EventTypes()...),
		},
	})
	m.Values = Values{
		contract.JobsQueue:   m.Jobs.URL(),
		contract.EventsTopic: m.Events.TopicARN(),
	}
	m.Values.publish(stack, settings)

	makeFunction := func(id, folder string, props function.Props, needs ...contract.Setting) *function.Function {
		props = programs.configure(props, folder)
		props.Environment = environment(settings, []Values{data.Values, m.Values}, needs...)
		props.Key = key
		props.VPC = network.Network.VPC
		props.Subnets = network.Network.Private()
		props.SecurityGroups = []awsec2.ISecurityGroup{network.Clients}
		return function.New(stack, id, props)
	}

	m.Migrate = makeFunction("Migrate", folderMigrate, function.Props{
		Name:        contract.MigrateFunction(settings.Env),
		Description: "Migrates the database",
		MemoryMiB:   512,
		Timeout:     15 * time.Minute,
		Synchronous: true,
	}, contract.DatabasePrimary, contract.DatabaseName, contract.DatabaseAdminSecret, contract.DatabaseAppSecret)
	data.Database.AdminSecret.GrantRead(m.Migrate.Role, nil)
	data.AppSecret.GrantRead(m.Migrate.Role, nil)
	// The migrations that a release brings are beside its program.
	data.grantReadReleases(m.Migrate.Role)

	m.Probe = makeFunction("Probe", folderProbe, function.Props{
		Description:         "Reads duration, codec and dimensions of uploaded videos",
		MemoryMiB:           512,
		Timeout:             consumerTimeout,
		ReservedConcurrency: settings.FunctionConcurrency,
	}, contract.DatabasePrimary, contract.DatabaseName, contract.DatabaseAppSecret, contract.MediaBucket)
	data.AppSecret.GrantRead(m.Probe.Role, nil)
	data.GrantReadMedia(m.Probe.Role)
	data.acknowledgeMedia(m.Probe.Role)
	m.Probe.ConsumeQueue(m.Events.Queues[folderProbe], function.QueueSource{})

	m.Index = makeFunction("Index", folderIndex, function.Props{
		Description:         "Makes videos found by their names and by what is in them",
		Timeout:             consumerTimeout,
		ReservedConcurrency: settings.FunctionConcurrency,
	}, contract.DatabasePrimary, contract.DatabaseName, contract.DatabaseAppSecret)
	data.AppSecret.GrantRead(m.Index.Role, nil)
	m.Index.ConsumeQueue(m.Events.Queues[folderIndex], function.QueueSource{})

	m.Meter = makeFunction("Meter", folderMeter, function.Props{
		Description:         "Counts the bytes and seconds of video that each tenant uploads",
		Timeout:             consumerTimeout,
		ReservedConcurrency: settings.FunctionConcurrency,
	}, contract.DatabasePrimary, contract.DatabaseName, contract.DatabaseAppSecret)
	data.AppSecret.GrantRead(m.Meter.Role, nil)
	m.Meter.ConsumeQueue(m.Events.Queues[folderMeter], function.QueueSource{})

	m.Notify = makeFunction("Notify", folderNotify, function.Props{
		Description:         "Tells users what becomes of what they upload",
		Timeout:             consumerTimeout,
		ReservedConcurrency: settings.FunctionConcurrency,
	}, contract.DatabasePrimary, contract.DatabaseName, contract.DatabaseAppSecret, contract.CacheEndpoint, contract.CacheSecret)
	data.AppSecret.GrantRead(m.Notify.Role, nil)
	data.Cache.GrantReadSecret(m.Notify.Role)
	m.Notify.ConsumeQueue(m.Events.Queues[folderNotify], function.QueueSource{})

	awscdk.NewCfnOutput(stack, new("MigrateFunction"), &awscdk.CfnOutputProps{
		Value:       m.Migrate.Function.FunctionName(),
		Description: new("Invoke it to migrate the database"),
	})
	return m
}

// Sections is the messaging part of the dashboard.
func (m *Messaging) Sections() []observability.Section {
	return []observability.Section{
		{Title: "Jobs", Watched: []observability.Watched{m.Jobs}},
		{Title: "Events", Watched: []observability.Watched{m.Events}},
		{Title: "Functions", Watched: []observability.Watched{m.Probe, m.Index, m.Meter, m.Notify, m.Migrate}},
	}
}
