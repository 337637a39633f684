// Workers on Spot instances: as many as the queue's backlog needs, with a floor on
// working days, and jobs that come back when an instance is taken away.
package main

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/network"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func main() {
	cdkapp.Main(func(app awscdk.App) error {
		stack := cdkapp.Stack(app, "spot-workers", cdkapp.StackProps{})

		jobs := queue.New(stack, "Jobs", queue.Props{VisibilityTimeout: time.Minute})
		workers := fleet.New(stack, "Workers", fleet.Props{
			VPC:           network.New(stack, "Network", network.Props{NATGateways: 1}).VPC,
			Environment:   "prod",
			Fleet:         "worker",
			Color:         "blue",
			Command:       "work",
			Source:        "./worker",
			Variables:     map[string]string{"JOBS_QUEUE_URL": jobs.URL()},
			InstanceType:  "c7g.large",
			InstanceTypes: []string{"c6g.large", "m7g.large", "m6g.large"},
			SpotPercent:   100,
			OnDemandBase:  1, // one stays when Spot has nothing
			MinCapacity:   1,
			MaxCapacity:   20,
			Backlog:       fleet.Backlog{Queue: jobs.Queue, PerInstance: 300},
			Schedule: []fleet.ScheduledFloor{
				{Name: "Morning", Cron: "0 7 * * MON-FRI", TimeZone: "Europe/Berlin", Min: 4},
				{Name: "Evening", Cron: "0 19 * * MON-FRI", TimeZone: "Europe/Berlin", Min: 1},
			},
		})
		jobs.GrantConsume(workers.Role)

		cdkapp.Output(stack, "JobsURL", jobs.URL(), "Send jobs here")
		return nil
	})
}
