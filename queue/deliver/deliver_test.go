package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/internal/dialog"
	"dancemta/queue"
)

const hello = `
	S: 220 mx
	C: EHLO mx.example.test
	S: 250 mx
	C: MAIL FROM:<a@example.test>
	S: 250 ok
	C: RCPT TO:<b@d.test>
`

const rest = `
	C: DATA
	S: 354 go
	C: x
	C: .
	S: 250 2.6.0 queued
	C: QUIT
	S: 221 bye
`

const takes = hello + "S: 250 ok" + rest

const offersTLS = `
	S: 220 mx
	C: EHLO mx.example.test
	S: 250-mx
	S: 250 STARTTLS
	C: STARTTLS
`

var twoMX = zone{
	"MX d.test":  mx("10 one.test, 20 two.test"),
	"A one.test": addrs("192.0.2.1"), "AAAA one.test": none,
	"A two.test": addrs("192.0.2.2"), "AAAA two.test": none,
}

// TestHosts: what the first host says, whether the second is asked, and what
// the recipient is told. first holds one script for each connection.
func TestHosts(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  []string
		second string // "": must not be asked
		want   string
		reply  string
	}{
		{"taken", []string{takes}, "", "delivered 2.6.0 one.test", "250 2.6.0 queued"},
		{"nobody there", nil, takes, "delivered 2.6.0 two.test", "250 2.6.0 queued"},
		{"421 as greeting", []string{"S: 421 busy"}, takes, "delivered 2.6.0 two.test", ""},
		{"554 as greeting", []string{"S: 554 5.7.1 no"}, takes, "delivered 2.6.0 two.test", ""},
		{"closes at once", []string{"DROP"}, takes, "delivered 2.6.0 two.test", ""},
		{"no SMTP", []string{"S: HTTP/1.1 400"}, takes, "delivered 2.6.0 two.test", ""},
		{"421 at RCPT", []string{hello + "S: 421 bye"}, takes, "delivered 2.6.0 two.test", ""},
		{"gone within the body", []string{hello + "S: 250 ok\nC: DATA\nS: 421 bye"}, takes, "delivered 2.6.0 two.test", ""},
		{"5xx at RCPT is final", []string{hello + "S: 550 5.1.1 unknown\nC: QUIT\nS: 221 bye"}, "", "failed 5.1.1 one.test", "550 5.1.1 unknown"},
		{"4xx at RCPT defers", []string{hello + "S: 450 4.2.1 later\nC: QUIT\nS: 221 bye"}, "", "deferred 4.2.1 one.test", "450 4.2.1 later"},
		{"no word after the dot", []string{hello + "S: 250 ok\nC: DATA\nS: 354 go\nC: x\nC: .\nDROP"}, "", "deferred 4.4.2",
			"one.test[192.0.2.1]: end of message: no proper reply, it may be delivered twice: the server closed the connection"},
		{"both refuse to talk", []string{"S: 554 5.7.1 no"}, "S: 554 5.7.1 you again", "deferred 4.7.1 two.test", "554 5.7.1 you again"},
		{"TLS", []string{offersTLS + "S: 220 go\nTLS\nC: EHLO mx.example.test\nS: 250 mx\nC: MAIL FROM:<a@example.test>\nS: 250 ok\nC: RCPT TO:<b@d.test>\nS: 250 ok" + rest}, "", "delivered 2.6.0 one.test", ""},
		{"TLS taken back", []string{offersTLS + "S: 454 4.7.0 no\nC: MAIL FROM:<a@example.test>\nS: 250 ok\nC: RCPT TO:<b@d.test>\nS: 250 ok" + rest}, "", "delivered 2.6.0 one.test", ""},
		{"TLS broken, then in clear", []string{offersTLS + "S: 220 go\nBYTE\nDROP", strings.Replace(takes, "S: 250 mx", "S: 250-mx\nS: 250 STARTTLS", 1)}, "", "delivered 2.6.0 one.test", ""},
		{"TLS broken, then nobody", []string{offersTLS + "S: 220 go\nBYTE\nDROP", "DROP"}, takes, "delivered 2.6.0 two.test", ""},
		{"injected behind STARTTLS", []string{offersTLS + `S! "220 go\r\n250 ok\r\n"`}, takes, "delivered 2.6.0 two.test", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &network{to: map[string]*dialog.Server{}}
			want := max(1, len(c.first))
			if len(c.first) > 0 {
				n.to["192.0.2.1:25"] = dialog.Serve(t, c.first...)
			}
			if c.second != "" {
				n.to["192.0.2.2:25"] = dialog.Serve(t, c.second)
				want++
			}
			d := newDeliverer(t, Options{Resolver: twoMX, Dial: n.Dial})
			got := d.attempt(t.Context(), job("x\r\n", "b@d.test"))
			if text(got) != c.want || c.reply != "" && got[0].Reply != c.reply {
				t.Errorf("got %s, %q; want %s", text(got), got[0].Reply, c.want)
			}
			if len(n.calls) != want {
				t.Errorf("called %v", n.calls)
			}
		})
	}
}

