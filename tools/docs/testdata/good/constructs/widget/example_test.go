package widget_test

import (
	"fmt"
	"path/filepath"

	sqs "github.com/aws/aws-cdk-go/awscdk/v2/awssqs"

	"example.com/made/constructs/cdkapp"
	"example.com/made/constructs/internal/cdktest"
	"example.com/made/constructs/widget"
)

// One widget.
func Example() {
	stack := cdkapp.Stack(cdktest.App(), "jobs", cdkapp.StackProps{})
	w := widget.New(stack, "Jobs", widget.Props{
		Name:     "jobs", // in the console
		Folder:   filepath.Join(cdktest.Root(), "testdata"),
		Override: func(p *sqs.QueueProps) {},
	})

	fmt.Println(w.URL() != "")
	cdktest.Print(stack, "AWS::SQS::Queue", "AWS::Some::OddThing")
	// Output:
	// true
	// 2 AWS::SQS::Queue
	// 1 AWS::Some::OddThing
}
