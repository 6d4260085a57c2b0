package msgauth

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/mail"
	"strings"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

// Bounds of a header that is signed. It is kept in memory whole.
const (
	maxHeader = 256 << 10 // generous: large providers take less
	maxFields = 1000      // each is looked at for each name that is signed
	maxFrom   = 16        // mailboxes in one From field
)

// ErrHeader says that a header is too long, or has too many fields of one name.
var ErrHeader = errors.New("header too long to be signed")

// field is one header field: its name as written, the value with its folding.
type field struct{ name, value string }

// readHeader reads r up to the empty line that ends the header. head is that part
// with the line, after what was read of the body too far. A message that
// ends in its header is all head.
func readHeader(r io.Reader) (head, more []byte, err error) {
	buf := make([]byte, 0, 4<<10)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		from := max(0, len(buf)-3) // the end may have come in pieces
		buf = buf[:len(buf)+n]
		if end := headerEnd(buf, from); end > 0 {
			head, more = buf[:end], buf[end:]
			if err == io.EOF {
				err = nil
			}
			if len(head) > maxHeader {
				err = ErrHeader
			}
			return head, more, err
		}
		switch {
		case err == io.EOF:
			return buf, nil, nil
		case err != nil:
			return buf, nil, err
		case len(buf) > maxHeader:
			return buf, nil, ErrHeader
		}
	}
}

// headerEnd returns the length of the header with its empty line; 0: it goes on.
func headerEnd(buf []byte, from int) int {
	if bytes.HasPrefix(buf, []byte("\r\n")) {
		return 2
	}
	if i := bytes.Index(buf[from:], []byte("\r\n\r\n")); i >= 0 {
		return from + i + 4
	}
	return 0
}

// parseHeader cuts a header into fields. A line without a colon is a field
// without a value, which no signature covers.
func parseHeader(head []byte) ([]field, error) {
	var fields []field
	lines := strings.SplitAfter(string(head), "\r\n")
	for _, line := range lines {
		switch {
		case line == "" || line == "\r\n":
			continue
		case line[0] == ' ' || line[0] == '\t':
			if len(fields) > 0 {
				fields[len(fields)-1].value += line
			}
			continue
		case len(fields) == maxFields:
			return nil, ErrHeader
		}
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, field{strings.TrimRight(name, " \t\r\n"), value}) // RFC 5322 4.5: white space before the colon
	}
	return fields, nil
}

// author returns the mailboxes of the From field, and their domain if they have
// one in common. None when there is not exactly one field that can be read: which
// of two would be shown, nobody knows.
func author(fields []field) (all []mailaddr.Address, domain dnsname.Name) {
	var from []field
	for _, f := range fields {
		if strings.EqualFold(f.name, "From") {
			from = append(from, f)
		}
	}
	if len(from) != 1 {
		return nil, dnsname.Name{}
	}
	parser := mail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: func(_ string, in io.Reader) (io.Reader, error) {
		return in, nil // names are of no concern here, in any alphabet
	}}}
	list, err := parser.ParseList(strings.ReplaceAll(from[0].value, "\r\n", "")) // RFC 5322 2.2.3
	if err != nil || len(list) > maxFrom {
		return nil, dnsname.Name{}
	}
	for _, m := range list {
		a, err := mailaddr.FromUnquoted(m.Address)
		if err != nil || a.Domain().IsZero() || len(all) > 0 && a.Domain() != domain {
			return nil, dnsname.Name{}
		}
		all, domain = append(all, a), a.Domain()
	}
	return all, domain
}
