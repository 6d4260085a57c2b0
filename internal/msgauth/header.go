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

// Bounds of a header that is looked at. It is kept in memory whole.
const (
	maxHeader = 256 << 10 // generous: large providers take less
	maxFields = 1000      // each is looked at for each name that is signed
	maxFrom   = 16        // mailboxes in one From field
	fromText  = 16 << 10  // its length: room for so many with long names
)

// ErrHeader says that a header is too long, or has too many fields.
var ErrHeader = errors.New("header too long")

// field is one header field: its name as written, the value with its folding.
type field struct{ name, value string }

// raw is the whole field as it came, from where it begins in head to its line end.
type raw struct {
	field
	text string
	at   int // where it begins in the header
}

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
	all, err := cutHeader(string(head))
	if err != nil {
		return nil, err
	}
	fields := make([]field, len(all))
	for i, f := range all {
		fields[i] = f.field
	}
	return fields, nil
}

// cutHeader is parseHeader with the text of each field. Nothing is copied, however
// often a field is folded.
func cutHeader(head string) ([]raw, error) {
	var fields []raw
	begin := -1 // of the field that goes on
	end := func(at int) {
		if begin >= 0 {
			fields = append(fields, newRaw(head[begin:at], begin))
			begin = -1
		}
	}
	for at := 0; at < len(head); {
		next := len(head)
		if i := strings.Index(head[at:], "\r\n"); i >= 0 {
			next = at + i + 2
		}
		switch c := head[at]; {
		case next-at == 2 && c == '\r': // the line that ends the header
			end(at)
		case c == ' ' || c == '\t': // RFC 5322 2.2.3: goes on with the field above
		default:
			end(at)
			if begin = at; len(fields) == maxFields {
				return nil, ErrHeader
			}
		}
		at = next
	}
	end(len(head))
	return fields, nil
}

func newRaw(text string, at int) raw {
	name, value, _ := strings.Cut(text, ":")
	if i := strings.Index(name, "\r\n"); i >= 0 { // the colon stands in a folded line, so this is no name
		name, value = name[:i], ""
	}
	return raw{field{strings.TrimRight(name, " \t\r\n"), value}, text, at} // RFC 5322 4.5: white space before the colon
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
	list, ok := mailboxes(from)
	if !ok {
		return nil, dnsname.Name{}
	}
	for _, a := range list {
		if a.Domain().IsZero() || len(all) > 0 && a.Domain() != domain {
			return nil, dnsname.Name{}
		}
		all, domain = append(all, a), a.Domain()
	}
	return all, domain
}

// mailboxes reads the From fields of a message: there must be one, and in it one
// address at least.
func mailboxes(from []field) (all []mailaddr.Address, ok bool) {
	if len(from) != 1 || len(from[0].value) > fromText {
		return nil, false
	}
	parser := mail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: func(_ string, in io.Reader) (io.Reader, error) {
		return in, nil // names are of no concern here, in any alphabet
	}}}
	list, err := parser.ParseList(strings.ReplaceAll(from[0].value, "\r\n", "")) // RFC 5322 2.2.3
	if err != nil || len(list) > maxFrom {
		return nil, false
	}
	for _, m := range list {
		a, err := mailaddr.FromUnquoted(m.Address)
		if err != nil {
			return nil, false
		}
		all = append(all, a)
	}
	return all, len(all) > 0
}
