package filter

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"dancemta/queue"
)

// operators, the longer ones first.
var operators = []string{"!=", "!~", ">=", "<=", "=", "~", ">", "<"}

// parser reads from left to right; at is where it stands.
type parser struct {
	text string
	at   int
}

func (p *parser) fail(at int, what string) *Error { return &Error{p.text, at, what} }

func (p *parser) end() bool { return p.at >= len(p.text) }

func (p *parser) space() {
	rest := strings.TrimLeftFunc(p.text[p.at:], unicode.IsSpace)
	p.at = len(p.text) - len(rest)
}

// term reads key, operator and values; or a queue id; or the word for all.
func (p *parser) term() (term, error) {
	start := p.at
	key := p.word()
	op := p.operator()
	if op == "" {
		return p.bare(start, key)
	}
	k, known := keys[strings.ToLower(key)]
	if !known {
		return term{}, p.fail(start, fmt.Sprintf("unknown word %q; there are %s", key, strings.Join(names(), ", ")))
	}
	t := term{key: strings.ToLower(key), op: op}
	if !strings.Contains(" "+k.operators+" ", " "+op+" ") {
		return t, p.fail(p.at-len(op), fmt.Sprintf("%s takes %s", t.key, k.operators))
	}
	valuesAt := p.at
	var err error
	if t.values, err = p.values(); err != nil {
		return t, err
	}
	if t.test, err = k.make(t); err != nil {
		at := valuesAt
		if bad := (*badValue)(nil); errors.As(err, &bad) {
			at = p.valueAt(valuesAt, bad.index)
		}
		return t, p.fail(at, err.Error())
	}
	return t, nil
}

// bare is a term without an operator.
func (p *parser) bare(start int, word string) (term, error) {
	if word == Everything {
		return term{key: Everything, test: always}, nil
	}
	if id, err := queue.ParseID(word); err == nil {
		t := term{key: keyID, op: "=", values: []string{string(id)}}
		test, err := keys[keyID].make(t)
		t.test = test
		return t, err
	}
	if _, known := keys[strings.ToLower(word)]; known {
		return term{}, p.fail(p.at, fmt.Sprintf("after %s comes one of %s", word, keys[strings.ToLower(word)].operators))
	}
	if word == "" {
		return term{}, p.fail(start, "a word was expected")
	}
	return term{}, p.fail(start, fmt.Sprintf("%q is neither a queue id nor a condition as state=deferred", word))
}

// word reads letters and digits.
func (p *parser) word() string {
	start := p.at
	for p.at < len(p.text) {
		c := p.text[p.at]
		if c != '_' && !('a' <= c && c <= 'z') && !('A' <= c && c <= 'Z') && !('0' <= c && c <= '9') {
			break
		}
		p.at++
	}
	return p.text[start:p.at]
}

func (p *parser) operator() string {
	for _, op := range operators {
		if strings.HasPrefix(p.text[p.at:], op) {
			p.at += len(op)
			return op
		}
	}
	return ""
}

// values reads one value, or several with commas between, any of which may fit.
func (p *parser) values() (all []string, err error) {
	for {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		all = append(all, v)
		if p.end() || p.text[p.at] != ',' {
			break
		}
		p.at++
	}
	if r, _ := utf8.DecodeRuneInString(p.text[p.at:]); !p.end() && !unicode.IsSpace(r) {
		return nil, p.fail(p.at, "a space was expected")
	}
	return all, nil
}

// value reads a quoted or a bare value.
func (p *parser) value() (string, error) {
	if p.end() || p.text[p.at] != '"' {
		start := p.at
		for p.at < len(p.text) {
			r, n := utf8.DecodeRuneInString(p.text[p.at:])
			if special(r) {
				break
			}
			p.at += n
		}
		if p.at == start {
			return "", p.fail(start, `a value was expected; "" is an empty one`)
		}
		return p.text[start:p.at], nil
	}
	open := p.at
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; c {
		case '"':
			p.at++
			return b.String(), nil
		case '\\':
			if p.at++; p.end() {
				return "", p.fail(open, "the quotes do not end")
			}
			b.WriteByte(p.text[p.at])
		default:
			b.WriteByte(c)
		}
	}
	return "", p.fail(open, "the quotes do not end")
}

// valueAt finds where a value of a list begins.
func (p *parser) valueAt(start, index int) int {
	q := &parser{text: p.text, at: start}
	for range index {
		if _, err := q.value(); err != nil || q.end() {
			return start
		}
		q.at++ // the comma
	}
	return q.at
}
