package deliver

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
)

// TestRoute: hosts are shown as name:port, groups of one preference are in
// parentheses, and no route as result and status.
func TestRoute(t *testing.T) {
	cname := dnssec.Answer{State: dnssec.Insecure, CNAME: true, Final: dnsname.MustParse("real.test")}
	for _, c := range []struct {
		name, destination, want string
		zone                    zone
		hops                    []string
	}{
		{"by preference", "d.test", "(b.test:25) (a.test:25) (c.test:25)", zone{"MX d.test": mx("20 a.test, 10 b.test, 30 c.test")}, nil},
		{"no MX", "d.test", "(d.test:25)", zone{"MX d.test": none}, nil},
		{"no MX behind a CNAME", "d.test", "(real.test:25)", zone{"MX d.test": cname}, nil},
		{"null MX", "d.test", "failed 5.1.10", zone{"MX d.test": mx("0 .")}, nil},
		{"null MX among others is none", "d.test", "(a.test:25)", zone{"MX d.test": mx("0 ., 10 a.test")}, nil},
		{"only null MX, twice", "d.test", "failed 5.4.4", zone{"MX d.test": mx("0 ., 10 .")}, nil},
		{"no such domain", "d.test", "failed 5.1.2", zone{"MX d.test": nxdomain}, nil},
		{"DNS silent", "d.test", "deferred 4.4.3", zone{}, nil},
		{"bogus", "d.test", "deferred 4.4.3", zone{"MX d.test": {State: dnssec.Bogus}}, nil},
		{"bogus NXDOMAIN", "d.test", "deferred 4.4.3", zone{"MX d.test": {State: dnssec.Bogus, NXDomain: true}}, nil},
		{"failed, with records", "d.test", "deferred 4.4.3", zone{"MX d.test": {State: dnssec.Failed, MX: mx("10 a.test").MX}}, nil},
		{"an address as MX", "d.test", "(a.test:25)", zone{"MX d.test": mx("10 192.0.2.1, 20 a.test")}, nil},
		{"only an address as MX", "d.test", "failed 5.4.4", zone{"MX d.test": mx("10 192.0.2.1")}, nil},
		{"we are the second", "d.test", "(a.test:25)", zone{"MX d.test": mx("10 a.test, 20 mx.example.test, 30 b.test")}, nil},
		{"we share the second place", "d.test", "(a.test:25)", zone{"MX d.test": mx("10 a.test, 20 c.test, 20 mx.example.test, 20 b.test")}, nil},
		{"we are the best", "d.test", "failed 5.4.6", zone{"MX d.test": mx("20 a.test, 10 mx.example.test")}, nil},
		{"we share the best place", "d.test", "failed 5.4.6", zone{"MX d.test": mx("10 a.test, 10 mx.example.test, 10 b.test, 20 c.test")}, nil},
		{"we are the domain", "mx.example.test", "failed 5.4.6", zone{"MX mx.example.test": none}, nil},
		{"literal", "[192.0.2.7]", "([192.0.2.7]:25)", zone{}, nil},
		{"literal IPv6", "[IPv6:2001:db8::7]", "([2001:db8::7]:25)", zone{}, nil},
		{"next hops", "d.test", "(inner.test:2525) ([10.0.0.1]:25) ([fd00::1]:26)", zone{}, []string{"inner.test:2525", "10.0.0.1:25", "[fd00::1]:26"}},
		{"next hop without port", "d.test", "deferred 4.3.5", zone{}, []string{"inner.test"}},
		{"next hop, port 0", "d.test", "deferred 4.3.5", zone{}, []string{"inner.test:0"}},
		{"next hop, no name", "d.test", "deferred 4.3.5", zone{}, []string{"a_b:25"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDeliverer(t, Options{Resolver: c.zone, Route: func(string) Route { return Route{Hosts: c.hops} }})
			groups, v := d.route(t.Context(), d.o.Route(c.destination), c.destination)
			if got := routeText(groups, v); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func routeText(groups []group, v *verdict) string {
	if v != nil {
		return v.result.String() + " " + v.status
	}
	var parts []string
	for _, g := range groups {
		var hosts []string
		for _, h := range g {
			hosts = append(hosts, fmt.Sprintf("%s:%d", h, h.port))
		}
		parts = append(parts, "("+strings.Join(hosts, " ")+")")
	}
	return strings.Join(parts, " ")
}

// TestEqualsAreShuffled: with four equals each is the first one sometimes.
func TestEqualsAreShuffled(t *testing.T) {
	d := newDeliverer(t, Options{Resolver: zone{"MX d.test": mx("10 a.test, 10 b.test, 10 c.test, 5 e.test, 10 d.test")}})
	first := map[string]bool{}
	for range 200 { // chance of a miss: 4 * (3/4)^200
		groups, _ := d.route(t.Context(), Route{}, "d.test")
		if groups[0][0].String() != "e.test" || len(groups[1]) != 4 {
			t.Fatal(routeText(groups, nil))
		}
		first[groups[1][0].String()] = true
	}
	if len(first) != 4 {
		t.Errorf("first among equals were only %v", first)
	}
}

func TestManyHosts(t *testing.T) {
	records := "1 a.test"
	for i := range 100 {
		records += fmt.Sprintf(", %d h%d.test", i+2, i)
	}
	d := newDeliverer(t, Options{Resolver: zone{"MX d.test": mx(records)}})
	if groups, _ := d.route(t.Context(), Route{}, "d.test"); len(groups) != maxHosts {
		t.Errorf("%d hosts are looked at", len(groups))
	}
}

func TestTargets(t *testing.T) {
	many := make([]string, 9)
	for i := range many {
		many[i] = fmt.Sprintf("192.0.2.%d", i+1)
	}
	for _, c := range []struct {
		name, want string
		zone       zone
		left       int
	}{
		{"IPv6 first", "2001:db8::1 192.0.2.1", zone{"A h.test": addrs("192.0.2.1"), "AAAA h.test": addrs("2001:db8::1")}, 10},
		{"both families within the bound", "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 2001:db8::3", zone{"A h.test": addrs("192.0.2.1", "192.0.2.2"),
			"AAAA h.test": addrs("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8::5", "2001:db8::6")}, 10},
		{"five of a host", "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5", zone{"A h.test": addrs(many...), "AAAA h.test": none}, 10},
		{"what is left", "192.0.2.1 192.0.2.2", zone{"A h.test": addrs(many...), "AAAA h.test": none}, 2},
		{"no address", "failed 5.4.4", zone{"A h.test": none, "AAAA h.test": none}, 10},
		{"no such host", "failed 5.4.4", zone{"A h.test": nxdomain, "AAAA h.test": nxdomain}, 10},
		{"AAAA silent", "192.0.2.1 deferred 4.4.3", zone{"A h.test": addrs("192.0.2.1")}, 10},
		{"A silent, no AAAA", "deferred 4.4.3", zone{"AAAA h.test": none}, 10},
		{"bogus address", "deferred 4.4.3", zone{"AAAA h.test": none, "A h.test": {State: dnssec.Bogus, Addrs: addrs("192.0.2.1").Addrs}}, 10},
		{"ourselves", "failed 5.4.6", zone{"A h.test": addrs("192.0.2.1", "198.51.100.25"), "AAAA h.test": none}, 10},
		{"one private, one public", "192.0.2.1 failed 5.4.4", zone{"A h.test": addrs("10.0.0.1", "192.0.2.1"), "AAAA h.test": none}, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDeliverer(t, Options{Resolver: c.zone, OwnAddresses: []netip.Addr{netip.MustParseAddr("::ffff:198.51.100.25")}})
			left := c.left
			targets, v := d.targets(t.Context(), group{{name: dnsname.MustParse("h.test"), port: 25}}, &left)
			var parts []string
			for _, t := range targets {
				parts = append(parts, t.addr.Addr().String())
			}
			if v != nil {
				parts = append(parts, v.result.String()+" "+v.status)
			}
			if got := strings.Join(parts, " "); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if left != c.left-len(targets) {
				t.Errorf("%d left of %d after %d", left, c.left, len(targets))
			}
		})
	}
}

func TestPrivateTargets(t *testing.T) {
	for addr, want := range map[string]struct{ strict, lab bool }{
		"192.0.2.1": {true, true}, "2001:db8::1": {true, true}, "9.255.255.255": {true, true}, "172.32.0.1": {true, true},
		"100.128.0.1": {true, true}, "192.169.0.1": {true, true}, "64:ff9b::c000:201": {true, true},
		"127.0.0.1": {false, true}, "127.255.0.1": {false, true}, "::1": {false, true}, "::ffff:127.0.0.1": {false, true}, "::127.0.0.1": {false, true},
		"0.0.0.0": {false, true}, "0.1.2.3": {false, true}, "::": {false, true}, "10.1.2.3": {false, true}, "172.16.0.1": {false, true}, "172.31.255.255": {false, true},
		"192.168.1.1": {false, true}, "100.64.0.1": {false, true}, "100.127.0.1": {false, true}, "169.254.169.254": {false, true},
		"fe80::1": {false, true}, "fec0::1": {false, true}, "fc00::1": {false, true}, "fdff::1": {false, true}, "::ffff:10.0.0.1": {false, true},
		"64:ff9b::7f00:1": {false, true}, "64:ff9b:1::7f00:1": {false, true}, "64:ff9b:2::1": {true, true}, "::ffff:0:7f00:1": {false, true}, "2002:7f00:1::1": {false, true}, "2002:c000:201::1": {true, true},
		"224.0.0.1": {false, false}, "239.1.1.1": {false, false}, "240.0.0.1": {false, false}, "255.255.255.255": {false, false},
		"ff02::1": {false, false}, "::ffff:224.0.0.1": {false, false}, "64:ff9b::e000:1": {false, false},
	} {
		for _, lab := range []bool{false, true} {
			d := newDeliverer(t, Options{Resolver: zone{}, AllowPrivateTargets: lab})
			kept, v := d.permitted(host{name: dnsname.MustParse("h.test")}, []netip.Addr{netip.MustParseAddr(addr)})
			expected := want.strict
			if lab {
				expected = want.lab
			}
			if (len(kept) == 1) != expected || (v == nil) != expected {
				t.Errorf("%s, allow_private_targets %v: kept %v, %v", addr, lab, kept, v)
			}
		}
	}
}

func TestNew(t *testing.T) {
	name := dnsname.MustParse("mx.example.test")
	for what, o := range map[string]Options{
		"no hostname": {Resolver: zone{}},
		"no resolver": {Hostname: name},
		"port":        {Hostname: name, Resolver: zone{}, MXPort: 65536},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

var _ interface {
	Lookup(context.Context, dnsname.Name, dnssec.Type) dnssec.Answer
} = (*dnssec.Resolver)(nil)
