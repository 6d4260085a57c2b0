package dnssec

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// cut is what the chain of trust says about one name on the way down.
type cut struct {
	kind    cutKind
	zone    *zone     // of a secureCut
	why     string    // of an insecure one
	expires time.Time // when the proof has to be made again
	steps   []Step
}

type cutKind uint8

const (
	secureCut   cutKind = iota + 1 // the apex of a zone with proved keys
	sameZone                       // no delegation here
	noSuchName                     // the name does not exist, nor does anything below. RFC 8020
	unsignedCut                    // proved to be the apex of an unsigned zone, or below one
)

// place is where in the chain of trust a name lies.
type place struct {
	zone    *zone // the zone that holds the name; nil when it is insecure
	why     string
	expires time.Time
}

// walk goes from the root down to a name, label by label, and asks at each for
// the DS. It ends early where nothing can follow: below an unsigned delegation
// and at a name that does not exist. RFC 4035 5.2
func (l *lookup) walk(ctx context.Context, target string) (place, error) {
	top, err := l.cutAt(ctx, root, nil)
	if err != nil {
		return place{}, err
	}
	zone, expires := top.zone, top.expires
	for _, name := range lineage(target) {
		c, err := l.cutAt(ctx, name, zone)
		if err != nil {
			return place{}, err
		}
		expires = earlier(expires, c.expires)
		switch c.kind {
		case secureCut:
			zone = c.zone
		case unsignedCut:
			return place{why: c.why, expires: expires}, nil
		case noSuchName:
			return place{zone: zone, expires: expires}, nil
		}
	}
	return place{zone: zone, expires: expires}, nil
}

// knownCut returns what the caches say; nothing when they are silent.
func (l *lookup) knownCut(k question) (*cut, error) {
	if c, ok := l.mem.cuts.get(k, l.now); ok {
		l.note(c.steps...)
		return c, nil
	}
	if f := l.mem.failures.get(k, l.now); f != nil {
		l.note(f.step)
		return nil, f
	}
	return nil, nil
}

// cutAt returns the cut at a name whose parent lies in the given zone: from
// the cache, from a lookup that is at it already, or by asking.
func (l *lookup) cutAt(ctx context.Context, name string, parent *zone) (*cut, error) {
	k := question{name, dns.TypeDS}
	for {
		if c, err := l.knownCut(k); c != nil || err != nil {
			return c, err
		}
		f, first := l.mem.steps.join(k)
		if first {
			c, err := l.knownCut(k) // of a flight that ended since the look above
			if c == nil && err == nil {
				c, err = l.findCut(ctx, name, parent)
				l.rememberCut(k, c, err)
			}
			l.mem.steps.finish(k, f)
			return c, err
		}
		select {
		case <-f.done: // if it was not remembered, it was that lookup's own trouble
		case <-ctx.Done():
			return nil, l.outOfTime(ctx)
		}
	}
}

func (l *lookup) rememberCut(k question, c *cut, err error) {
	if err != nil {
		if f := asFault(err); !f.ofLookup() {
			l.mem.failures.put(k, f, l.end())
		}
		return
	}
	l.mem.failures.forget(k)
	l.mem.cuts.put(k, c, c.expires, l.now)
}

// findCut asks for the DS of a name and judges the answer.
func (l *lookup) findCut(ctx context.Context, name string, parent *zone) (*cut, error) {
	if name == root {
		set, until := records(l.mem.anchors, l.now)
		if len(set) == 0 && len(l.mem.anchors) > 0 {
			err := asFault(bogus("none of the trust anchors is valid now"))
			err.hint = "are they those of today's root, and is the clock right?"
			return nil, l.blame(root, question{root, dns.TypeDNSKEY}, err)
		}
		return l.secureChild(ctx, root, set, until, Step{
			Zone: root, Name: root, Type: "DS", State: Secure, Detail: "trust anchor",
		})
	}
	q := question{name, dns.TypeDS}
	r, err := l.ask(ctx, q)
	if err != nil {
		return nil, l.blame(parent.name, q, err)
	}
	c, err := l.judgeDS(ctx, parent, name, r)
	return c, l.blame(parent.name, q, err)
}

// judgeDS reads an answer to a question for DS: the DS, a CNAME, or a denial.
func (l *lookup) judgeDS(ctx context.Context, parent *zone, name string, r *reply) (*cut, error) {
	if dname := r.dnameAbove(name); dname != nil {
		return l.belowDNAME(parent, name, r, dname)
	}
	if set := r.answer[question{name, dns.TypeDS}]; set != nil {
		return l.followDS(ctx, parent, set)
	}
	if set := r.answer[question{name, dns.TypeCNAME}]; set != nil {
		// A CNAME has no NS beside it, so there is no cut. RFC 1034 3.6.2
		p, optOut, err := l.verifyExpanded(parent, r, set)
		if err != nil {
			return nil, err
		}
		if optOut {
			return l.unsigned(parent, name, "below an opt-out span of "+parent.name, p.expires), nil
		}
		return &cut{kind: sameZone, expires: earlier(p.expires, l.now.Add(maxNegative))}, nil
	}
	return l.judgeNoDS(parent, name, r)
}

