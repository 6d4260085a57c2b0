package dsn

import (
	"strings"

	"dancemta/internal/foreign"
)

// clean makes foreign text safe for one line. No CR and no LF comes out, so no
// header either.
func clean(s string) string {
	return strings.TrimSpace(foreign.ASCII(strings.TrimSpace(s), maxText))
}

// oneLine is clean for text that may be UTF-8.
func oneLine(s string) string { return foreign.Printable(s, maxText) }

// atom is clean for what must be a name or an id: letters, digits and . - _ :
// and the brackets of an address literal.
func atom(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(".-_:[]", r):
			return r
		}
		return '?'
	}, clean(s))
}

// wrap breaks s at its spaces into lines of at most width octets; a longer
// word has a line of its own.
func wrap(s string, width int) []string {
	var lines []string
	var line string
	for word := range strings.FieldsSeq(s) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