// TestNoRoute: outcomes without any connection.
func TestNoRoute(t *testing.T) {
	private := zone{"MX d.test": mx("10 h.test"), "A h.test": addrs("127.0.0.1"), "AAAA h.test": addrs("::1")}
	loopSecond := zone{"MX d.test": mx("10 h.test, 20 self.test, 30 other.test"), "A h.test": none, "AAAA h.test": none,
		"A self.test": addrs("198.51.100.25"), "AAAA self.test": none, "A other.test": addrs("192.0.2.9"), "AAAA other.test": none}
	for _, c := range []struct {
		name, to, want string
		zone           zone
	}{
		{"null MX", "b@d.test", "failed 5.1.10", zone{"MX d.test": mx("0 .")}},
		{"private", "b@d.test", "failed 5.4.4", private},
		{"private, another host unknown for now", "b@d.test", "deferred 4.4.3", zone{"MX d.test": mx("10 h.test, 20 silent.test"), "A h.test": addrs("127.0.0.1"), "AAAA h.test": none}},
		{"unknown for now, another host private", "b@d.test", "deferred 4.4.3", zone{"MX d.test": mx("10 silent.test, 20 h.test"), "A h.test": addrs("127.0.0.1"), "AAAA h.test": none}},
		{"private literal", "b@[127.0.0.1]", "failed 5.4.4", zone{}},
		{"own literal", "b@[198.51.100.25]", "failed 5.4.6", zone{}},
		{"own address, worse hosts behind it", "b@d.test", "failed 5.4.6", loopSecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &network{}
			d := newDeliverer(t, Options{Resolver: c.zone, Dial: n.Dial, OwnAddresses: []netip.Addr{netip.MustParseAddr("198.51.100.25")}})
			got := d.attempt(t.Context(), job("x\r\n", c.to))
			if text(got) != c.want || got[0].Reply == "" || len(n.calls) != 0 {
				t.Errorf("got %s, %q after %v; want %s", text(got), got[0].Reply, n.calls, c.want)
			}
		})
	}
}

func TestNextHop(t *testing.T) {
	s := dialog.Serve(t, takes)
	d := newDeliverer(t, Options{Resolver: zone{}, Route: func(destination string) Route {
		if destination != "d.test" {
			t.Errorf("asked for %q", destination)
		}
		return Route{Hosts: []string{s.Addr().String()}}
	}})
	got := d.attempt(t.Context(), job("x\r\n", "b@d.test"))
	if text(got) != "delivered 2.6.0 [127.0.0.1]" {
		t.Errorf("got %s, %q: a configured hop may be private", text(got), got[0].Reply)
	}
}

