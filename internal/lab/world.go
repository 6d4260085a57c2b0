package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// World is a DNS tree from its own signed root down. All its methods and those
// of its zones may be called at once and while it is served.
type World struct {
	mu    sync.Mutex // guards the zones and all that is in them
	now   time.Time
	zones map[string]*Zone
}

// NewWorld makes a world with a signed root (a KSK and a ZSK, NSEC). All
// signatures are made for the given now.
func NewWorld(now time.Time) *World {
	w := &World{now: now, zones: map[string]*Zone{}}
	w.zones["."] = newZone(w, ".", nil, ZoneOptions{SplitKeys: true})
	return w
}

// Root returns the root zone.
func (w *World) Root() *Zone { return w.Zone(".") }

// Zone returns the zone of exactly this name; it panics when there is none.
func (w *World) Zone(name string) *Zone {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.zone(name)
}

// AddZone makes a zone and delegates to it from the nearest zone above.
func (w *World) AddZone(name string, o ZoneOptions) *Zone {
	w.mu.Lock()
	defer w.mu.Unlock()
	name = canon(name)
	if w.zones[name] != nil {
		panic(fmt.Sprintf("lab: zone %s is there already", name))
	}
	parent := w.zoneOf(parentOf(name))
	z := newZone(w, name, parent, o)
	w.zones[name] = z
	parent.delegate(z)
	return z
}

// Zones returns the names of all zones, parents first.
func (w *World) Zones() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.SortedFunc(maps.Keys(w.zones), compareNames)
}

// Anchor returns the root's DS lines, as trust anchor files hold them.
func (w *World) Anchor() string {
	var b strings.Builder
	for _, rr := range w.anchors() {
		ds := rr.(*dns.DS)
		fmt.Fprintf(&b, ". IN DS %d %d %d %s\n", ds.KeyTag, ds.Algorithm, ds.DigestType, ds.Digest)
	}
	return b.String()
}

// AnchorDelv returns the same anchor as the trust-anchors clause that BIND's
// delv reads with -a.
func (w *World) AnchorDelv() string {
	var b strings.Builder
	b.WriteString("trust-anchors {\n")
	for _, rr := range w.anchors() {
		ds := rr.(*dns.DS)
		fmt.Fprintf(&b, "\t. static-ds %d %d %d \"%s\";\n", ds.KeyTag, ds.Algorithm, ds.DigestType, ds.Digest)
	}
	b.WriteString("};\n")
	return b.String()
}

func (w *World) anchors() []dns.RR {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.zone(".").delegationSigner(dns.SHA256)
}

// Sign makes all signatures that are missing after changes. Nobody has to call
// it: what is served is signed when it is first asked for. An error names the
// RRset that cannot be signed.
func (w *World) Sign() (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("sign the world: %v", p)
		}
	}()
	for _, z := range w.zones {
		z.signedSets()
	}
	return nil
}

// zone is Zone for callers that hold the lock.
func (w *World) zone(name string) *Zone {
	z := w.zones[canon(name)]
	if z == nil {
		panic(fmt.Sprintf("lab: no zone %q", name))
	}
	return z
}

// zoneOf returns the zone that holds a name.
func (w *World) zoneOf(name string) *Zone {
	for n := name; ; n = parentOf(n) {
		if z := w.zones[n]; z != nil {
			return z
		}
	}
}
