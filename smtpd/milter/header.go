package milter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of a header. Mail has a few KiB and some dozens of fields; each field is a
// packet and an answer.
const (
	maxHeader = 256 << 10
	maxFields = 1000
)

// field is one header field.
type field struct {
	name  string // as it was written
	value string // as it stands behind the colon, without the last line end
}

func (f field) text() string { return f.name + ":" + f.value + "\r\n" }

// is reports whether f has this name.
func (f field) is(name string) bool {
	return strings.EqualFold(strings.TrimRight(f.name, " \t"), name)
}

// told is the value as milters see it: without the space that follows the colon, and
// with LF for line ends.
func (f field) told() string {
	return strings.ReplaceAll(strings.TrimPrefix(f.value, " "), "\r\n", "\n")
}

// message is a message in two parts.
type message struct {
	fields []field
	gap    string // the empty line; "" where the body begins without one, or there is neither
	body   *spool
	fresh  bool // the body is a milter's
}

// readMessage takes a message apart. Lines end with CRLF. Its errors are those of r,
// of the disk, and ErrHeader.
func readMessage(r io.Reader, dir string) (*message, error) {
	m := &message{body: &spool{dir: dir}}
	in := bufio.NewReader(r)
	rest, err := m.readHeader(in)
	if err == nil {
		_, err = m.body.Write(rest)
	}
	if err == nil {
		_, err = io.Copy(m.body, in)
	}
	if err != nil {
		m.body.Close()
		return nil, err
	}
	return m, nil
}

// readHeader reads the fields. What is no field belongs to the body: rest.
func (m *message) readHeader(in *bufio.Reader) (rest []byte, err error) {
	var value []byte // of the last field, which may go on
	end := func() {
		if last := len(m.fields) - 1; last >= 0 {
			m.fields[last].value = string(value)
		}
	}
	defer end()
	for size := 0; ; {
		line, err := readLine(in, maxHeader-size)
		if err != nil && err != io.EOF {
			return nil, err
		}
		size += len(line)
		text := strings.TrimSuffix(string(line), "\r\n")
		name, begin, ok := strings.Cut(text, ":")
		folded := text != "" && (text[0] == ' ' || text[0] == '\t') // RFC 5322 2.2.3
		switch {
		case len(line) == 0:
			return nil, nil
		case text == "":
			m.gap = "\r\n"
			return nil, nil
		case folded && len(m.fields) > 0:
			value = append(append(value, "\r\n"...), text...)
		case folded, !ok || !isName(strings.TrimRight(name, " \t")):
			return line, nil
		case len(m.fields) == maxFields:
			return nil, fmt.Errorf("%w: over %d fields", ErrHeader, maxFields)
		default:
			end()
			m.fields, value = append(m.fields, field{name: name}), []byte(begin)
		}
	}
}

// readLine reads a line of at most n octets.
func readLine(in *bufio.Reader, n int) (line []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if line = append(line, part...); len(line) > n {
			return nil, fmt.Errorf("%w: over %d octets", ErrHeader, maxHeader)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// isName reports whether s is the name of a field (RFC 5322 2.2).
func isName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ':' {
			return false
		}
	}
	return s != ""
}

// reader gives the whole message.
func (m *message) reader() io.Reader {
	var head bytes.Buffer
	for _, f := range m.fields {
		head.WriteString(f.text())
	}
	gap := m.gap
	if gap == "" && m.body.size > 0 && len(m.fields) > 0 && m.fresh {
		gap = "\r\n"
	}
	return io.MultiReader(&head, strings.NewReader(gap), m.body.reader())
}
