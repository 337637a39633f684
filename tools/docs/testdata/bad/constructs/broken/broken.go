// Package broken makes nothing.
//
// # Migrate
//
// # Coverage
//
//	want | how
//	one column
package broken

import "github.com/aws/constructs-go/constructs/v10"

// Props configures a Broken.
type Props struct {
	Name string

	// Size of it.
	Size int

	// Quiet says nothing.
	Quiet bool

	// Owner is required.
	Owner string

	Lost, Found string
}

// Broken is a construct.
type Broken struct {
	constructs.Construct
}

// New makes a Broken.
func New(scope constructs.Construct, id string, props Props) *Broken { return nil }
