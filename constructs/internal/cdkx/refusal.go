package cdkx

// Refusal is an error a construct panics with on purpose, because what it was
// given cannot be deployed. Its text is for the user and needs no stack trace.
type Refusal interface {
	error
	refusal()
}

func (e *PropsError) refusal() {}

// Refuse makes err a Refusal with the same text.
func Refuse(err error) Refusal { return refused{err} }

type refused struct{ error }

func (refused) refusal()        {}
func (e refused) Unwrap() error { return e.error }
