package crowd

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func tcp(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

func TestCrowd(t *testing.T) {
	busy := ""
	c := New(Options{Connections: 6, PerAddress: 2, PerNetwork: 3, Overload: func() string { return busy }})
	inside := map[string][]*Place{}
	for i, s := range []struct {
		peer string // "-" before it: leaves
		want Full   // 0: gets in
	}{
		{"192.0.2.7:1", 0}, {"192.0.2.7:2", 0}, {"192.0.2.7:3", OfAddress},
		{"[::ffff:192.0.2.7]:4", OfAddress}, // the same address
		{"192.0.2.200:1", 0}, {"192.0.2.201:1", OfNetwork},
		{"192.0.3.1:1", 0}, // the next network
		{"[2001:db8::1]:1", 0}, {"[2001:db8::2]:1", 0},
		{"[2001:db8::3]:1", All},
		{"-192.0.3.1:1", 0}, {"[2001:db8::3]:1", OfAddress}, // one /64
		{"[2001:db8:0:1::1]:1", 0}, // another, and the third of the /48
		{"-192.0.2.7:1", 0}, {"[2001:db8:0:2::1]:1", OfNetwork},
		{"192.0.2.7:5", 0}, {"-192.0.2.7:2", 0}, {"busy", Overloaded}, {"192.0.2.7:6", 0},
		{"-[2001:db8::1]:1", 0}, {"-[2001:db8::2]:1", 0}, {"127.0.0.1:1", 0}, {"127.0.0.1:2", 0},
		{"-192.0.2.7:5", 0}, {"127.0.0.1:3", 0}, // this host is counted in all only
	} {
		if peer, ok := strings.CutPrefix(s.peer, "-"); ok {
			inside[peer][0].Leave()
			inside[peer] = inside[peer][1:]
			continue
		}
		peer := s.peer
		if busy = ""; peer == "busy" {
			busy, peer = "no memory", "198.51.100.1:1"
		}
		p, kind, _ := c.Enter(tcp(peer))
		if kind != s.want || (p != nil) != (s.want == 0) {
			t.Fatalf("step %d, %s: %v, want %v", i, peer, kind, s.want)
		}
		if p != nil {
			inside[peer] = append(inside[peer], p)
		}
	}
	for _, ps := range inside {
		for _, p := range ps {
			p.Leave()
		}
	}
	if c.Len() != 0 || c.addresses.Keys() != 0 || c.networks.Keys() != 0 {
		t.Errorf("%d, %d and %d are left behind", c.Len(), c.addresses.Keys(), c.networks.Keys())
	}
}
