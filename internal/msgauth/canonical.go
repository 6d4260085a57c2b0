package msgauth

import (
	"crypto/sha256"
	"hash"
	"strings"
)

// hashChunk is how much canonical text is gathered before it is hashed.
const hashChunk = 4 << 10

// bodyHash hashes the relaxed form of a body (RFC 6376 3.4.4) as it is written.
// White space and line ends wait as numbers until it is known whether they count.
type bodyHash struct {
	hash  hash.Hash
	out   []byte // canonical text, not hashed yet
	lines int    // line ends that count when text follows
	space bool   // white space that counts when text follows in its line
	cr    bool   // a CR came, and perhaps its LF follows
	text  bool   // there was some
}

func newBodyHash() *bodyHash {
	return &bodyHash{hash: sha256.New(), out: make([]byte, 0, hashChunk)}
}

// Write never fails.
func (b *bodyHash) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if run := textRun(p); run > 0 {
			b.take(p[:run])
			p = p[run:]
			continue
		}
		b.special(p[0])
		p = p[1:]
	}
	return n, nil
}

// textRun is how many octets are neither white space nor parts of a line end;
// other controls may be left to special.
func textRun(p []byte) int {
	for i, c := range p {
		if c <= ' ' {
			return i
		}
	}
	return len(p)
}

// special takes one octet of any kind.
func (b *bodyHash) special(c byte) {
	switch {
	case b.cr && c == '\n':
		b.cr, b.space = false, false // white space at the end of a line never counts
		b.lines++
	case c == '\r':
		b.lone()
		b.cr = true
	case c == ' ' || c == '\t':
		b.lone()
		b.space = true
	default:
		b.take([]byte{c})
	}
}

// lone takes a CR that no LF followed as text.
func (b *bodyHash) lone() {
	if b.cr {
		b.cr = false
		b.take([]byte{'\r'})
	}
}

// take takes text, after all that waited for some.
func (b *bodyHash) take(text []byte) {
	b.lone()
	for ; b.lines > 0; b.lines-- {
		b.emit([]byte("\r\n"))
	}
	if b.space {
		b.space = false
		b.emit([]byte{' '})
	}
	b.text = true
	for len(text) > hashChunk {
		b.emit(text[:hashChunk])
		text = text[hashChunk:]
	}
	b.emit(text)
}

func (b *bodyHash) emit(p []byte) {
	if len(b.out)+len(p) > cap(b.out) {
		b.hash.Write(b.out) // never fails
		b.out = b.out[:0]
	}
	b.out = append(b.out, p...)
}

// sum ends the body: empty lines at its end do not count, and its last line has
// an end even if it came without one. RFC 6376 3.4.4
func (b *bodyHash) sum() []byte {
	b.lone()
	if b.text {
		b.emit([]byte("\r\n"))
	}
	b.hash.Write(b.out)
	b.out = b.out[:0]
	return b.hash.Sum(nil)
}

// relaxed is the relaxed form of a field without its line end. RFC 6376 3.4.2
func relaxed(f field) string {
	value := strings.FieldsFunc(f.value, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' })
	return strings.ToLower(f.name) + ":" + strings.Join(value, " ")
}