// judgeNoDS reads a denial of DS. RFC 4035 5.2, RFC 5155 8.6
func (l *lookup) judgeNoDS(parent *zone, name string, r *reply) (*cut, error) {
	d, err := l.denialsOf(parent, r)
	if err != nil {
		return nil, err
	}
	found, err := d.judge(name, dns.TypeDS)
	if err != nil {
		return nil, err
	}
	expires := earlier(d.expires, l.now.Add(r.negativeTTL()))
	step := Step{Zone: parent.name, Name: name, Type: "DS", State: Secure}
	switch found {
	case insecureCut:
		return l.unsigned(parent, name, name+" has no DS in "+parent.name, expires), nil
	case optedOut:
		return l.unsigned(parent, name, name+" lies in an opt-out span of "+parent.name, expires), nil
	case noName:
		step.Detail = "no such name"
		return &cut{kind: noSuchName, expires: expires, steps: l.noted(step)}, nil
	}
	step.Detail = "no delegation"
	return &cut{kind: sameZone, expires: expires, steps: l.noted(step)}, nil
}

func (l *lookup) unsigned(parent *zone, name, why string, expires time.Time) *cut {
	step := Step{Zone: parent.name, Name: name, Type: "DS", State: Insecure, Detail: why}
	return &cut{kind: unsignedCut, why: why, expires: expires, steps: l.noted(step)}
}

// followDS proves a DS RRset and fetches the keys that it names; one that we
// cannot follow makes the child insecure. RFC 4035 5.2, RFC 6840 5.2
func (l *lookup) followDS(ctx context.Context, parent *zone, set *rrset) (*cut, error) {
	p, err := l.verify(parent, set)
	if err != nil {
		return nil, err
	}
	if p.encloser != "" {
		return nil, bogus("%s: made from a wildcard", set)
	}
	var usable []*dns.DS
	for _, rr := range set.rrs {
		if ds, ok := rr.(*dns.DS); ok && usableDS(ds) {
			usable = append(usable, ds)
		}
	}
	switch {
	case len(usable) == 0:
		why := fmt.Sprintf("the DS of %s has only algorithms or digests that are not supported", set.owner)
		return l.unsigned(parent, set.owner, why, p.expires), nil
	case len(usable) > maxDS:
		return nil, tooMany("%s: more than %d records", set, maxDS)
	}
	step := Step{Zone: parent.name, Name: set.owner, Type: "DS", State: Secure, Detail: signedBy(parent, p)}
	return l.secureChild(ctx, set.owner, usable, p.expires, step)
}

// secureChild fetches the keys of a zone and proves them by its DS records;
// dsStep is the proof of those. The zero expires is no bound.
func (l *lookup) secureChild(ctx context.Context, name string, ds []*dns.DS, expires time.Time, dsStep Step) (*cut, error) {
	l.note(dsStep)
	if err := spend(&l.spent.zones, 1, maxZones, "zones"); err != nil {
		return nil, err
	}
	q := question{name, dns.TypeDNSKEY}
	r, err := l.ask(ctx, q)
	if err != nil {
		return nil, l.blame(name, q, err)
	}
	z, p, err := l.proveKeys(r.answer[q], name, ds, expires)
	if err != nil {
		return nil, l.blame(name, q, err)
	}
	step := Step{Zone: name, Name: name, Type: "DNSKEY", State: Secure, Detail: signedBy(z, p)}
	return &cut{kind: secureCut, zone: z, expires: z.expires, steps: append([]Step{dsStep}, l.noted(step)...)}, nil
}

// proveKeys demands a key that a DS names and that signs the whole DNSKEY
// RRset; then all zone keys in it are good. RFC 4035 5.2
func (l *lookup) proveKeys(set *rrset, name string, ds []*dns.DS, expires time.Time) (*zone, proof, error) {
	if set == nil {
		return nil, proof{}, bogus("%s DNSKEY: none, but there is a DS", name)
	}
	keys, err := keysOf(set)
	if err != nil {
		return nil, proof{}, err
	}
	entry := &zone{name: name, keys: named(keys, ds), expires: l.now.Add(maxLife)}
	if !expires.IsZero() {
		entry.expires = earlier(entry.expires, expires)
	}
	if len(entry.keys) == 0 {
		err := asFault(bogus("%s: no usable key matches the DS (%s)", set, tagsOf(ds)))
		err.hint = "are the trust anchors those of today's root?"
		return nil, proof{}, err
	}
	p, err := l.verify(entry, set)
	if err != nil {
		return nil, proof{}, err
	}
	if p.encloser != "" {
		return nil, proof{}, bogus("%s: made from a wildcard", set)
	}
	return &zone{name: name, keys: keys, expires: p.expires}, p, nil
}

// keysOf returns the keys that may sign the zone. Many with one tag are
// refused before any arithmetic. KeyTrap, CVE-2023-50387
func keysOf(set *rrset) ([]zoneKey, error) {
	var keys []zoneKey
	same := map[[2]uint16]int{}
	for _, rr := range set.rrs {
		k, ok := rr.(*dns.DNSKEY)
		if !ok || !usableKey(k) {
			continue
		}
		key := zoneKey{k, k.KeyTag()}
		id := [2]uint16{key.tag, uint16(k.Algorithm)}
		if same[id]++; same[id] > maxSameTag {
			return nil, tooMany("%s: more than %d keys with the tag %d", set, maxSameTag, key.tag)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func named(keys []zoneKey, ds []*dns.DS) []zoneKey {
	var out []zoneKey
	for _, k := range keys {
		for _, d := range ds {
			if matchesDS(k, d) {
				out = append(out, k)
				break
			}
		}
	}
	return out
}

func tagsOf(ds []*dns.DS) string {
	var tags []string
	for _, d := range ds {
		tags = append(tags, fmt.Sprint(d.KeyTag))
	}
	return "key " + strings.Join(tags, ", ")
}

func signedBy(z *zone, p proof) string { return fmt.Sprintf("signed by %s, key %d", z.name, p.tag) }
