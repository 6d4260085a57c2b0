package queue

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"dancemta/internal/dnsname"
)

// ErrPattern comes wrapped with a pattern of destinations that cannot be read.
var ErrPattern = errors.New("not a destination")

// AllDestinations is the pattern of all of them.
const AllDestinations = "*"

// ParseDestinations reads a pattern of destinations: a domain, "*.example.org" for
// all names below it, an address literal, or "*". It returns the one way to write it.
func ParseDestinations(s string) (string, error) {
	if s == AllDestinations {
		return s, nil
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		text, ok := strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(strings.TrimPrefix(strings.ToLower(text), "ipv6:"))
		if !ok || err != nil || ip.Zone() != "" {
			return "", fmt.Errorf("%w: %.80q: no address literal", ErrPattern, s)
		}
		if ip.Is6() {
			return "[IPv6:" + ip.String() + "]", nil
		}
		return "[" + ip.String() + "]", nil
	}
	rest, below := strings.CutPrefix(s, "*.")
	name, err := dnsname.ParseUnicode(rest)
	if err != nil {
		if why := errors.Unwrap(err); why != nil {
			err = why // without the name, which stands there already
		}
		return "", fmt.Errorf("%w: %.80q: %v", ErrPattern, s, err)
	}
	if below {
		return "*." + name.String(), nil
	}
	return name.String(), nil
}

// MatchDestination reports whether a pattern, as ParseDestinations gives it, names a
// destination. Whole labels match, and "*.example.org" not example.org itself.
func MatchDestination(pattern, destination string) bool {
	if pattern == AllDestinations || pattern == destination {
		return true
	}
	suffix, below := strings.CutPrefix(pattern, "*")
	return below && strings.HasSuffix(destination, suffix) && len(destination) > len(suffix)
}

// Ended reports whether the time of a suspension is over.
func (s Suspension) Ended(now time.Time) bool { return !s.Until.IsZero() && !now.Before(s.Until) }

// suspensions is what the store keeps of them, at hand for each look at the queue.
type suspensions struct {
	mu  sync.Mutex
	all []Suspension
}

func (s *suspensions) set(all []Suspension) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = all
}

// find returns the suspension of a destination.
func (s *suspensions) find(destination string, now time.Time) (found Suspension, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.all, func(one Suspension) bool {
		return !one.Ended(now) && MatchDestination(one.Pattern, destination)
	})
	if i < 0 {
		return found, false
	}
	return s.all[i], true
}

// ends returns the earliest end that is still to come; zero: there is none.
func (s *suspensions) ends(now time.Time) (at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		if !one.Until.IsZero() && !one.Ended(now) && (at.IsZero() || one.Until.Before(at)) {
			at = one.Until
		}
	}
	return at
}
