package dsn

import "bytes"

// maxPlainLine is the longest line of 7bit and 8bit data (RFC 2045 2.7, 2.8).
const maxPlainLine = 998

// original returns what was sent: the whole message when it is here, is wanted and
// can stand as it is, else its headers. A message/rfc822 part cannot be encoded
// (RFC 2046 5.2.1), so 8-bit bytes in it would make the notification 8-bit; a
// message/global part can (RFC 6532 3.7).
func (w *writer) original(r Report) {
	if len(r.Original) == 0 {
		return
	}
	header := headerOf(r.Original)
	global := r.UTF8 && !sevenBit(header)
	whole := r.Complete && !r.HeadersOnly && r.has(Failed) // RFC 3461 4.3
	switch {
	case whole && global && plain(r.Original):
		w.part("message/global", "Undelivered message", r.Original)
	case whole && !global && (sevenBit(r.Original) || w.eightBit && plain(r.Original)):
		w.part("message/rfc822", "Undelivered message", r.Original)
	case global:
		w.part("message/global-headers", "Headers of the message", header) // RFC 6533 5
	default:
		// RFC 6522 4: headers that are no plain text may be quoted-printable.
		w.part("text/rfc822-headers", "Headers of the message", header)
	}
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

// sevenBit reports whether text may stand as it is: plain, and ASCII.
func sevenBit(text []byte) bool {
	for _, c := range text {
		if c > 0x7f {
			return false
		}
	}
	return plain(text)
}

// plain reports whether text may stand where 8-bit goes: no NUL, lines that are not
// too long, CR and LF only together (RFC 2045 2.8).
func plain(text []byte) bool {
	line := 0
	for i, c := range text {
		switch {
		case c == 0:
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
