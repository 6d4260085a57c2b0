package queue

import (
	"errors"
	"testing"
	"time"
)

func TestParseDestinations(t *testing.T) {
	for in, want := range map[string]string{
		"Example.ORG": "example.org", "*.example.org": "*.example.org", "*": "*", "bücher.example": "xn--bcher-kva.example",
		"[192.0.2.1]": "[192.0.2.1]", "[ipv6:2001:DB8::1]": "[IPv6:2001:db8::1]",
		"": "", "*.": "", "**": "", "a*.org": "", "[x]": "", "[192.0.2.1": "", "*.*.org": "", "a b": "", "[fe80::1%eth0]": "",
	} {
		got, err := ParseDestinations(in)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrPattern) {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestMatchDestination(t *testing.T) {
	for _, c := range []struct {
		pattern, destination string
		want                 bool
	}{
		{"example.org", "example.org", true},
		{"example.org", "a.example.org", false},
		{"*.example.org", "a.example.org", true},
		{"*.example.org", "a.b.example.org", true},
		{"*.example.org", "example.org", false},
		{"*.example.org", "evilexample.org", false},
		{"*.example.org", ".example.org", false},
		{"*", "anything.test", true},
		{"[192.0.2.1]", "[192.0.2.1]", true},
	} {
		if got := MatchDestination(c.pattern, c.destination); got != c.want {
			t.Errorf("%s, %s: %v", c.pattern, c.destination, got)
		}
	}
}

func TestSuspensionsEnd(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var s suspensions
	s.set([]Suspension{{Pattern: "a.test"}, {Pattern: "b.test", Until: now.Add(time.Hour)}, {Pattern: "*.c.test", Until: now.Add(2 * time.Hour)}})
	for _, c := range []struct {
		destination string
		after       time.Duration
		want        bool
	}{
		{"a.test", 1000 * time.Hour, true}, {"b.test", 59 * time.Minute, true}, {"b.test", time.Hour, false},
		{"x.c.test", time.Hour, true}, {"x.c.test", 2 * time.Hour, false}, {"c.test", 0, false},
	} {
		if _, ok := s.find(c.destination, now.Add(c.after)); ok != c.want {
			t.Errorf("%s after %v: %v", c.destination, c.after, ok)
		}
	}
	for after, want := range map[time.Duration]time.Duration{0: time.Hour, time.Hour: 2 * time.Hour} {
		if got := s.ends(now.Add(after)); !got.Equal(now.Add(want)) {
			t.Errorf("next end after %v: %v", after, got)
		}
	}
	if got := s.ends(now.Add(3 * time.Hour)); !got.IsZero() {
		t.Errorf("next end when all are over: %v", got)
	}
}
