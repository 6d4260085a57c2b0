package milter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-milter"

	"dancemta/internal/foreign"
	"dancemta/internal/mailaddr"
)

const (
	maxAdded  = 100 // recipients that milters may add to one message
	maxReason = 200 // octets of a reason to hold it
)

// Changes are what milters did to a message beside its text.
type Changes struct {
	Added, Removed []mailaddr.Address // recipients, in the order of the last word about each
	Hold           string             // why an operator is to look at it first; "": he need not
	EightBit       bool               // a milter wrote octets beyond ASCII
	Edited         bool               // header or body are not what the peer sent
}

// needs is what a milter must have negotiated for each change.
var needs = map[milter.ModifyActCode]milter.OptAction{
	milter.ActAddHeader: milter.OptAddHeader, milter.ActInsertHeader: milter.OptAddHeader, milter.ActChangeHeader: milter.OptChangeHeader,
	milter.ActAddRcpt: milter.OptAddRcpt, milter.ActDelRcpt: milter.OptRemoveRcpt, milter.ActQuarantine: milter.OptQuarantine,
}

// edited is a message that a milter has changed, all of it or nothing.
type edited struct {
	fields []field
	Changes
}

// apply makes the changes that a milter wants on a copy.
func (m *message) apply(had Changes, may milter.OptAction, wanted []milter.ModifyAction) (edited, error) {
	e := edited{slices.Clone(m.fields), had}
	e.Added, e.Removed = slices.Clone(had.Added), slices.Clone(had.Removed)
	for _, w := range wanted {
		if need := needs[w.Code]; need == 0 || may&need == 0 {
			return e, fmt.Errorf("%w: a change %q that was not agreed upon", errProtocol, byte(w.Code))
		}
		if err := e.change(w); err != nil {
			return e, err
		}
	}
	size := 0
	for _, f := range e.fields {
		size += len(f.text())
	}
	if len(e.fields) > maxFields || size > maxHeader {
		return e, fmt.Errorf("%w: the header grows too long", errEdit)
	}
	return e, nil
}

func (e *edited) change(w milter.ModifyAction) error {
	switch w.Code {
	case milter.ActAddRcpt, milter.ActDelRcpt:
		return e.recipient(w.Code == milter.ActAddRcpt, w.Rcpt)
	case milter.ActQuarantine:
		if e.Hold = foreign.ASCII(w.Reason, maxReason); e.Hold == "" {
			e.Hold = "no reason given"
		}
		return nil
	}
	f, err := newField(w.HeaderName, w.HeaderValue)
	if err != nil {
		return err
	}
	e.Edited, e.EightBit = true, e.EightBit || strings.ContainsFunc(f.value, func(r rune) bool { return r >= 0x80 })
	at := len(e.fields)
	switch w.Code {
	case milter.ActInsertHeader:
		at = min(at, int(w.HeaderIndex))
	case milter.ActChangeHeader:
		i := e.find(w.HeaderName, int(w.HeaderIndex))
		switch {
		case i >= 0 && w.HeaderValue == "": // no value: away with it
			e.fields = slices.Delete(e.fields, i, i+1)
			return nil
		case i >= 0:
			e.fields[i] = f
			return nil
		case w.HeaderValue == "":
			return nil // it is not there
		}
	}
	e.fields = slices.Insert(e.fields, at, f)
	return nil
}

// find returns where the nth field of a name stands, the first one being 1 and, as
// Sendmail takes it, 0; -1: there are not so many.
func (e *edited) find(name string, n int) int {
	n = max(n, 1)
	for i, f := range e.fields {
		if f.is(name) {
			if n--; n == 0 {
				return i
			}
		}
	}
	return -1
}

// newField makes a field of what a milter says. Its lines may end with LF or CRLF;
// one that does not begin with a space would be a field of its own.
func newField(name, value string) (field, error) {
	if !isName(name) || len(name) > 200 {
		return field{}, fmt.Errorf("%w: a field called %.50q", errEdit, name)
	}
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(value, "\r\n", "\n"), "\n"), "\n")
	for i, line := range lines {
		if strings.ContainsAny(line, "\r\x00") {
			return field{}, fmt.Errorf("%w: control characters in a field", errEdit)
		}
		if i > 0 && strings.TrimLeft(line, " \t") == "" {
			return field{}, fmt.Errorf("%w: an empty line in a field", errEdit)
		}
		if i > 0 && line[0] != ' ' && line[0] != '\t' {
			lines[i] = "\t" + line
		}
	}
	return field{name, " " + strings.Join(lines, "\r\n")}, nil
}

// recipient adds or removes one.
func (e *edited) recipient(add bool, s string) error {
	s = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "<"), ">")
	a, err := mailaddr.Parse(s)
	if err != nil || a.IsNull() {
		return fmt.Errorf("%w: a recipient %.80q", errEdit, s)
	}
	same := func(b mailaddr.Address) bool { return b.Key() == a.Key() }
	e.Added, e.Removed = slices.DeleteFunc(e.Added, same), slices.DeleteFunc(e.Removed, same)
	if !add {
		e.Removed = append(e.Removed, a)
		return nil
	}
	if e.Added = append(e.Added, a); len(e.Added) > maxAdded {
		return fmt.Errorf("%w: over %d recipients more", errEdit, maxAdded)
	}
	return nil
}
