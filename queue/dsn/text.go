package dsn

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes foreign text safe for one line: what is not printable ASCII
// becomes '?', and it is cut. No CR and no LF comes out, so no header either.
func clean(s string) string {
	const cut = "..."
	s = strings.ReplaceAll(strings.TrimSpace(s), "…", cut)
	long := len(s) > maxText
	if long {
		s = s[:maxText-len(cut)]
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if long {
		s += cut
	}
	return strings.TrimSpace(s)
}

// oneLine is clean for text that may be UTF-8.
func oneLine(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsGraphic(r) {
			return '?'
		}
		return r
	}, s)
}

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
