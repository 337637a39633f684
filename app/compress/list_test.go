package compress

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app/compress/compresstest"
)

// projectList returns a page of projects as the API sends it, of about the
// given number of bytes: ids and times are as random as real ones, and the
// descriptions are briefs that people fill in from their team's template.
func projectList(tb testing.TB, about int) []byte {
	tb.Helper()
	type project struct {
		ID          uuid.UUID `json:"id"`
		Name        string    `json:"name"`
		Description string    `json:"description"`
		Version     int       `json:"version"`
		CreatedBy   uuid.UUID `json:"created_by"`
		CreatedAt   time.Time `json:"created_at"`
		UpdatedAt   time.Time `json:"updated_at"`
	}
	const perPage = 200 // as many as a page has at the most
	rnd := rand.New(rand.NewPCG(1, 2))
	id := func() uuid.UUID {
		var raw [16]byte
		for i := range raw {
			raw[i] = byte(rnd.Uint32())
		}
		copy(raw[:], []byte{1, 0x98, 0x7b, 0x3c}) // made in the same weeks
		raw[6], raw[8] = raw[6]&0xf|0x70, raw[8]&0x3f|0x80
		return raw
	}
	people := []uuid.UUID{id(), id(), id(), id(), id()}
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	var items []project
	size := 0
	for size < about {
		at = at.Add(time.Duration(rnd.Int64N(int64(36 * time.Hour)))).Truncate(time.Microsecond)
		p := project{
			ID: id(), Name: compresstest.Name(rnd), Version: 1 + rnd.IntN(40), CreatedBy: people[rnd.IntN(len(people))],
			Description: compresstest.Description(rnd, about/perPage-400),
			CreatedAt:   at, UpdatedAt: at.Add(time.Duration(rnd.Int64N(int64(90 * 24 * time.Hour)))).Truncate(time.Microsecond),
		}
		one, err := json.Marshal(p)
		if err != nil {
			tb.Fatal(err)
		}
		size += len(one) + 1
		items = append(items, p)
	}
	out, err := json.Marshal(struct {
		Items []project `json:"items"`
		Next  *string   `json:"next_cursor"`
	}{Items: items})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// noise cannot be compressed.
func noise(n int) []byte {
	rnd := rand.New(rand.NewPCG(3, 4))
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(rnd.Uint32())
	}
	return out
}
