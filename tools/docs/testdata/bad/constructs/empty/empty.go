package empty

// Thing is not a construct.
type Thing struct{}
