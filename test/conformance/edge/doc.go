// Package edge is a conformance suite for an Application Load Balancer. Each
// case is a sentence of AWS's documentation, names its page, sets up rules and
// target groups through the Elastic Load Balancing API, sends requests through
// the load balancer and looks at what its targets and clients see.
//
// By default it runs against the local edge, with an emulator and an edge of
// its own on free ports. The same cases run against a real load balancer when
// these are set, with credentials that the AWS SDK finds:
//
//	CONFORMANCE_LISTENER_ARN  an HTTP listener that the suite may add rules to,
//	                          with a fixed response of 404 as its default action
//	CONFORMANCE_ADDRESS       host:port at which it is reached
//	CONFORMANCE_TARGET_IP     private address of this machine, in the VPC
//
// Targets are HTTP servers of the suite, on that address and ports of their
// own, registered by IP: their security group has to let the load balancer in.
// The suite adds up to 60 rules and as many target groups, each for a Host of its
// own, and deletes them. Its rules have priorities from 20000. Some cases change
// attributes of the load balancer and set them back: use one that serves nobody.
//
// A case that cannot run on one of the two says why it is skipped.
package edge
