package widget_test

import "testing"

func TestOther(t *testing.T) {
	cdktest.Golden(t, stack, "other")
}

func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	w := widget.New(stack, "My-Jobs", widget.Props{Name: "jobs"})
	awsiam.NewRole(stack, new("Worker"), nil)
	queue.New(stack, "MyJobsLater", queue.Props{})
	cdktest.Golden(t, stack, "widget")
}

func TestLast(t *testing.T) {
	cdktest.Golden(t, stack, "last")
}
