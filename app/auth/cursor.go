package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
)

// List is what a cursor belongs to. A cursor of one list is not valid in another.
type List struct {
	Tenant uuid.UUID
	Kind   string // "projects", "videos"
	Filter string // all that selects or sorts the items, in one canonical text
}

// macBytes is the length the MAC is cut to: 128 bits, as RFC 2104, section 5,
// allows at the least.
const macBytes = 16

// Cursor returns the cursor that continues a list behind the item with the
// given id.
func (k *Keys) Cursor(l List, after uuid.UUID) string {
	return base64.RawURLEncoding.EncodeToString(append(after[:], k.cursorMAC(l, after)...))
}

// OpenCursor returns the id a cursor continues behind. One that was tampered
// with, or is of another tenant or list, is CodeInvalid.
func (k *Keys) OpenCursor(l List, cursor string) (uuid.UUID, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	// The decoder passes over line breaks: only one text is a cursor's.
	if err == nil && len(raw) == 16+macBytes && len(cursor) == base64.RawURLEncoding.EncodedLen(len(raw)) {
		after := uuid.UUID(raw[:16])
		if hmac.Equal(raw[16:], k.cursorMAC(l, after)) {
			return after, nil
		}
	}
	const message = "is not a cursor of this list"
	return uuid.Nil, &app.Error{
		Code: app.CodeInvalid, Message: "the cursor " + message,
		Fields: []app.FieldError{{Field: "cursor", Message: message}},
	}
}

func (k *Keys) cursorMAC(l List, after uuid.UUID) []byte {
	filter := sha256.Sum256([]byte(l.Filter))
	mac := hmac.New(sha256.New, k.cursor)
	mac.Write(l.Tenant[:])
	mac.Write(filter[:])
	mac.Write(after[:])
	mac.Write([]byte(l.Kind)) // last: the only part of variable length
	return mac.Sum(nil)[:macBytes]
}
