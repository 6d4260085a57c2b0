// Package foreign makes text that strangers wrote safe to show: in a log line, a
// header field, a reply or on a terminal. What could end a line, turn the direction
// of writing or drive a terminal becomes '?', and the text is bounded, because a
// certificate or a reply may be of any length.
//
// Start with ASCII, which mail and logs want, or with Printable, for people.
package foreign

import (
	"strings"
	"unicode"
)

// cut marks a text that was longer.
const cut = "..."

// ASCII returns s in printable ASCII, on one line, with at most the given number of
// octets.
func ASCII(s string, most int) string {
	return bounded(s, most, func(r rune) bool { return r >= ' ' && r <= '~' })
}

// Printable is ASCII for text that may be UTF-8: what unicode calls printable stays.
// Marks of direction and spaces other than ' ' are not.
func Printable(s string, most int) string { return bounded(s, most, unicode.IsPrint) }

func bounded(s string, most int, fits func(rune) bool) string {
	tail := ""
	if len(s) > most {
		tail = cut[:min(len(cut), most)]
		s = s[:most-len(tail)]
	}
	return strings.Map(func(r rune) rune {
		if fits(r) && r != unicode.ReplacementChar { // what is no UTF-8 comes as that
			return r
		}
		return '?'
	}, s) + tail
}
