package boltstore

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// encoder writes our records as json.Marshal does, octet by octet, several times as
// fast and on a small stack: a goroutine for each message would have to grow its own.
type encoder struct {
	b   []byte
	err error
}

// usualRecord is enough for most records.
const usualRecord = 512

// encoded is a record that writes itself.
type encoded interface{ encode(e *encoder) (sure bool) }

// encode writes a record; what is rare in one is left to json.Marshal.
func encode(r encoded) ([]byte, error) {
	e := &encoder{b: make([]byte, 0, usualRecord)}
	if r.encode(e) {
		return e.b, e.err
	}
	return json.Marshal(r)
}

// key begins a field; quoted is `"name":`.
func (e *encoder) key(quoted string) {
	if last := e.b[len(e.b)-1]; last != '{' {
		e.b = append(e.b, ',')
	}
	e.b = append(e.b, quoted...)
}

// text writes a field, unless it is empty; number and yes the same.
func (e *encoder) text(quoted, s string) {
	if s != "" {
		e.key(quoted)
		e.quote(s)
	}
}

func (e *encoder) number(quoted string, n uint64) {
	if n != 0 {
		e.key(quoted)
		e.b = strconv.AppendUint(e.b, n, 10)
	}
}

func (e *encoder) yes(quoted string, b bool) {
	if b {
		e.key(quoted)
		e.b = append(e.b, "true"...)
	}
}

// always writes a field that may be zero.
func (e *encoder) always(quoted string, n int64) {
	e.key(quoted)
	e.b = strconv.AppendInt(e.b, n, 10)
}

func (e *encoder) quote(s string) {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~', c == '"' || c == '\\', c == '<' || c == '>' || c == '&': // json.Marshal escapes for HTML, too
			quoted, err := json.Marshal(s)
			e.b, e.err = append(e.b, quoted...), cmp.Or(e.err, err)
			return
		}
	}
	e.b = append(append(append(e.b, '"'), s...), '"')
}

func (e *encoder) address(a address) {
	text, err := a.MarshalText()
	e.err = cmp.Or(e.err, err)
	e.quote(string(text))
}

// list writes n elements.
func (e *encoder) list(quoted string, n int, element func(i int)) {
	e.key(quoted)
	e.b = append(e.b, '[')
	for i := range n {
		if i > 0 {
			e.b = append(e.b, ',')
		}
		element(i)
	}
	e.b = append(e.b, ']')
}

func (r *messageRecord) encode(e *encoder) bool {
	if len(r.Asked) > 0 || r.EnvelopeID != "" || r.Return != 0 || r.Recipients == nil {
		return false
	}
	e.b = append(e.b, '{')
	e.key(`"from":`)
	e.address(r.Sender)
	e.list(`"to":`, len(r.Recipients), func(i int) { e.address(r.Recipients[i]) })
	e.text(`"identity":`, r.Identity)
	e.text(`"session":`, r.Session)
	e.yes(`"eightbit":`, r.EightBit)
	e.yes(`"smtputf8":`, r.SMTPUTF8)
	e.yes(`"requiretls":`, r.RequireTLS)
	e.yes(`"tlsoptional":`, r.TLSOptional)
	e.text(`"helo":`, r.Helo)
	e.text(`"peer":`, r.Peer)
	e.always(`"arrived":`, r.Arrived)
	if r.Expires != 0 {
		e.always(`"expires":`, r.Expires)
	}
	e.always(`"size":`, r.Size)
	e.yes(`"spool":`, r.Spool)
	e.number(`"crc32c":`, uint64(r.Sum))
	e.always(`"open":`, int64(r.Open))
	e.b = append(e.b, '}')
	return true
}

func (u *unitRecord) encode(e *encoder) bool {
	if u.Recipients == nil {
		return false
	}
	e.b = append(e.b, '{')
	e.always(`"attempt":`, int64(u.Attempt))
	if u.Passed != 0 {
		e.always(`"passed":`, int64(u.Passed))
	}
	e.yes(`"told":`, u.Told)
	e.number(`"lane":`, u.Lane)
	e.always(`"next":`, u.Next)
	e.list(`"to":`, len(u.Recipients), func(i int) { u.Recipients[i].encode(e) })
	e.b = append(e.b, '}')
	return true
}

func (r *recipientRecord) encode(e *encoder) {
	e.b = append(e.b, '{')
	e.key(`"a":`)
	e.address(r.Address)
	e.number(`"r":`, uint64(r.Result))
	e.text(`"reply":`, r.Reply)
	e.text(`"tls":`, r.TLS)
	e.yes(`"held":`, r.Held)
	e.text(`"why":`, r.Why)
	e.yes(`"givenup":`, r.GivenUp)
	e.b = append(e.b, '}')
}

func (h *historyRecord) encode(e *encoder) bool {
	e.b = append(e.b, `{"message":`...)
	if h.Units == nil || !h.Message.encode(e) {
		return false
	}
	e.b = append(e.b, `,"units":{`...)
	for i, destination := range slices.Sorted(maps.Keys(h.Units)) {
		if i > 0 {
			e.b = append(e.b, ',')
		}
		e.quote(destination)
		e.b = append(e.b, ':')
		if u := h.Units[destination]; u == nil || !u.encode(e) {
			return false
		}
	}
	e.b = append(e.b, '}')
	e.always(`"finished":`, h.Finished)
	e.b = append(e.b, '}')
	return true
}