func TestNextHopByName(t *testing.T) {
	n := &network{to: map[string]*dialog.Server{"10.0.0.7:2525": dialog.Serve(t, takes)}}
	d := newDeliverer(t, Options{Dial: n.Dial, Route: func(string) Route { return Route{Hosts: []string{"gone.test:25", "in.test:2525"}} },
		Resolver: zone{"A in.test": addrs("10.0.0.7"), "AAAA in.test": none, "A gone.test": nxdomain, "AAAA gone.test": nxdomain}})
	if got := d.attempt(t.Context(), job("x\r\n", "b@d.test")); text(got) != "delivered 2.6.0 in.test" {
		t.Errorf("got %s, %q", text(got), got[0].Reply)
	}
	d = newDeliverer(t, Options{Route: func(string) Route { return Route{Hosts: []string{"gone.test:25"}} },
		Resolver: zone{"A gone.test": nxdomain, "AAAA gone.test": nxdomain}})
	if got := d.attempt(t.Context(), job("x\r\n", "b@d.test")); text(got) != "deferred 4.4.4" {
		t.Errorf("a next hop that does not exist: %s, %q", text(got), got[0].Reply)
	}
}

// TestMixed: each recipient has its own end; only those without go on.
func TestMixed(t *testing.T) {
	n := &network{to: map[string]*dialog.Server{
		"192.0.2.1:25": dialog.Serve(t, hello+`
			S: 550 5.1.1 no b
			C: RCPT TO:<c@d.test>
			S: 250 ok
			C: RCPT TO:<e@d.test>
			S: 421 4.3.2 enough
		`),
		"192.0.2.2:25": dialog.Serve(t, `
			S: 220 mx
			C: EHLO mx.example.test
			S: 250 mx
			C: MAIL FROM:<a@example.test>
			S: 250 ok
			C: RCPT TO:<c@d.test>
			S: 250 ok
			C: RCPT TO:<e@d.test>
			S: 450 4.2.2 full
		`+rest),
	}}
	d := newDeliverer(t, Options{Resolver: twoMX, Dial: n.Dial})
	got := d.attempt(t.Context(), job("x\r\n", "b@d.test", "c@d.test", "e@d.test"))
	if want := "failed 5.1.1 one.test, delivered 2.6.0 two.test, deferred 4.2.2 two.test"; text(got) != want {
		t.Errorf("got %s, want %s", text(got), want)
	}
	for i, to := range []string{"b@d.test", "c@d.test", "e@d.test"} {
		if got[i].Recipient.String() != to {
			t.Errorf("outcome %d is of %s", i, got[i].Recipient)
		}
	}
}

// TestManyRecipients: 101 recipients are two transactions of one session.
func TestManyRecipients(t *testing.T) {
	const most = 100 // RFC 5321 4.5.3.1.8
	script := "S: 220 mx\nC: EHLO mx.example.test\nS: 250 mx\n"
	var to []string
	for i := range most + 1 {
		if i%most == 0 {
			script += "C: MAIL FROM:<a@example.test>\nS: 250 ok\n"
		}
		to = append(to, fmt.Sprintf("r%d@d.test", i))
		script += "C: RCPT TO:<" + to[i] + ">\nS: 250 ok\n"
		if i == most-1 {
			script += "C: DATA\nS: 354 go\nC: x\nC: .\nS: 250 2.6.0 queued\n"
		}
	}
	n := &network{to: map[string]*dialog.Server{"192.0.2.1:25": dialog.Serve(t, script+rest)}}
	d := newDeliverer(t, Options{Resolver: twoMX, Dial: n.Dial})
	if got := d.attempt(t.Context(), job("x\r\n", to...)); text(got) != "delivered 2.6.0 one.test" || len(got) != len(to) {
		t.Errorf("got %s", text(got))
	}
}

// TestSmuggling: not one host is shown a message with a lone line end, and the
// sender gets to know.
func TestSmuggling(t *testing.T) {
	n := &network{to: map[string]*dialog.Server{"192.0.2.1:25": dialog.Serve(t, hello+"S: 250 ok\nC: DATA\nS: 354 go\nHANG")}}
	d := newDeliverer(t, Options{Resolver: twoMX, Dial: n.Dial})
	got := d.attempt(t.Context(), job("x\n.\r\nMAIL FROM:<admin@d.test>\r\n", "b@d.test"))
	if text(got) != "failed 5.6.0" || len(n.calls) != 1 {
		t.Errorf("got %s, %q after %v", text(got), got[0].Reply, n.calls)
	}
}

