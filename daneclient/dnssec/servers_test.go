package dnssec

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

const otherTLSA = " TLSA 3 1 1 ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

// pairOfServers serves z.test. by two servers: ns at 127.0.0.1, which is the
// bench's, and ns2 at 127.0.0.2, which serves what it was given last.
type pairOfServers struct {
	*bench
	z      *lab.Zone
	second *lab.DNSServer
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

func newPair(t *testing.T, o lab.ZoneOptions, change ...func(*Options)) *pairOfServers {
	t.Helper()
	p := &pairOfServers{bench: newBench(t, change...)}
	p.z = p.zone("z.test.", o, "x"+tlsa, "@ NS ns2", "ns2 A 127.0.0.2", "alias CNAME x", "*.w"+tlsa)
	second, err := p.Copy().Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Close() })
	p.second = second
	p.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		at := map[string]string{"127.0.0.1:53": p.server.Addr(), "127.0.0.2:53": second.Addr()}[address]
		if at == "" {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
		}
		return new(net.Dialer).DialContext(ctx, network, at)
	}
	return p
}

func (p *pairOfServers) survey(t *testing.T, name string) Survey {
	t.Helper()
	s, err := p.r.Survey(t.Context(), dnsname.MustParse(name), SurveyOptions{Dial: p.dial})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(s.Servers, func(a, b ServerAnswer) int { return a.Addr.Compare(b.Addr) })
	return s
}

// ports of connections, in the errors of package net.
var ports = regexp.MustCompile(`(udp) \d[^ ]*:\d+:`)

// shown writes each server with its state, number of records and what is wrong.
func shown(s Survey) []string {
	var all []string
	for _, a := range s.Servers {
		line := a.String() + " " + a.State.String() + " " + strings.Repeat("+", len(a.TLSA))
		all = append(all, strings.TrimSpace(line+" "+anyKey(a.Reason)))
	}
	return all
}

func TestSurvey(t *testing.T) {
	const first, second = "ns.z.test (127.0.0.1) ", "ns2.z.test (127.0.0.2) "
	for name, c := range map[string]struct {
		owner  string
		change func(p *pairOfServers)
		want   []string
	}{
		"both":  {"x.z.test", func(*pairOfServers) {}, []string{first + "secure +", second + "secure +"}},
		"none":  {"none.z.test", func(*pairOfServers) {}, []string{first + "secure", second + "secure"}},
		"alias": {"alias.z.test", func(*pairOfServers) {}, []string{first + "failed  alias.z.test. is an alias; the records stand where it leads", second + "failed  alias.z.test. is an alias; the records stand where it leads"}},
		"wildcard": {"q.w.z.test", func(*pairOfServers) {}, []string{
			first + "failed  made from a wildcard, where no client has a key of its own", second + "failed  made from a wildcard, where no client has a key of its own",
		}},
		"lagging": {"x.z.test", func(p *pairOfServers) { p.z.Add("x" + otherTLSA) }, []string{first + "secure ++", second + "secure +"}},
		"caught up": {"x.z.test", func(p *pairOfServers) { p.z.Add("x" + otherTLSA); p.second.Transfer(p.World) }, []string{
			first + "secure ++", second + "secure ++",
		}},
		"silent": {"x.z.test", func(p *pairOfServers) { p.second.Tamper(func(_, _ *dns.Msg) *dns.Msg { return nil }) }, []string{
			first + "secure +", second + "failed  read udp: i/o timeout",
		}},
		"refusing": {"x.z.test", func(p *pairOfServers) {
			p.second.Tamper(func(_, m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeRefused; return m })
		}, []string{first + "secure +", second + "failed  it says REFUSED"}},
		"a cache": {"x.z.test", func(p *pairOfServers) {
			p.second.Tamper(func(_, m *dns.Msg) *dns.Msg { m.Authoritative = false; return m })
		}, []string{first + "secure +", second + "failed  it is no authority for the zone"}},
		"forged": {"x.z.test", func(p *pairOfServers) {
			p.second.Tamper(func(_, m *dns.Msg) *dns.Msg {
				m.Answer[0].(*dns.TLSA).Certificate = strings.Repeat("ab", 32)
				return m
			})
		}, []string{first + "secure +", second + "bogus  x.z.test. TLSA: the signature of the key # is wrong"}},
		"unsigned": {"x.z.test", func(p *pairOfServers) {
			p.second.Tamper(func(_, m *dns.Msg) *dns.Msg { m.Answer = m.Answer[:1]; return m })
		}, []string{first + "secure +", second + "bogus  x.z.test. TLSA: no signature, but the zone z.test. is signed"}},
		"by TCP": {"x.z.test", func(p *pairOfServers) {
			for i := range 40 {
				p.z.Add("x" + strings.Replace(tlsa, "0011", fmt.Sprintf("ff%02x", i), 1))
			}
		}, []string{first + "secure " + strings.Repeat("+", 41), second + "secure +"}},
		"no address": {"x.z.test", func(p *pairOfServers) { p.z.Add("@ NS ns3") }, []string{
			"ns3.z.test failed  has no address", first + "secure +", second + "secure +",
		}},
		"no way to IPv6": {"x.z.test", func(p *pairOfServers) {
			p.z.Add("ns AAAA 2001:db8::1", "@ NS six", "six AAAA 2001:db8::2")
		}, []string{first + "secure +", second + "secure +", "six.z.test (2001:db8::2) failed  dial udp: network is unreachable"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, lab.ZoneOptions{}, hasty)
			c.change(p)
			s := p.survey(t, c.owner)
			got := shown(s)
			for i := range got { // the ports are new each time
				got[i] = ports.ReplaceAllString(got[i], "$1:")
			}
			if !slices.Equal(got, c.want) || s.Zone != "z.test." {
				t.Errorf("%s\ngot  %q\nwant %q", s.Zone, got, c.want)
			}
		})
	}
}

