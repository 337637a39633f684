package broken_test

import "testing"

func TestGolden(t *testing.T) {
	broken.New(stack, "Broken", broken.Props{})
	cdktest.Golden(t, stack, "broken")
}

func Example() {
	b := broken.New(stack, *jsii.String("x"), broken.Props{})
	use(&b, new("y"))
}
