package postgres

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
)

// Whatever is asked for, the query has nothing in it that PostgreSQL would read
// as more than a word, and a file name is found by each of its own words.
func FuzzWords(f *testing.F) {
	for _, seed := range []string{
		"HolidayClip Zoë 2024", "' | !'':*", `\'`, "a\x00b", "\xff\xfe", "日本語 ไทย", "ŉ ẞ İ ﷺ ﬃ", strings.Repeat("ﷺ", 200), "a\u0345\u0301", "x:*&y<->z",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const lexeme = 2046 // bytes PostgreSQL takes of one
		asked, indexed := words(text, false), videoWords(app.Video{Filename: text})
		for _, word := range slices.Concat(asked, indexed) {
			if word == "" || len(word) > lexeme || !utf8.ValidString(word) || strings.ContainsFunc(word, func(r rune) bool {
				return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.Mc, r)
			}) {
				t.Errorf("%q has the word %q", text, word)
			}
		}
		if len(indexed) > maxWords {
			t.Errorf("%d words are indexed", len(indexed))
		}
		for _, word := range asked {
			if len(indexed) < maxWords && !slices.Contains(indexed, word) {
				t.Errorf("%q is not found by its word %q but by %q", text, word, indexed)
			}
		}
		if q := tsquery(uuid.Nil, asked); strings.Count(q, "'") != 2*(1+len(asked)) || strings.ContainsAny(q, "\\\x00") {
			t.Errorf("%q becomes %s", text, q)
		}
	})
}