// TestSurveyTTL: the TTL is the one that the zone gives, of records and of
// their absence, and a name is walkable where NSEC denies.
func TestSurveyTTL(t *testing.T) {
	for _, c := range []struct {
		name     string
		o        lab.ZoneOptions
		walkable bool
	}{
		{"NSEC", lab.ZoneOptions{TTL: 1800, NegativeTTL: 200}, true},
		{"NSEC3", lab.ZoneOptions{TTL: 1800, NegativeTTL: 200, NSEC3: &lab.NSEC3Options{}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, c.o)
			p.z.Add("short 30" + tlsa)
			for owner, want := range map[string]time.Duration{"x.z.test": 1800 * time.Second, "none.z.test": 200 * time.Second, "short.z.test": 30 * time.Second} {
				s := p.survey(t, owner)
				if s.Walkable != c.walkable || s.Servers[0].TTL != want {
					t.Errorf("%s: walkable %v, TTL %s, want %s", owner, s.Walkable, s.Servers[0].TTL, want)
				}
			}
			p.second.Tamper(func(_, m *dns.Msg) *dns.Msg { // a server that counts down
				for _, rr := range m.Answer {
					rr.Header().Ttl = 5
				}
				return m
			})
			if s := p.survey(t, "x.z.test"); s.Servers[1].TTL != 1800*time.Second {
				t.Errorf("TTL %s of a server with a cache in front", s.Servers[1].TTL)
			}
		})
	}
}

func TestSurveyRefuses(t *testing.T) {
	b := newBench(t)
	b.zone("un.test.", lab.ZoneOptions{Unsigned: true}, "x"+tlsa)
	b.zone("bad.test.", lab.ZoneOptions{Fault: lab.BrokenSignatures}, "x"+tlsa)
	many := b.zone("many.test.", lab.ZoneOptions{}, "x"+tlsa)
	for i := range 40 {
		many.Add(fmt.Sprintf("ns A 127.0.1.%d", i))
	}
	for owner, want := range map[string]string{
		"x.un.test":   "the zone of x.un.test: not signed, so nobody can log in by its records: un.test. has no DS in test.",
		"x.bad.test":  "the zone of x.bad.test: x.bad.test. NSEC: the signature of the key # is wrong",
		"x.many.test": "the servers of many.test.: more than 32 addresses",
	} {
		_, err := b.r.Survey(t.Context(), dnsname.MustParse(owner), SurveyOptions{Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("nobody should be asked")
		}})
		if err == nil || anyKey(err.Error()) != want {
			t.Errorf("%s: %v\nwant %s", owner, err, want)
		}
	}
	if _, err := b.r.Survey(t.Context(), dnsname.Name{}, SurveyOptions{}); err == nil {
		t.Error("no name was surveyed")
	}
	b.forward(-365 * 24 * time.Hour)
	if _, err := b.r.Survey(t.Context(), dnsname.MustParse("x.test"), SurveyOptions{}); err == nil || !strings.Contains(err.Error(), "clock") {
		t.Errorf("with a wrong clock: %v", err)
	}
}
