// Package widget makes a queue that a function empties.
//
// What it costs depends on how much is sent.
//
// # Limits
//
// There are [Props] for most of them.
//
// # Coverage
//
//	want | how
//	dead-letter queue | always
//	long polling | always, unless NoPolling
//	encryption with a key | Key
//	a <tag> or a * or a `quote` | Override: Tags
//
// # Cost
//
//   - Requests.
//   - One alarm.
//
// # Migrate
//
// Pass an existing queue as Queue.
package widget
