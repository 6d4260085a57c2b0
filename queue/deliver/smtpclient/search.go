package smtpclient

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
)

// hasEightBit reports whether a body needs 8BITMIME at all: many clients declare
// it for every message.
func hasEightBit(body io.Reader) (bool, error) {
	buf := make([]byte, blockSize)
	for {
		n, err := body.Read(buf)
		if anyEightBit(buf[:n]) {
			return true, nil
		}
		switch {
		case err == io.EOF:
			return false, nil
		case err != nil:
			return false, err
		}
	}
}

func anyEightBit(p []byte) bool {
	return slices.ContainsFunc(p, func(b byte) bool { return b >= 0x80 })
}

// maxPartHeader bounds what is kept of a header in the search for boundaries.
const maxPartHeader = 64 << 10

// hasUTF8Header reports whether a header, of the message or of a part of it, is
// not ASCII (RFC 6532 3). Many clients declare SMTPUTF8 for every message.
func hasUTF8Header(body io.Reader) (bool, error) {
	r := bufio.NewReaderSize(body, blockSize)
	h := headers{inside: true}
	begins := true // of a line, not of the rest of a long one
	for {
		line, err := r.ReadSlice('\n')
		if h.look(line, begins); h.found {
			return true, nil
		}
		begins = err == nil
		switch {
		case err == io.EOF:
			return false, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return false, err
		}
	}
}

// headers follows a message from header to header.
type headers struct {
	inside     bool
	found      bool // one is not ASCII
	text       []byte
	boundaries [][]byte // with the hyphens before them
}

func (h *headers) look(line []byte, begins bool) {
	switch {
	case h.inside && anyEightBit(line):
		h.found = true
	case h.inside && begins && len(bytes.TrimRight(line, "\r\n")) == 0:
		h.learn()
	case h.inside && len(h.text)+len(line) <= maxPartHeader:
		h.text = append(h.text, line...)
	case !h.inside && begins && bytes.HasPrefix(line, []byte("--")):
		h.inside = slices.ContainsFunc(h.boundaries, func(b []byte) bool { return bytes.HasPrefix(line, b) })
	}
}

// boundary is the parameter of a multipart (RFC 2046 5.1.1).
var boundary = regexp.MustCompile(`(?i);\s*boundary\s*=\s*(?:"([^"\r\n]{1,70})"|([^\s";]{1,70}))`)

// learn ends a header.
func (h *headers) learn() {
	for _, m := range boundary.FindAllSubmatch(h.text, -1) {
		if len(h.boundaries) < maxBoundaries {
			h.boundaries = append(h.boundaries, slices.Concat([]byte("--"), m[1], m[2]))
		}
	}
	h.inside, h.text = false, h.text[:0]
}

// maxBoundaries bounds the nesting that is followed: mail with more is no mail.
const maxBoundaries = 100
