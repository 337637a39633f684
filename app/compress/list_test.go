package compress

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
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
			ID: id(), Name: name(rnd), Version: 1 + rnd.IntN(40), CreatedBy: people[rnd.IntN(len(people))],
			CreatedAt: at, UpdatedAt: at.Add(time.Duration(rnd.Int64N(int64(90 * 24 * time.Hour)))).Truncate(time.Microsecond),
		}
		for len(p.Description) < about/perPage-400 {
			p.Description += brief(rnd)
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

func pick(rnd *rand.Rand, from string) string {
	all := strings.Split(from, "|")
	return all[rnd.IntN(len(all))]
}

func name(rnd *rand.Rand) string {
	return fmt.Sprintf("%s %s %d", pick(rnd, "Spring|Autumn|Launch|Zoë's|Product|Training|Harbour|Night|Interview|Onboarding"),
		pick(rnd, "campaign|film|series|tour|reel|teaser|talks|portraits"), 2020+rnd.IntN(8))
}

// brief is one part of a description.
func brief(rnd *rand.Rand) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\nOwner: %s. Due: 2026-%02d-%02d. Budget code: %05d.\n", pick(rnd, "Deliverables|Shot list|Review round|Publication"),
		pick(rnd, "Anna Lindqvist|José Ortega|Mei Tanaka|Tom Becker|Priya Nair"), 1+rnd.IntN(12), 1+rnd.IntN(28), rnd.IntN(100_000))
	for range 4 + rnd.IntN(4) {
		fmt.Fprintf(&b, "- [%s] scene %d take %d, %s, %s, %02d:%02d:%02d: %s\n", pick(rnd, " |x"), 1+rnd.IntN(60), 1+rnd.IntN(9),
			pick(rnd, "3840x2160 ProRes 422 HQ|1920x1080 H.264|1080x1920 H.264|1080x1080 VP9"), pick(rnd, "24 fps|25 fps|50 fps|59.94 fps"),
			rnd.IntN(3), rnd.IntN(60), rnd.IntN(60),
			pick(rnd, "colour is graded, waiting for sound|needs new subtitles in German, French and Polish|approved by the client|"+
				"the horizon is tilted, please straighten it|replace the logo in the last three seconds|"+
				"licence of the music must be renewed|too dark on phones, lift the shadows|deliver a version without burnt-in captions"))
	}
	return b.String()
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
