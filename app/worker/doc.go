// Package worker runs a handler for the messages of an SQS queue.
//
// A message is received only when there is room to start it at once, so its
// visibility timeout is spent on work and not on waiting. While its handler
// runs, the timeout is extended; a worker that dies stops extending it, and
// the message comes back to another. Messages are delivered at least once: a
// handler must tolerate the same one twice.
//
// What happens to a message depends on what its handler returns:
//
//   - nil deletes it;
//   - an error keeps it and makes it visible again after a delay that grows
//     with the number of receives, with full jitter;
//   - an error marked Permanent keeps it and makes it visible again soon:
//     repeating will not help, and the queue's redrive policy moves it to the
//     dead-letter queue after maxReceiveCount receives;
//   - a panic counts as an error, and the worker goes on.
//
// The worker never deletes what was not handled: losing a message takes a
// queue without a dead-letter queue and its retention period.
//
// When the context of Run is over nothing more is received and the handlers
// that run may finish within the drain limit. What does not is cancelled and
// handed back: visible to other workers at once.
package worker
