// Package worker runs a handler for the messages of an SQS queue. Of
// this module it needs package trace only: import it into any Go program.
//
// A message is received only when there is room to start it at once, so its
// visibility timeout is spent on work and not on waiting. While its handler
// runs, the timeout is extended; a worker that dies stops extending it, and
// the message comes back to another. Messages are delivered at least once: a
// handler must tolerate the same one twice.
//
// # Outcomes
//
// What happens to a message depends on what its handler returns:
//
//   - nil deletes it;
//   - an error keeps it and makes it visible again after a delay that grows
//     with the number of receives, with full jitter;
//   - [RetryAfter] does so after a delay of the handler's choice;
//   - [Permanent] says that repeating will not help: the message goes to the
//     dead-letter queue now;
//   - [Drop] says that nobody needs it any more: it is deleted and logged;
//   - a panic counts as an error, and the worker goes on.
//
// # Giving up
//
// Run reads the queue's redrive policy before it receives anything, and so it
// knows which receive of a message is its last: the next one would move it to
// the dead-letter queue instead. When a handler fails on that receive, or with
// a Permanent error, Config.OnGiveUp learns of it before the message leaves
// the queue, so that what the message stood for does not stay "running".
//
// SQS cannot move one message, and its redrive policy does not say why it did.
// The worker therefore sends a copy with the reason in its attributes (see
// AttributeReason) to the dead-letter queue and then deletes the original: a
// crash between the two leaves it in the dead-letter queue twice, never not at
// all. The copy has an id and a retention of its own. Without the permission to
// send there, or with Config.LeaveToRedrive, the message stays and the redrive
// policy moves it, after maxReceiveCount receives and without a reason.
//
// The worker never deletes what was neither handled, dropped nor copied.
// Losing a message takes a queue without a dead-letter queue and its retention
// period.
//
// # Draining
//
// When the context of Run is over nothing more is received and the handlers
// that run may finish within the drain limit. What does not is cancelled and
// handed back: visible to other workers at once. A long poll that is cut off
// may have been given a message already; that one comes back when its
// visibility timeout is over.
//
// # Traces
//
// A W3C traceparent in the message attribute of that name is continued: the
// handler's context carries it (trace.From), and so do the worker's log lines.
package worker