func TestContextEnds(t *testing.T) {
	n := &network{to: map[string]*dialog.Server{"192.0.2.1:25": dialog.Serve(t, "HANG")}}
	ctx, cancel := context.WithCancel(t.Context())
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		defer cancel()
		return n.Dial(ctx, network, address)
	}
	d := newDeliverer(t, Options{Resolver: twoMX, Dial: dial})
	got := d.attempt(ctx, job("x\r\n", "b@d.test"))
	if len(got) != 1 || got[0].Result != queue.Deferred || len(n.calls) != 1 {
		t.Errorf("got %s after %v", text(got), n.calls)
	}
}

// silence is a network where every connection is taken and nothing is said.
type silence struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (s *silence) Dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	go io.Copy(io.Discard, there)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, there)
	return here, nil
}

// TestWholeAttemptIsBounded: twenty silent addresses, of which ten are tried,
// within an hour of fake time.
func TestWholeAttemptIsBounded(t *testing.T) {
	z := zone{"MX d.test": mx("10 h0.test, 20 h1.test, 30 h2.test, 40 h3.test")}
	for h := range 4 {
		var list []string
		for i := range 5 {
			list = append(list, fmt.Sprintf("192.0.2.%d", h*5+i+1))
		}
		z[fmt.Sprintf("A h%d.test", h)], z[fmt.Sprintf("AAAA h%d.test", h)] = addrs(list...), none
	}
	for _, c := range []struct {
		greeting time.Duration
		calls    int
		took     time.Duration
	}{{5 * time.Minute, 10, 50 * time.Minute}, {25 * time.Minute, 3, time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			s := &silence{}
			o := Options{Resolver: z, Dial: s.Dial}
			o.Timeouts.Greeting = c.greeting
			start := time.Now()
			got := newDeliverer(t, o).attempt(t.Context(), job("x\r\n", "b@d.test"))
			if text(got) != "deferred 4.4.2" || len(s.conns) != c.calls || time.Since(start) != c.took {
				t.Errorf("got %s after %d calls and %v", text(got), len(s.conns), time.Since(start))
			}
		})
	}
}

// TestDialTimeout: a host that drops SYNs costs 30 seconds.
func TestDialTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeliverer(t, Options{Resolver: twoMX, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		start := time.Now()
		got := d.attempt(t.Context(), job("x\r\n", "b@d.test"))
		if text(got) != "deferred 4.4.1" || time.Since(start) != time.Minute {
			t.Errorf("got %s after %v", text(got), time.Since(start))
		}
	})
}

func TestBodyGone(t *testing.T) {
	n := &network{to: map[string]*dialog.Server{"192.0.2.1:25": dialog.Serve(t, "S: 220 x\nC: EHLO mx.example.test\nS: 250 x\nC: QUIT\nS: 221 bye")}}
	d := newDeliverer(t, Options{Resolver: twoMX, Dial: n.Dial})
	j := job("x\r\n", "b@d.test")
	j.Open = func() (io.ReadCloser, error) { return nil, errors.New("no such file") }
	if got := d.attempt(t.Context(), j); text(got) != "deferred 4.3.0" || len(n.calls) != 1 {
		t.Errorf("got %s, %q after %v", text(got), got[0].Reply, n.calls)
	}
}

var _ queue.Deliverer = (*Deliverer)(nil)

func TestOrderAndPort(t *testing.T) {
	n := &network{}
	d := newDeliverer(t, Options{Resolver: twoMX, Dial: n.Dial, MXPort: 2525})
	got := d.attempt(t.Context(), job("x\r\n", "b@d.test"))
	if !slices.Equal(n.calls, []string{"192.0.2.1:2525", "192.0.2.2:2525"}) || text(got) != "deferred 4.4.1" {
		t.Errorf("called %v, %s", n.calls, text(got))
	}
	if got[0].Reply != "connect to two.test[192.0.2.2]: connection refused" {
		t.Errorf("reply %q", got[0].Reply)
	}
}
