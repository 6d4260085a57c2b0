// Package compose makes of the text that a program wrote the message that is
// handed to a mail server (RFC 5322): its lines end in CRLF, the fields that every
// message must have are there, and nobody reads who got a blind copy.
//
// Start with Read. Whatever is not named here stays as it was, byte for byte.
package compose

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"strings"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

// MaxSize bounds a message: it is held in memory, and few servers take more.
const MaxSize = 64 << 20

// Errors of Read, Recipients and Finish.
var (
	ErrTooLarge = fmt.Errorf("the message is larger than %d MiB", MaxSize>>20)
	// ErrLines: SMTP servers differ on what such a sign means, so that none is sent.
	ErrLines  = errors.New("the message has a CR without LF or a NUL in it")
	ErrResent = errors.New("the message was sent before: whom it goes to now its fields do not tell")
	ErrNoFrom = errors.New("the message has no From field, and no sender to make one of")
)

// Draft is a message as its author left it.
type Draft struct {
	fields []field
	body   []byte // with the empty line before it
}

// field is one header field (RFC 5322 2.2).
type field struct {
	name string // in lower case
	text []byte // whole, its folding and last CRLF included
}

// Read reads to the end of r: a line with nothing but a dot is a line as others.
// What does not begin with header fields is a body alone.
func Read(r io.Reader) (*Draft, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	if len(text) > MaxSize {
		return nil, ErrTooLarge
	}
	if text, err = withCRLF(text); err != nil {
		return nil, err
	}
	d := &Draft{}
	if bytes.HasPrefix(text, []byte("From ")) { // of a mailbox file
		_, text = cutLine(text)
	}
	for {
		f, rest, ok := cutField(text)
		if !ok {
			break
		}
		d.fields, text = append(d.fields, f), rest
	}
	if !bytes.HasPrefix(text, crlf) { // the body begins without its empty line
		text = append(bytes.Clone(crlf), text...)
	}
	d.body = text
	return d, nil
}

var crlf = []byte("\r\n")

// withCRLF ends each line in CRLF, as SMTP wants it (RFC 5321 2.3.8).
func withCRLF(text []byte) ([]byte, error) {
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, ErrLines
	}
	out := make([]byte, 0, len(text)+bytes.Count(text, crlf[1:])+len(crlf))
	for len(text) > 0 {
		line, rest, ended := bytes.Cut(text, crlf[1:])
		if ended {
			line = bytes.TrimSuffix(line, crlf[:1])
		}
		if bytes.IndexByte(line, '\r') >= 0 {
			return nil, ErrLines
		}
		out = append(append(out, line...), crlf...)
		text = rest
	}
	return out, nil
}

// cutLine returns the first line with its CRLF, and the rest.
func cutLine(text []byte) (line, rest []byte) {
	n := bytes.Index(text, crlf) + len(crlf)
	return text[:n], text[n:]
}

// cutField returns the field at the start of text; false when there is none.
func cutField(text []byte) (f field, rest []byte, ok bool) {
	name, _, found := bytes.Cut(text, []byte(":"))
	name = bytes.TrimRight(name, " \t") // RFC 5322 4.5: an older form
	if !found || !isFieldName(name) {
		return field{}, text, false
	}
	f.name = strings.ToLower(string(name))
	line, rest := cutLine(text)
	n := len(line)
	for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') { // RFC 5322 2.2.3
		line, rest = cutLine(rest)
		n += len(line)
	}
	f.text = text[:n]
	return f, rest, true
}

// isFieldName wants printable ASCII (RFC 5322 2.2).
func isFieldName(s []byte) bool {
	for _, c := range s {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(s) > 0
}

// value returns what stands behind the colon, on one line.
func (f field) value() string {
	_, value, _ := strings.Cut(string(f.text), ":")
	return strings.TrimSpace(strings.ReplaceAll(value, "\r\n", ""))
}

func (d *Draft) has(name string) bool {
	for _, f := range d.fields {
		if f.name == name {
			return true
		}
	}
	return false
}

// Sender returns who sends by the field Sender, or else by a From field of one
// mailbox; the null address when neither says it.
func (d *Draft) Sender() mailaddr.Address {
	for _, name := range []string{"sender", "from"} {
		if all, err := d.addresses(name); err == nil && len(all) == 1 {
			return all[0]
		}
	}
	return mailaddr.Address{}
}

// Recipients returns everybody in To, Cc and Bcc. Errors: ErrResent, and what is
// wrong with an address.
func (d *Draft) Recipients() ([]mailaddr.Address, error) {
	for _, f := range d.fields {
		if strings.HasPrefix(f.name, "resent-") {
			return nil, ErrResent
		}
	}
	return d.addresses("to", "cc", "bcc")
}

// addresses reads the lists of all fields of these names.
func (d *Draft) addresses(names ...string) (all []mailaddr.Address, err error) {
	for _, name := range names {
		for _, f := range d.fields {
			if f.name != name {
				continue
			}
			these, err := parseList(f.value())
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			all = append(all, these...)
		}
	}
	return all, nil
}

// Options say what Finish adds where it is missing.
type Options struct {
	Sender   mailaddr.Address // for From
	FullName string           // beside it
	Hostname dnsname.Name     // in Message-ID
	Now      time.Time        // for Date
}

// hidden are the fields that must not travel (RFC 5322 3.6.3).
var hidden = []string{"bcc", "resent-bcc"}

// Finish returns the message: without blind copies, and with a From, a Date and
// a Message-ID, as RFC 6409 8 wants them. The only error is ErrNoFrom.
func (d *Draft) Finish(o Options) ([]byte, error) {
	var b bytes.Buffer
	for _, f := range d.fields {
		if f.name != hidden[0] && f.name != hidden[1] {
			b.Write(f.text)
		}
	}
	if !d.has("from") {
		if o.Sender.IsNull() {
			return nil, ErrNoFrom
		}
		// mail.Address quotes and encodes the name, so that it ends no line.
		from := mail.Address{Name: o.FullName, Address: o.Sender.Local() + "@" + domainOf(o.Sender)}
		fmt.Fprintf(&b, "From: %s\r\n", &from)
	}
	if !d.has("date") {
		fmt.Fprintf(&b, "Date: %s\r\n", o.Now.Format(time.RFC1123Z)) // RFC 5322 3.3
	}
	if !d.has("message-id") {
		fmt.Fprintf(&b, "Message-ID: <%s@%s>\r\n", rand.Text(), o.Hostname) // RFC 5322 3.6.4
	}
	b.Write(d.body)
	return b.Bytes(), nil
}

// domainOf returns what stands behind the @.
func domainOf(a mailaddr.Address) string {
	s := a.String()
	return s[strings.LastIndexByte(s, '@')+1:]
}
