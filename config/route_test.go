package config

import (
	"testing"
)

// Whole labels match, and nothing else; the closest is the one with the most.
func TestRouteDomain(t *testing.T) {
	for _, c := range []struct {
		domain, destination string
		closeness           int
		ok                  bool
	}{
		{"example.org", "example.org", maxCloseness, true},
		{"example.org", "a.example.org", 0, false},
		{"example.org", "evilexample.org", 0, false},
		{"*.example.org", "a.example.org", 13, true},
		{"*.example.org", "a.b.example.org", 13, true},
		{"*.example.org", "example.org", 0, false},
		{"*.example.org", "evilexample.org", 0, false},
		{"*.example.org", ".example.org", 0, false},
		{"*.example.org", "a.example.org.net", 0, false},
		{"BÜCHER.example", "xn--bcher-kva.example", maxCloseness, true},
		{"any", "example.org", 0, true},
		{"any", "[192.0.2.1]", 0, true},
		{"*.1]", "[192.0.2.1]", 0, false},
	} {
		var r RouteDomain
		if err := r.UnmarshalText([]byte(c.domain)); err != nil {
			if c.ok {
				t.Errorf("%s: %v", c.domain, err)
			}
			continue
		}
		if ok := r.Matches(c.destination); ok != c.ok || ok && r.Closeness() != c.closeness {
			t.Errorf("%s for %s: %d, %v", c.domain, c.destination, r.Closeness(), ok)
		}
	}
}
