package function_test

import (
	"path/filepath"
	"time"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func Example() {
	stack := cdkapp.Stack(cdktest.App(), "thumbnails", cdkapp.StackProps{})
	jobs := queue.New(stack, "Jobs", queue.Props{VisibilityTimeout: 6 * time.Minute})
	resize := function.New(stack, "Resize", function.Props{
		Source:      "./testdata/hello",
		BuildFolder: filepath.Join(cdktest.Root(), ".build", "test", "functions"),
		Timeout:     time.Minute,
	})
	resize.ConsumeQueue(jobs, function.QueueSource{MaxConcurrency: 10})

	cdktest.Print(stack, "AWS::Lambda::Function", "AWS::Lambda::EventSourceMapping", "AWS::SQS::Queue")
	// Output:
	// 1 AWS::Lambda::Function
	// 1 AWS::Lambda::EventSourceMapping
	// 2 AWS::SQS::Queue
}
