package lab

import (
	"maps"
	"slices"

	"github.com/miekg/dns"
)

// Copy returns the world as it is now, with the same keys: what a secondary has
// after a zone transfer. Later changes of one are unknown to the other.
func (w *World) Copy() *World {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &World{now: w.now, zones: map[string]*Zone{}}
	for name, z := range w.zones {
		c.zones[name] = z.copyTo(c)
	}
	for _, z := range c.zones {
		if z.parent != nil {
			z.parent = c.zones[z.parent.name]
		}
	}
	return c
}

func (z *Zone) copyTo(w *World) *Zone {
	c := *z
	c.world, c.cached = w, nil
	c.faults = maps.Clone(z.faults)
	c.data = map[string]map[uint16][]dns.RR{}
	for owner, types := range z.data {
		c.data[owner] = map[uint16][]dns.RR{}
		for typ, set := range types {
			c.data[owner][typ] = slices.Clone(set)
		}
	}
	return &c
}

// Transfer makes a server serve a copy of a world from now on, as a secondary
// does that has caught up with its primary.
func (s *DNSServer) Transfer(w *World) {
	c := w.Copy()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world = c
}
