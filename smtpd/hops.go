package smtpd

import (
	"bytes"
	"errors"
	"io"
)

// Errors of inspector.
var (
	errHops   = errors.New("too many Received fields")
	errTooBig = errors.New("message over the size limit")
)

// inspector passes a message through unchanged and keeps nothing of it. It ends
// the message with errTooBig after left octets, and with errHops when the
// header holds more than max Received fields.
type inspector struct {
	r     io.Reader
	left  int64 // octets that may still come
	size  int64 // octets that came
	max   int   // hops that are allowed
	hops  int
	at    int   // octets of receivedField matched in this line; skipLine: another field
	body  bool  // the header is over
	fault error // what r said, other than io.EOF
}

// receivedField begins each trace field (RFC 5321 4.4), in any case.
const receivedField = "received:"

const skipLine = -1

func (i *inspector) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if err != nil && err != io.EOF {
		i.fault = err
	}
	i.size += int64(n)
	if i.left -= int64(n); i.left < 0 {
		return 0, errTooBig
	}
	i.scan(p[:n])
	if i.hops > i.max {
		return 0, errHops
	}
	return n, err
}

// scan counts the Received fields in the header's next octets. The wire has
// made sure that LF comes behind CR only.
func (i *inspector) scan(p []byte) {
	for len(p) > 0 && !i.body {
		if i.at == skipLine {
			end := bytes.IndexByte(p, '\n')
			if end < 0 {
				return
			}
			p, i.at = p[end+1:], 0
			continue
		}
		p = i.match(p)
	}
}

// match takes the next octet of a field's name.
func (i *inspector) match(p []byte) []byte {
	c := p[0]
	switch {
	case i.at == 0 && (c == '\r' || c == '\n'):
		i.body = true
		return nil
	case c|0x20 == receivedField[i.at]: // the bit that tells A from a; ':' has it set
		i.at++
	case i.at == len(receivedField)-1 && (c == ' ' || c == '\t'):
		// RFC 5322 4.5.7: obsolete white space before the colon
	default:
		i.at = skipLine
		return p // a line end must still be seen
	}
	if i.at == len(receivedField) {
		i.hops++
		i.at = skipLine
	}
	return p[1:]
}
