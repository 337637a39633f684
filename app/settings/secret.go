package settings

import "log/slog"

const mask = "***"

// Secret is a value that must not be printed: every way of formatting it gives
// "***". Reveal returns it for use.
type Secret string

// Reveal returns the value itself.
func (s Secret) Reveal() string { return string(s) }

// String returns "***".
func (s Secret) String() string { return mask }

// GoString returns "***", for %#v.
func (s Secret) GoString() string { return mask }

// MarshalText returns "***", for JSON and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(mask), nil }

// LogValue returns "***", for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(mask) }

// Credentials are a database role's name and password, as Secrets Manager
// keeps them: {"username": …, "password": …}.
type Credentials struct {
	Username string
	Password Secret
}
