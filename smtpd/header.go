package smtpd

import (
	"bytes"
	"io"
	"strings"
)

// maxHead is how much of a message is looked at before it is kept. What stands in
// a longer header beyond it is not found, which is the strict side: no field
// there makes anything easier.
const (
	maxHead   = 64 << 10
	firstHead = 8 << 10 // most headers fit
)

// lead is a message whose beginning has been read.
type lead struct {
	head []byte // with the header, or as much of it as fits; nil once it was read
	rest io.Reader
	err  error // what ended the reading of head
	at   int
}

// readHead reads until the header has ended.
func readHead(r io.Reader) *lead {
	l := &lead{head: make([]byte, 0, firstHead), rest: r}
	for seen := 0; l.err == nil && headerEnd(l.head, seen) < 0 && len(l.head) < maxHead; {
		seen = max(0, len(l.head)-3) // an end may lie across two reads
		if len(l.head) == cap(l.head) {
			l.head = append(make([]byte, 0, 2*cap(l.head)), l.head...)
		}
		var n int
		n, l.err = r.Read(l.head[len(l.head):cap(l.head)])
		l.head = l.head[:len(l.head)+n]
	}
	return l
}

// headerEnd returns where the empty line behind the header begins; -1: it has
// not come. from is where to look first.
func headerEnd(b []byte, from int) int {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return 0
	}
	if i := bytes.Index(b[from:], []byte("\r\n\r\n")); i >= 0 {
		return from + i + len("\r\n")
	}
	return -1
}

// Read gives the whole message.
func (l *lead) Read(p []byte) (int, error) {
	if l.at < len(l.head) {
		n := copy(p, l.head[l.at:])
		if l.at += n; l.at == len(l.head) {
			l.head, l.at = nil, 0 // of no use any more, while a body may take its time
		}
		return n, nil
	}
	if l.err != nil {
		return 0, l.err
	}
	return l.rest.Read(p)
}

// tlsOptional reports whether the header says "TLS-Required: No" (RFC 8689 3).
// Twice is not once, and a header that is longer than maxHead says nothing.
func (l *lead) tlsOptional() bool {
	header := l.head
	if end := headerEnd(header, 0); end >= 0 {
		header = header[:end]
	} else if l.err != io.EOF {
		return false
	}
	found, within := 0, false
	var value []byte
	for line := range bytes.Lines(header) {
		if line[0] != ' ' && line[0] != '\t' { // RFC 5322 2.2.3: those go on with the field above
			name, rest, _ := bytes.Cut(line, []byte{':'})
			if within = strings.ToLower(string(bytes.TrimRight(name, " \t"))) == "tls-required"; within {
				found++
				line = rest
			}
		}
		if within {
			value = append(value, line...)
		}
	}
	return found == 1 && strings.ToLower(strings.Trim(string(value), " \t\r\n")) == "no"
}
