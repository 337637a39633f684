package queue

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Each grant includes the use of the queue's KMS key that it needs.

// GrantSend lets an identity send messages.
func (q *Queue) GrantSend(to awsiam.IGrantable) awsiam.Grant {
	return q.Queue.GrantSendMessages(to)
}

// GrantConsume lets an identity receive and delete messages and extend their
// visibility.
func (q *Queue) GrantConsume(to awsiam.IGrantable) awsiam.Grant {
	return q.Queue.GrantConsumeMessages(to)
}

// GrantPurge lets an identity delete every message of the queue.
func (q *Queue) GrantPurge(to awsiam.IGrantable) awsiam.Grant {
	return q.Queue.GrantPurge(to)
}

// GrantRedrive lets an identity move dead letters back to the queue, watch that
// and stop it: StartMessageMoveTask takes from the one and sends to the other on
// the caller's behalf. Name the queue as the destination, since messages that a
// topic put into the dead-letter queue have no source that SQS knows. It panics
// with a *PropsError for an existing queue without a DeadLetterQueue.
func (q *Queue) GrantRedrive(to awsiam.IGrantable) awsiam.Grant {
	if q.DeadLetterQueue == nil {
		panic(&PropsError{Construct: "queue", Path: *q.Node().Path(), Problems: []cdkx.FieldError{
			{Field: "DeadLetterQueue", Value: "nil", Allowed: "the dead-letter queue of the existing Queue, to redrive from"},
		}})
	}
	take := q.DeadLetterQueue.GrantConsumeMessages(to)
	q.DeadLetterQueue.Grant(to, *cdkx.Strings("sqs:StartMessageMoveTask", "sqs:ListMessageMoveTasks", "sqs:CancelMessageMoveTask")...)
	return take.Combine(q.Queue.GrantSendMessages(to))
}
