// Package local is the laptop's AWS: it starts an emulator for the control
// plane, deploys the stacks to it with the real CDK command line, and runs for
// real what the emulator does not, reading only what was deployed through the
// AWS APIs:
//
//	emulator     the control plane (MiniStack, or one of the user's)
//	cdk          synth, bootstrap and deploy with the pinned CDK CLI
//	rds          PostgreSQL servers where the deployed DB instances say
//	elasticache  Redis where the deployed replication group says
//	edge         CloudFront and the load balancer
//	instances    EC2: the processes the Auto Scaling groups ask for
//	metrics      what AWS services publish about themselves in CloudWatch
//	scaling      Auto Scaling: policies and schedules set what the groups ask for
//
// Up wires them, Status tells what runs, Down stops what a run left behind.
package local
