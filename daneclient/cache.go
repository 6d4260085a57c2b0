package daneclient

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
	"time"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
	"dancemta/internal/limit"
)

// key names a verdict. The whole chain is in it: a stranger who claims the
// owner's name with another chain gets a verdict of his own, and the same leaf
// with other issuers is another question for usage 2.
type key struct {
	owner dnsname.Name
	user  bool
	named bool
	chain [sha256.Size]byte
}

// keyOf hashes the certificates as they came; DER says itself where each ends.
func keyOf(c claim, chain []*x509.Certificate) key {
	k := key{owner: c.owner, user: c.user, named: c.named}
	if len(chain) == 1 {
		k.chain = sha256.Sum256(chain[0].Raw)
		return k
	}
	h := sha256.New()
	for _, cert := range chain {
		if cert != nil {
			h.Write(cert.Raw)
		}
	}
	h.Sum(k.chain[:0])
	return k
}

// verdict is what was found out about a claim: the record that matched, or why
// there is no identity.
type verdict struct {
	record  tlsa.Record
	until   time.Time
	refusal *Error // nil: proved
}

// result splits a verdict as Go callers want it.
func (v verdict) result() (verdict, error) {
	if v.refusal != nil {
		return verdict{}, v.refusal
	}
	return v, nil
}

// maxCachedRecord keeps whole CA certificates of the usual kind (1 to 2 KiB) in
// the cache, but not 10,000 large ones.
const maxCachedRecord = 4 << 10

// cache keeps verdicts until they end. What was proved and what was refused
// have their own room: strangers can make any number of chains that are
// refused, and must not push out their victims.
type cache struct {
	mu      *sync.Mutex
	proved  *generations
	refused *generations
}

func newCache(size int) cache {
	return cache{mu: &sync.Mutex{}, proved: newGenerations(size), refused: newGenerations(size)}
}

// get returns the verdict on k that still holds at now.
func (c cache) get(k key, now time.Time) (verdict, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.proved.get(k)
	if !ok {
		v, ok = c.refused.get(k)
	}
	return v, ok && now.Before(v.until)
}

// classOf knows the chains that were proved under this very name, also when their
// verdict is over: they ask again for what they had. A stranger who shows a chain of
// his own is none of them, whatever name it claims.
func (c cache) classOf(k key) limit.Class {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.proved.get(k); ok {
		return limit.Known
	}
	return limit.Stranger
}

// put keeps a verdict; one that is over already, or temporary, is not kept.
func (c cache) put(k key, v verdict, now time.Time) {
	if !now.Before(v.until) || len(v.record.Data) > maxCachedRecord {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proved.remove(k) // the older verdict, perhaps the opposite one
	c.refused.remove(k)
	if v.refusal != nil {
		c.refused.put(k, v)
		return
	}
	c.proved.put(k, v)
}

// generations is a map of bounded size that forgets what was not used for
// longest, roughly: when the young half is full it becomes the old half, and
// the old one goes.
type generations struct {
	half       int
	young, old map[key]verdict
}

func newGenerations(size int) *generations {
	return &generations{half: max(size/2, 1), young: map[key]verdict{}}
}

func (g *generations) get(k key) (verdict, bool) {
	if v, ok := g.young[k]; ok {
		return v, true
	}
	v, ok := g.old[k]
	if ok {
		delete(g.old, k)
		g.put(k, v)
	}
	return v, ok
}

func (g *generations) put(k key, v verdict) {
	if len(g.young) >= g.half {
		g.old, g.young = g.young, make(map[key]verdict, g.half)
	}
	g.young[k] = v
}

func (g *generations) remove(k key) {
	delete(g.young, k)
	delete(g.old, k)
}
