package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/loadbearing/loadbearing/app"
)

// Bounds of what is indexed and asked for. A file name has at most 255
// characters; PostgreSQL takes lexemes below 2 KiB.
const (
	maxWords     = 200 // of one video
	maxAsked     = 16  // words of one query
	maxWordRunes = 64
)

// Indexed implements app.Videos. The words depend on the row alone, which is
// locked from before it is read until they are stored: whatever order runs of
// it come in and however many, the last to end has seen the most.
func (s Videos) Indexed(ctx context.Context, tenant, id uuid.UUID) error {
	return s.db.tx(ctx, "index a video", tenant, func(tx pgx.Tx) error {
		var v app.Video
		row := tx.QueryRow(ctx, "select "+videoColumns+" from videos where tenant_id = $1 and id = $2 for update", tenant, id)
		if err := scanVideo(row, &v); err != nil {
			return err
		}
		words := append(videoWords(v), v.ProjectID.String())
		if v.Indexed {
			_, err := tx.Exec(ctx, "update videos set search = array_to_tsvector($3::text[]) where tenant_id = $1 and id = $2", tenant, id, words)
			return err
		}
		r, err := s.report(ctx, tx, `update videos set search = array_to_tsvector($3::text[]), indexed_at = now(), updated_at = now()
			where tenant_id = $1 and id = $2`, tenant, id, words)
		if err != nil {
			return err
		}
		return r.send(ctx, tx)
	})
}

// Search implements app.Videos. A project that is not there is CodeNotFound.
func (s Videos) Search(ctx context.Context, tenant, project uuid.UUID, text string, page app.Page) ([]app.Video, error) {
	asked := words(text, false)
	if len(asked) > maxAsked {
		return nil, app.Errorf(app.CodeInvalid, "a search takes at most %d words", maxAsked)
	}
	var all []app.Video
	err := s.db.batch(ctx, "search videos", tenant, func(b *pgx.Batch) {
		b.Queue("select from projects where tenant_id = $1 and id = $2", tenant, project).Exec(affected("the project"))
		if len(asked) == 0 {
			return
		}
		b.Queue("select "+videoColumns+` from videos
			where tenant_id = $1 and id in (select search_videos($2, $3::tsquery, $4, $5)) order by id desc`,
			tenant, project, tsquery(project, asked), before(page), page.Limit).
			Query(scanVideos(&all))
	})
	return all, err
}

// tsquery asks for every word, as a prefix, in one project. Words are letters
// and digits, so nothing in them needs escaping.
func tsquery(project uuid.UUID, asked []string) string {
	var q strings.Builder
	fmt.Fprintf(&q, "'%s'", project)
	for _, word := range asked {
		fmt.Fprintf(&q, " & '%s':*", word)
	}
	return q.String()
}

// videoWords returns what a video is found by, sorted, each word once.
func videoWords(v app.Video) []string {
	all := words(v.Filename, true)
	if v.Probe != nil {
		all = append(all, probeWords(*v.Probe)...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), maxWords)]
}

// probeWords returns the names people have for what the probe found.
func probeWords(p app.Probe) []string {
	all := []string{p.Container}
	for _, t := range p.Tracks {
		all = append(all, words(t.Codec, false)...)
		all = append(all, families()[codecFormat(t.Codec)]...)
	}
	if p.Width <= 0 || p.Height <= 0 {
		return all
	}
	all = append(all, strconv.Itoa(p.Width)+"x"+strconv.Itoa(p.Height))
	short := min(p.Width, p.Height) // 1080p is so called upright too
	for _, c := range []struct {
		lines int
		names []string
	}{
		{4320, []string{"4320p", "8k", "uhd"}},
		{2160, []string{"2160p", "4k", "uhd"}},
		{1440, []string{"1440p", "qhd", "hd"}},
		{1080, []string{"1080p", "fhd", "hd"}},
		{720, []string{"720p", "hd"}},
		{480, []string{"480p", "sd"}},
		{0, []string{"sd"}},
	} {
		if short >= c.lines {
			all = append(all, c.names...)
			break
		}
	}
	switch {
	case p.Width > p.Height:
		return append(all, "landscape")
	case p.Width < p.Height:
		return append(all, "portrait")
	}
	return append(all, "square")
}

// codecFormat is the part of an RFC 6381 codec string that names the codec.
func codecFormat(codec string) string {
	format, _, _ := strings.Cut(codec, ".")
	return strings.ToLower(format)
}

// families are the codecs' names in everyday use, by format.
func families() map[string][]string {
	return map[string][]string{
		"avc1": {"h264", "avc"}, "avc3": {"h264", "avc"}, "hvc1": {"h265", "hevc"}, "hev1": {"h265", "hevc"},
		"av01": {"av1"}, "vp08": {"vp8"}, "vp8": {"vp8"}, "vp09": {"vp9"}, "vp9": {"vp9"},
		"mp4a": {"aac"}, "ac-3": {"ac3", "dolby"}, "ec-3": {"eac3", "dolby"}, "apch": {"prores"}, "apcn": {"prores"}, "ap4h": {"prores"},
	}
}

// words cuts a text into its words, in lower case and without accents (Zoë is
// zoe), each once in the order they come. A word is a run of letters and
// digits; of scripts that put no space between words, each character is one.
// With parts, what a capital begins within a word counts too: HolidayClip is
// also found by clip.
func words(text string, parts bool) []string {
	var all []string
	fold := cases.Fold()
	add := func(word []rune) {
		folded := fold.String(string(word[:min(len(word), maxWordRunes)]))
		if len(word) > 0 && !slices.Contains(all, folded) {
			all = append(all, folded)
		}
	}
	var word []rune
	part := 0 // where the current part of word begins
	end := func() {
		add(word)
		if parts && part > 0 {
			add(word[part:])
		}
		word, part = word[:0], 0
	}
	// Compatibility decomposition takes the accents off the letters and makes
	// full-width and stylized letters plain.
	for _, r := range norm.NFKD.String(text) {
		switch {
		case unicode.Is(unicode.Mn, r): // an accent
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer):
			end()
			add([]rune{r})
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mc, r):
			if n := len(word); n > 0 && unicode.IsUpper(r) && unicode.IsLower(word[n-1]) {
				if parts {
					add(word[part:])
				}
				part = n
			}
			word = append(word, r)
		default:
			end()
		}
	}
	end()
	return all
}
