package tlsa

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Errors of Zone.Text.
var (
	ErrOutside = errors.New("does not lie in the zone")
	ErrNoNS    = errors.New("a zone needs a name server")
	ErrNoGlue  = errors.New("a name server inside the zone needs an address")
)

// The numbers of the SOA record (RFC 1035 3.3.13), in seconds.
const (
	soaRefresh = 7200    // a secondary that missed a NOTIFY is two hours behind
	soaRetry   = 900     // and asks again after so long when it got no answer
	soaExpire  = 1209600 // two weeks without the primary
	soaMinimum = 300     // RFC 2308 5: a new record is seen after so long by those who asked too early
)

// NameServer is a server of a zone.
type NameServer struct {
	Name  string       // without the final dot
	Addrs []netip.Addr // needed when the name lies inside the zone, left out when not
}

// Zone is a zone that holds identities and nothing else, such as a delegated
// _device.example.org: small enough to be signed and served apart from the
// domain's other names.
type Zone struct {
	Name       string       // without the final dot
	Servers    []NameServer // the first is the primary
	Hostmaster string       // who answers for it: local part, dot, domain (RFC 1035 8)
	Serial     uint32
	TTL        uint32 // of what is no Entry
	Entries    []Entry
}

// Text returns the zone as a file (RFC 1035 5.1) without signatures. All names
// are written out, so that lines may be added and moved.
func (z Zone) Text() (string, error) {
	if len(z.Servers) == 0 {
		return "", ErrNoNS
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s. %d IN SOA %s. %s. %d %d %d %d %d\n",
		z.Name, z.TTL, z.Servers[0].Name, z.Hostmaster, z.Serial, soaRefresh, soaRetry, soaExpire, soaMinimum)
	for _, s := range z.Servers {
		fmt.Fprintf(&b, "%s. %d IN NS %s.\n", z.Name, z.TTL, s.Name)
	}
	for _, s := range z.Servers {
		if !z.holds(s.Name) {
			continue // RFC 1034 4.2.1: its own zone has its address
		}
		if len(s.Addrs) == 0 {
			return "", fmt.Errorf("%s: %w", s.Name, ErrNoGlue)
		}
		for _, a := range s.Addrs {
			fmt.Fprintf(&b, "%s. %d IN %s %s\n", s.Name, z.TTL, addressType(a), a)
		}
	}
	for _, e := range z.Entries {
		if !z.holds(e.Owner) {
			return "", fmt.Errorf("%s: %w %s", e.Owner, ErrOutside, z.Name)
		}
		fmt.Fprintln(&b, e)
	}
	return b.String(), nil
}

// holds compares whole labels.
func (z Zone) holds(name string) bool {
	return name == z.Name || strings.HasSuffix(name, "."+z.Name)
}

func addressType(a netip.Addr) string {
	if a.Is4() {
		return "A"
	}
	return "AAAA"
}
