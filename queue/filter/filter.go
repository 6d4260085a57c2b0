// Package filter is the one language in which all commands name messages of the
// queue. A filter is a list of terms, all of which must hold:
//
//	sender=@example.org age>2h state=deferred reply~"4.7.5"
//
// What it chooses are recipients, the smallest things that can be held, tried or
// given up: a term about the message chooses all of its recipients, one about the
// recipient those that it fits.
//
// Start with Parse and Filter.Match; terms.go has the words.
package filter

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dancemta/queue"
)

// maxLength bounds a filter: it comes over a socket, and a person types less.
const maxLength = 4 << 10

// Everything is the filter that chooses all; it must be written, since nothing at all
// is more often a mistake.
const Everything = "all"

// Error says what is wrong with a filter, and where.
type Error struct {
	Text string // the whole filter
	At   int    // octets before the mistake
	What string
}

// Error shows the place below the filter.
func (e *Error) Error() string {
	shown := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, e.Text)
	column := utf8.RuneCountInString(e.Text[:e.At])
	return fmt.Sprintf("filter: %s\n  %s\n  %s^", e.What, shown, strings.Repeat(" ", column))
}

// Filter chooses recipients.
type Filter struct {
	terms []term
	id    queue.ID // only this message; empty: any
}

// ID returns the one message that can match; empty: there is no such.
func (f *Filter) ID() queue.ID { return f.id }

// term is one condition.
type term struct {
	key, op string
	values  []string // as written, without quotes
	test    test
}

// test says whether a recipient of a message is chosen.
type test func(s *queue.Summary, r *queue.RecipientSummary, now time.Time) bool

// Parse reads a filter. The error is an *Error.
func Parse(text string) (*Filter, error) {
	p := &parser{text: text}
	if len(text) > maxLength {
		p.text = text[:80]
		return nil, p.fail(0, fmt.Sprintf("longer than %d octets", maxLength))
	}
	if !utf8.ValidString(text) {
		p.text = strings.ToValidUTF8(text, "?")
		return nil, p.fail(0, "not UTF-8")
	}
	f := new(Filter)
	for p.space(); !p.end(); p.space() {
		t, err := p.term()
		if err != nil {
			return nil, err
		}
		if t.key == keyID && t.op == "=" && len(t.values) == 1 {
			f.id = queue.ID(strings.ToUpper(t.values[0]))
		}
		f.terms = append(f.terms, t)
	}
	if len(f.terms) == 0 {
		return nil, p.fail(0, fmt.Sprintf("it is empty; %q means all messages", Everything))
	}
	return f, nil
}

// Match returns the recipients of s that are chosen.
func (f *Filter) Match(s *queue.Summary, now time.Time) (chosen []queue.RecipientSummary) {
	for i := range s.Recipients {
		if f.matches(s, &s.Recipients[i], now) {
			chosen = append(chosen, s.Recipients[i])
		}
	}
	return chosen
}

func (f *Filter) matches(s *queue.Summary, r *queue.RecipientSummary, now time.Time) bool {
	for _, t := range f.terms {
		if !t.test(s, r, now) {
			return false
		}
	}
	return true
}

// String writes the filter so that Parse reads the same.
func (f *Filter) String() string {
	var words []string
	for _, t := range f.terms {
		words = append(words, t.String())
	}
	return strings.Join(words, " ")
}

func (t term) String() string {
	if t.key == Everything {
		return t.key
	}
	var values []string
	for _, v := range t.values {
		values = append(values, quote(v))
	}
	return t.key + t.op + strings.Join(values, ",")
}

func quote(v string) string {
	if v != "" && strings.IndexFunc(v, special) < 0 {
		return v
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
}

// special says whether a sign ends a bare value or has a meaning in it.
func special(r rune) bool { return r == ',' || r == '"' || r == '\\' || unicode.IsSpace(r) }
