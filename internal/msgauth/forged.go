package msgauth

import (
	"strings"

	"dancemta/internal/dnsname"
)

// forged returns the Authentication-Results fields that must not pass: those that
// claim to be ours, and those that might be taken so because they are of a version
// that we do not know or cannot be read. RFC 8601 5
func forged(fields []raw, ours dnsname.Name) []raw {
	var gone []raw
	for _, f := range fields {
		if !strings.EqualFold(f.name, resultsField) {
			continue
		}
		if id, ok := authservID(f.value); !ok || isOurs(id, ours) {
			gone = append(gone, f)
		}
	}
	return gone
}

// isOurs compares as those may who believe us: in any case, in U-labels or
// A-labels, with a final dot or without, with what folding left in quotes.
func isOurs(id string, ours dnsname.Name) bool {
	name, err := parseDomain(strings.TrimRight(stripSpace(id), "."))
	return err == nil && name == ours
}

// authservID reads the value of an Authentication-Results field as far as it must be
// known whose it is: authserv-id [version] *(";" …), with white space and comments
// between (RFC 8601 2.2). ok is false when that, or the quotes and comments of
// the rest, cannot be read.
func authservID(value string) (id string, ok bool) {
	s := scanner{rest: value}
	if id, ok = s.word(); !ok || id == "" {
		return "", false
	}
	version, ok := s.word()
	switch {
	case !ok || !s.skip():
		return "", false
	case version != "" && version != "1":
		return "", false
	case s.rest != "" && s.rest[0] != ';':
		return "", false
	}
	for s.rest != "" { // methods: their words and signs may be any
		if strings.IndexByte(";=/", s.rest[0]) >= 0 {
			s.rest = s.rest[1:]
		} else if w, ok := s.word(); !ok || w == "" && s.rest != "" && strings.IndexByte(";=/", s.rest[0]) < 0 {
			return "", false
		}
		if !s.skip() {
			return "", false
		}
	}
	return id, true
}

// scanner takes a structured field apart. RFC 5322 3.2
type scanner struct{ rest string }

// maxComments bounds comments within comments; people write none.
const maxComments = 20

// skip takes white space and comments; false when a comment does not end.
func (s *scanner) skip() bool {
	depth := 0
	for s.rest != "" {
		c := s.rest[0]
		switch {
		case c == '(':
			if depth++; depth > maxComments {
				return false
			}
		case depth == 0 && strings.IndexByte(" \t\r\n", c) < 0:
			return true
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			if len(s.rest) < 2 {
				return false
			}
			s.rest = s.rest[1:]
		}
		s.rest = s.rest[1:]
	}
	return depth == 0
}

// word takes a token or a quoted string, "" when there is none here; ok is false
// when it does not end.
func (s *scanner) word() (w string, ok bool) {
	if !s.skip() {
		return "", false
	}
	if strings.HasPrefix(s.rest, `"`) {
		return s.quoted()
	}
	end := strings.IndexAny(s.rest, " \t\r\n;=/()\"")
	if end < 0 {
		end = len(s.rest)
	}
	w, s.rest = s.rest[:end], s.rest[end:]
	for i := range len(w) {
		if w[i] < ' ' || w[i] == 0x7f {
			return "", false
		}
	}
	return w, true
}

// quoted takes a quoted string. Its folding is no part of it.
func (s *scanner) quoted() (w string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; c {
		case '"':
			s.rest = s.rest[i+1:]
			return b.String(), true
		case '\\':
			if i++; i == len(s.rest) {
				return "", false
			}
			b.WriteByte(s.rest[i])
		case '\r', '\n':
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}
