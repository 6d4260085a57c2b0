package msgauth

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

// summer is the digest of a body in a canonical form. sum ends it, and says the same
// each time.
type summer interface{ sum() []byte }

// bodies hashes a body in those forms that its signatures want, each once.
type bodies struct {
	relaxed *bodyHash
	simple  *simpleHash
	digest  []byte // of relaxed, once it has ended
}

// of returns the digest for a form, which is made from now on.
func (b *bodies) of(simple bool) summer {
	if simple {
		if b.simple == nil {
			b.simple = &simpleHash{hash: sha256.New()}
		}
		return b.simple
	}
	if b.relaxed == nil {
		b.relaxed = newBodyHash()
	}
	return once{b}
}

// once is the digest of the relaxed form.
type once struct{ b *bodies }

func (o once) sum() []byte {
	if o.b.digest == nil {
		o.b.digest = o.b.relaxed.sum()
	}
	return o.b.digest
}

// Write never fails.
func (b *bodies) Write(p []byte) (int, error) {
	if b.relaxed != nil {
		b.relaxed.Write(p)
	}
	if b.simple != nil {
		b.simple.Write(p)
	}
	return len(p), nil
}

// simpleHash hashes the simple form of a body (RFC 6376 3.4.3) as it is written. Line
// ends wait as a number until text follows: at the end of a body they do not count.
type simpleHash struct {
	hash   hash.Hash
	lines  int
	cr     bool // a CR came, and perhaps its LF follows
	digest []byte
}

// Write never fails.
func (s *simpleHash) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if s.cr {
			s.cr = false
			if p[0] == '\n' {
				s.lines++
				p = p[1:]
				continue
			}
			s.take([]byte{'\r'})
		}
		run := p
		if i := bytes.IndexByte(p, '\r'); i >= 0 {
			run, s.cr = p[:i], true
		}
		s.take(run)
		p = p[len(run):]
		if s.cr {
			p = p[1:]
		}
	}
	return n, nil
}

func (s *simpleHash) take(text []byte) {
	if len(text) == 0 {
		return
	}
	for ; s.lines > 0; s.lines-- {
		s.hash.Write([]byte("\r\n"))
	}
	s.hash.Write(text)
}

// sum gives the body its one line end, even if it is empty. RFC 6376 3.4.3
func (s *simpleHash) sum() []byte {
	if s.digest == nil {
		if s.cr {
			s.take([]byte{'\r'})
		}
		s.hash.Write([]byte("\r\n"))
		s.digest = s.hash.Sum(nil)
	}
	return s.digest
}
