package milter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// inMemory is how much of a body stays in memory: most fit, and a message of the
// queue has as much there too.
const inMemory = 64 << 10

// spool keeps a body that is written once and read several times.
type spool struct {
	dir  string
	buf  bytes.Buffer
	file *os.File // nil: all is in buf
	size int64
}

func (s *spool) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	if s.file == nil && s.buf.Len()+len(p) <= inMemory {
		return s.buf.Write(p)
	}
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, ".milter-*")
		if err != nil {
			return 0, err
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil { // nobody has to sweep it after a crash
			return 0, err
		}
		if _, err := f.Write(s.buf.Bytes()); err != nil {
			return 0, err
		}
		s.buf = bytes.Buffer{}
	}
	return s.file.Write(p)
}

// reader reads the body from its beginning.
func (s *spool) reader() io.Reader {
	if s.file == nil {
		return bytes.NewReader(s.buf.Bytes())
	}
	return io.NewSectionReader(s.file, 0, s.size)
}

func (s *spool) Close() error {
	if s == nil || s.file == nil {
		return nil
	}
	return s.file.Close()
}

var errTooBig = errors.New("the new body is too big")

// bodyWriter writes a body of a milter in the form that mail has: CRLF ends each
// line, the last one too, and nothing else ends one. Milters write LF or CRLF.
type bodyWriter struct {
	spool
	left     int64
	any      bool // the milter has sent one, empty perhaps
	cr       bool // the last octet was a CR, which is not written yet
	open     bool // the line has octets
	line     int
	eightBit bool
}

// maxBodyLine is the longest line that our own door takes.
const maxBodyLine = 64<<10 - 2

// take reads a part of n octets.
func (w *bodyWriter) take(r io.Reader, n int64) error {
	w.any = true
	if w.left -= n; w.left < 0 {
		return errTooBig
	}
	buf := make([]byte, 16<<10)
	for n > 0 {
		m, err := io.ReadFull(r, buf[:min(int64(len(buf)), n)])
		if err != nil {
			return err
		}
		if err := w.lines(buf[:m]); err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

func (w *bodyWriter) lines(b []byte) error {
	out := make([]byte, 0, len(b)+len(b)/8+2)
	for _, c := range b {
		switch {
		case c == 0:
			return fmt.Errorf("%w: NUL in a body", errEdit)
		case c == '\n':
			w.cr = false
			out = w.end(out)
			continue
		case w.cr: // a lone CR ends a line too: it must not go out as it is
			w.cr = false
			out = w.end(out)
		}
		if c == '\r' {
			w.cr = true
			continue
		}
		if w.line++; w.line > maxBodyLine {
			return fmt.Errorf("%w: a line of over %d octets", errEdit, maxBodyLine)
		}
		w.open, w.eightBit = true, w.eightBit || c >= 0x80
		out = append(out, c)
	}
	_, err := w.Write(out)
	return err
}

func (w *bodyWriter) end(out []byte) []byte {
	w.line, w.open = 0, false
	return append(out, '\r', '\n')
}

// finish ends the last line.
func (w *bodyWriter) finish() error {
	if !w.cr && !w.open {
		return nil
	}
	w.cr = false
	_, err := w.Write(w.end(nil))
	return err
}
