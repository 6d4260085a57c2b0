package tlsa

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"sync"
	"time"
)

// Paths remembers which chains were found to end at which CAs, so that a peer who
// comes back after its records have lapsed costs no signature check. It may be used
// by many goroutines at once.
//
// This is safe because everything that makes a path is in its key (each certificate
// of the chain and of the CAs, whole, in order, and what the leaf must be good for),
// and because the outcome of path validation (RFC 5280 6.1) depends on nothing else
// but the time, which is compared anew with the dates of each certificate of the
// path. Records, names, and whether a CA may be an anchor are judged each time, too.
// What was refused is never remembered.
type Paths struct {
	half int

	mu         sync.Mutex // guards what follows
	young, old map[pathKey]foundPath
}

// pathKey is SHA-256 of what a path is made from.
type pathKey [sha256.Size]byte

// foundPath is one path, and when all its certificates are valid.
type foundPath struct {
	anchor        int // which of the CAs it ends at
	after, before time.Time
}

// NewPaths returns a memory of about size paths, 150 octets each. It forgets what was
// not asked for longest, roughly.
func NewPaths(size int) *Paths {
	return &Paths{half: max(size/2, 1), young: map[pathKey]foundPath{}}
}

// keyOfPath hashes certificates as they came; DER says itself where each ends, and the
// length of the chain where the CAs begin.
func keyOfPath(anchors []anchor, shown []*fingerprint, o Options) pathKey {
	h := sha256.New()
	h.Write(fmt.Append(nil, o.purpose(), len(shown)))
	for _, f := range shown {
		h.Write(f.cert.Raw)
	}
	for _, a := range anchors {
		h.Write(a.cert.Raw)
	}
	var k pathKey
	h.Sum(k[:0])
	return k
}

// get returns the path that is valid now. A nil Paths knows none.
func (p *Paths) get(k pathKey, now time.Time) (foundPath, bool) {
	if p == nil {
		return foundPath{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.young[k]
	if !ok {
		if f, ok = p.old[k]; ok {
			delete(p.old, k)
			p.add(k, f)
		}
	}
	return f, ok && !now.Before(f.after) && !now.After(f.before)
}

func (p *Paths) put(k pathKey, f foundPath) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(k, f)
}

func (p *Paths) add(k pathKey, f foundPath) {
	if len(p.young) >= p.half {
		p.old, p.young = p.young, make(map[pathKey]foundPath, p.half)
	}
	p.young[k] = f
}

// lastBegin returns when the last certificate of a path becomes valid.
func lastBegin(path []*x509.Certificate) time.Time {
	begin := path[0].NotBefore
	for _, cert := range path[1:] {
		if cert.NotBefore.After(begin) {
			begin = cert.NotBefore
		}
	}
	return begin
}
