package dsn

import (
	"bytes"
	"mime/quotedprintable"
)

// maxPlainLine is the longest line of 7bit data (RFC 2045 2.7).
const maxPlainLine = 998

// original returns what was sent: the whole message when it is here and is
// plain 7-bit text, else its headers. A message/rfc822 part cannot be encoded
// (RFC 2046 5.2.1), so 8-bit bytes in it would make the notification 8-bit.
func (w *writer) original(r Report) {
	switch {
	case len(r.Original) == 0:
		return
	case r.Complete && sevenBit(r.Original):
		w.part("message/rfc822", "Undelivered message", "")
		w.raw(r.Original)
		return
	}
	header := headerOf(r.Original)
	if sevenBit(header) {
		w.part("text/rfc822-headers", "Headers of the undelivered message", "")
		w.raw(header)
		return
	}
	// RFC 6522 4: headers that are no plain text may be quoted-printable.
	w.part("text/rfc822-headers", "Headers of the undelivered message", "quoted-printable")
	q := quotedprintable.NewWriter(&w.b)
	q.Write(header) // a bytes.Buffer takes everything
	q.Close()
	w.line("")
}

// raw writes text that is clean already. The line end that follows belongs to
// the boundary (RFC 2046 5.1.1), so the part is text to the octet.
func (w *writer) raw(text []byte) {
	w.b.Write(text)
	w.line("")
}

// headerOf returns the header of a message with the last line's end. If text
// ends within the header, its last line is not whole and goes away.
func headerOf(text []byte) []byte {
	if bytes.HasPrefix(text, []byte("\r\n")) {
		return nil
	}
	if i := bytes.Index(text, []byte("\r\n\r\n")); i >= 0 {
		return text[:i+2]
	}
	return text[:bytes.LastIndexByte(text, '\n')+1]
}

// sevenBit reports whether text may stand as it is: ASCII without NUL, lines
// that are not too long, CR and LF only together (RFC 2045 2.7).
func sevenBit(text []byte) bool {
	line := 0
	for i, c := range text {
		switch {
		case c == 0 || c > 0x7f:
			return false
		case c == '\r' && (i+1 == len(text) || text[i+1] != '\n'):
			return false
		case c == '\n' && (i == 0 || text[i-1] != '\r'):
			return false
		case c == '\r':
		case c == '\n':
			line = 0
		default:
			if line++; line > maxPlainLine {
				return false
			}
		}
	}
	return true
}
