// Package test holds the Terratest suites: they deploy the stacks to an AWS
// emulator with the real CDK command line and assert what came of it through
// the AWS APIs and, as a user would, through the edge.
//
// Stages can be skipped by environment variable (SKIP_destroy=1 leaves the
// environment running), as Terratest's test-structure has it.
package test
