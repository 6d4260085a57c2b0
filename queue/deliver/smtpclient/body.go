package smtpclient

import (
	"bytes"
	"errors"
	"io"
)

// errLines says that a body cannot be sent as lines (RFC 5321 2.3.8): servers
// differ on what a lone CR or LF means, and could be led to see an end of the
// message in the middle of it.
var errLines = errors.New("the message has a lone CR or LF or a NUL in it")

// lineWriter writes a body as DATA wants it (RFC 5321 4.5.2): lines that begin
// with a dot get one more; or as it is, for BDAT. It passes whole buffers and
// looks at no single byte but dots. Nothing of an offending line end is ever
// written.
type lineWriter struct {
	w       io.Writer
	asIs    bool // no dots are added, and none ends the body
	inLine  bool // the last byte written was not the end of a line
	afterCR bool // a CR was seen and is held back until its LF comes
}

// Write takes any piece of the body. Errors: errLines, or those of w.
func (d *lineWriter) Write(p []byte) (int, error) {
	if bytes.IndexByte(p, 0) >= 0 {
		return 0, errLines
	}
	rest := p
	for len(rest) > 0 {
		line, ended, err := d.nextLine(rest)
		if err != nil {
			return 0, err
		}
		if err := d.put(rest[:line], ended); err != nil {
			return 0, err
		}
		if rest = rest[line:]; ended {
			rest = rest[1:] // the LF, which put wrote
		}
	}
	return len(p), nil
}

// nextLine returns the length of the first line in p without its LF, and
// whether the LF is there.
func (d *lineWriter) nextLine(p []byte) (n int, ended bool, err error) {
	n = bytes.IndexByte(p, '\n')
	if ended = n >= 0; !ended {
		n = len(p)
	}
	line := p[:n]
	cr := bytes.IndexByte(line, '\r')
	switch {
	case d.afterCR && len(line) > 0, // the CR of the last piece had no LF
		cr >= 0 && cr < len(line)-1,   // a CR within the line
		ended && cr < 0 && !d.afterCR: // an LF without CR
		return 0, false, errLines
	}
	return n, ended, nil
}

// put writes one line, or a part of one, which nextLine has checked.
func (d *lineWriter) put(line []byte, ended bool) error {
	held := d.afterCR
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line, held = line[:n-1], true
	}
	if len(line) > 0 {
		if !d.asIs && !d.inLine && line[0] == '.' {
			if _, err := io.WriteString(d.w, "."); err != nil {
				return err
			}
		}
		d.inLine = true
		if _, err := d.w.Write(line); err != nil {
			return err
		}
	}
	d.afterCR = held && !ended
	if !ended {
		return nil
	}
	d.inLine = false
	_, err := io.WriteString(d.w, "\r\n")
	return err
}

// finish ends the last line, if the body did not, and the body.
func (d *lineWriter) finish() error {
	if d.afterCR {
		return errLines
	}
	end := ""
	if d.inLine {
		end = "\r\n"
	}
	if !d.asIs {
		end += ".\r\n"
	}
	_, err := io.WriteString(d.w, end)
	return err
}
