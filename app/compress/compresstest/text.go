// Package compresstest writes text that compresses as what people keep in the
// service does: briefs filled in from a team's template. The same source of
// random numbers gives the same text.
package compresstest

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Name returns the name of a project.
func Name(rnd *rand.Rand) string {
	return fmt.Sprintf("%s %s %d", pick(rnd, "Spring|Autumn|Launch|Zoë's|Product|Training|Harbour|Night|Interview|Onboarding"),
		pick(rnd, "campaign|film|series|tour|reel|teaser|talks|portraits"), 2020+rnd.IntN(8))
}

// Description returns a project's description of at least the given number of
// bytes, and at most 1,000 more.
func Description(rnd *rand.Rand, atLeast int) string {
	var b strings.Builder
	for b.Len() < atLeast {
		brief(&b, rnd)
	}
	return b.String()
}

func brief(b *strings.Builder, rnd *rand.Rand) {
	fmt.Fprintf(b, "## %s\nOwner: %s. Due: 2026-%02d-%02d. Budget code: %05d.\n", pick(rnd, "Deliverables|Shot list|Review round|Publication"),
		pick(rnd, "Anna Lindqvist|José Ortega|Mei Tanaka|Tom Becker|Priya Nair"), 1+rnd.IntN(12), 1+rnd.IntN(28), rnd.IntN(100_000))
	for range 4 + rnd.IntN(4) {
		fmt.Fprintf(b, "- [%s] scene %d take %d, %s, %s, %02d:%02d:%02d: %s\n", pick(rnd, " |x"), 1+rnd.IntN(60), 1+rnd.IntN(9),
			pick(rnd, "3840x2160 ProRes 422 HQ|1920x1080 H.264|1080x1920 H.264|1080x1080 VP9"), pick(rnd, "24 fps|25 fps|50 fps|59.94 fps"),
			rnd.IntN(3), rnd.IntN(60), rnd.IntN(60),
			pick(rnd, "colour is graded, waiting for sound|needs new subtitles in German, French and Polish|approved by the client|"+
				"the horizon is tilted, please straighten it|replace the logo in the last three seconds|"+
				"licence of the music must be renewed|too dark on phones, lift the shadows|deliver a version without burnt-in captions"))
	}
}

func pick(rnd *rand.Rand, from string) string {
	all := strings.Split(from, "|")
	return all[rnd.IntN(len(all))]
}
