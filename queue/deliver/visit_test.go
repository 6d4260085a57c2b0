package deliver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/internal/dialog"
	"dancemta/internal/dnsname"
	"dancemta/queue"
)

// to is one transaction within a session.
func to(rcpt, answer string) string {
	return "C: MAIL FROM:<a@example.test>\nS: 250 ok\nC: RCPT TO:<" + rcpt + ">\n" + answer + "\n"
}

const (
	greets = "S: 220 mx\nC: EHLO mx.example.test\nS: 250-mx\n"
	whole  = "C: DATA\nS: 354 go\nC: x\nC: .\nS: 250 2.6.0 queued\n"
	leaves = "C: QUIT\nS: 221 bye\n"
	good   = "S: 250 ok\n" + whole
)

// deliverAll makes one visit of all jobs and returns the outcomes as text.
func deliverAll(ctx context.Context, d *Deliverer, jobs ...queue.Job) string {
	v := &visited{jobs: jobs}
	d.Deliver(ctx, v)
	var all []string
	for _, o := range v.outcomes {
		all = append(all, text(o))
	}
	return strings.Join(all, "; ")
}

// TestVisit: several messages and one connection, as long as it is good for it.
func TestVisit(t *testing.T) {
	b := func() queue.Job { return job("x\r\n", "b@d.test") }
	secret := b()
	secret.Envelope.TLSOptional = true
	for _, c := range []struct {
		name    string
		scripts []string // of one host
		jobs    []queue.Job
		want    string
		left    int // jobs that were not taken
	}{
		{"three over one", []string{greets + "S: 250 x\n" + to("b@d.test", good) + to("b@d.test", good) + to("b@d.test", good) + leaves},
			[]queue.Job{b(), b(), b()}, "delivered 2.6.0 one.test; delivered 2.6.0 one.test; delivered 2.6.0 one.test", 0},
		{"one refused in between", []string{greets + "S: 250 x\n" + to("b@d.test", good) + to("b@d.test", "S: 550 5.1.1 no") + "C: RSET\nS: 250 ok\n" + to("b@d.test", good) + leaves},
			[]queue.Job{b(), b(), b()}, "delivered 2.6.0 one.test; failed 5.1.1 one.test; delivered 2.6.0 one.test", 0},
		{"the server leaves before the second", []string{greets + "S: 250 x\n" + to("b@d.test", good) + "C: MAIL FROM:<a@example.test>\nS: 421 4.4.2 enough\n", greets + "S: 250 x\n" + to("b@d.test", good) + leaves},
			[]queue.Job{b(), b()}, "delivered 2.6.0 one.test; delivered 2.6.0 one.test", 0},
		{"the server is gone before the second", []string{greets + "S: 250 x\n" + to("b@d.test", good) + "DROP", greets + "S: 250 x\n" + to("b@d.test", good) + leaves},
			[]queue.Job{b(), b()}, "delivered 2.6.0 one.test; delivered 2.6.0 one.test", 0},
		{"no word after the second dot", []string{greets + "S: 250 x\n" + to("b@d.test", good) + to("b@d.test", "S: 250 ok\nC: DATA\nS: 354 go\nC: x\nC: .\nDROP")},
			[]queue.Job{b(), b(), b()}, "delivered 2.6.0 one.test; deferred 4.4.2", 1},
		{"other terms, another connection", []string{greets + "S: 250 x\n" + to("b@d.test", good) + leaves, greets + "S: 250 x\n" + to("b@d.test", good) + leaves},
			[]queue.Job{b(), secret}, "delivered 2.6.0 one.test; delivered 2.6.0 one.test", 0},
		{"MAILMAX, and somebody is left", []string{
			greets + "S: 250 LIMITS RCPTMAX=1 MAILMAX=2\n" + to("b@d.test", good) + to("b@d.test", good) + leaves,
			greets + "S: 250 LIMITS RCPTMAX=1 MAILMAX=2\n" + to("c@d.test", good) + leaves,
		}, []queue.Job{b(), job("x\r\n", "b@d.test", "c@d.test")}, "delivered 2.6.0 one.test; delivered 2.6.0 one.test", 0},
		{"MAILMAX", []string{greets + "S: 250 LIMITS MAILMAX=2\n" + to("b@d.test", good) + to("b@d.test", good) + leaves},
			[]queue.Job{b(), b(), b()}, "delivered 2.6.0 one.test; delivered 2.6.0 one.test", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &network{to: map[string]*dialog.Server{"192.0.2.1:25": dialog.Serve(t, c.scripts...)}}
			d := newDeliverer(t, Options{Resolver: twoMX, Dial: n.Dial})
			v := &visited{jobs: c.jobs}
			d.Deliver(t.Context(), v)
			var all []string
			for _, o := range v.outcomes {
				all = append(all, text(o))
			}
			if got := strings.Join(all, "; "); got != c.want || len(c.jobs)-len(v.outcomes) != c.left {
				t.Errorf("got %s, %d left; want %s", got, len(c.jobs)-len(v.outcomes), c.want)
			}
			if len(n.calls) != len(c.scripts) {
				t.Errorf("called %v", n.calls)
			}
		})
	}
}

// A reload makes the next message call anew, and by the new route.
func TestVisitAfterReload(t *testing.T) {
	old := dialog.Serve(t, greets+"S: 250 x\n"+to("b@d.test", good)+leaves)
	fresh := dialog.Serve(t, greets+"S: 250 x\n"+to("b@d.test", good)+leaves)
	routes := []Route{{Version: 1, Hosts: []string{old.Addr().String()}}, {Version: 2, Hosts: []string{fresh.Addr().String()}}}
	asked := 0
	d := newDeliverer(t, Options{Resolver: zone{}, Route: func(string) Route { asked++; return routes[asked-1] }})
	if got := deliverAll(t.Context(), d, job("x\r\n", "b@d.test"), job("x\r\n", "b@d.test")); got != "delivered 2.6.0 [127.0.0.1]; delivered 2.6.0 [127.0.0.1]" {
		t.Error(got)
	}
}

// TestBounds: a connection is not used for ever.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeliverer(t, Options{Resolver: twoMX, Dial: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go dialog.Play(there, nil, greets+"S: 250 x\n"+strings.Repeat(to("b@d.test", good), maxMessages)+leaves)
			return here, nil
		}})
		v := &visited{jobs: slices.Repeat([]queue.Job{job("x\r\n", "b@d.test")}, maxMessages+1)}
		if d.Deliver(t.Context(), v); len(v.outcomes) != maxMessages {
			t.Errorf("%d messages over one connection", len(v.outcomes))
		}
		v = &visited{jobs: v.jobs}
		s := slow{v}
		if d.Deliver(t.Context(), s); len(v.outcomes) != int(maxVisit/time.Minute) {
			t.Errorf("%d messages at one a minute", len(v.outcomes))
		}
	})
}

// slow has a message each minute.
type slow struct{ *visited }

func (s slow) Report(j queue.Job, o []queue.Outcome) {
	s.visited.Report(j, o)
	time.Sleep(time.Minute)
}

// Who is left over by a transaction has the next one, as long as each serves
// somebody.
func TestLeftOver(t *testing.T) {
	two := func(first, second string) string {
		return "C: MAIL FROM:<a@example.test>\nS: 250 ok\nC: RCPT TO:<b@d.test>\n" + first + "\nC: RCPT TO:<c@d.test>\n" + second + "\n"
	}
	for _, c := range []struct {
		name    string
		scripts []string
		want    string
	}{
		{"452 for the second", []string{greets + "S: 250 x\n" + two("S: 250 ok", "S: 452 4.5.3 too many") + whole + to("c@d.test", good) + leaves}, "delivered 2.6.0 one.test"},
		{"552 for the second", []string{greets + "S: 250 x\n" + two("S: 250 ok", "S: 552 too many") + whole + to("c@d.test", good) + leaves}, "delivered 2.6.0 one.test"},
		{"452 for both", []string{greets + "S: 250 x\n" + two("S: 452 4.5.3 x", "S: 452 4.5.3 x") + leaves}, "deferred 4.5.3 one.test"},
		{"452 again", []string{greets + "S: 250 x\n" + two("S: 250 ok", "S: 452 4.5.3 too many") + whole + to("c@d.test", "S: 452 4.5.3 still") + leaves}, "delivered 2.6.0 one.test, deferred 4.5.3 one.test"},
		{"a full mailbox", []string{greets + "S: 250 x\n" + two("S: 250 ok", "S: 452 4.2.2 full") + whole + leaves}, "delivered 2.6.0 one.test, deferred 4.2.2 one.test"},
		{"RCPTMAX", []string{greets + "S: 250 LIMITS RCPTMAX=1\n" + to("b@d.test", good) + to("c@d.test", good) + leaves}, "delivered 2.6.0 one.test"},
		{"RCPTMAX and MAILMAX", []string{greets + "S: 250 LIMITS RCPTMAX=1 MAILMAX=1\n" + to("b@d.test", good) + leaves, greets + "S: 250 LIMITS RCPTMAX=1 MAILMAX=1\n" + to("c@d.test", good) + leaves}, "delivered 2.6.0 one.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &network{to: map[string]*dialog.Server{"192.0.2.1:25": dialog.Serve(t, c.scripts...)}}
			d := newDeliverer(t, Options{Resolver: twoMX, Dial: n.Dial})
			if got := text(d.attempt(t.Context(), job("x\r\n", "b@d.test", "c@d.test"))); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestUnreachable: the destination as a whole is no use, or only this message has
// no luck.
func TestUnreachable(t *testing.T) {
	refuses := "S: 554 5.7.1 no"
	for _, c := range []struct {
		name     string
		zone     zone
		one, two string // scripts; "": nobody there
		want     bool
	}{
		{"nobody there", twoMX, "", "", true},
		{"both refuse the session", twoMX, refuses, refuses, true},
		{"421 at MAIL", twoMX, greets + "S: 250 x\nC: MAIL FROM:<a@example.test>\nS: 421 busy", "", true},
		{"MAIL 450", twoMX, greets + "S: 250 x\nC: MAIL FROM:<a@example.test>\nS: 450 4.7.1 you\n" + leaves, "", false},
		{"RCPT 450", twoMX, greets + "S: 250 x\n" + to("b@d.test", "S: 450 4.2.1 later") + leaves, "", false},
		{"no word after the dot", twoMX, greets + "S: 250 x\n" + to("b@d.test", "S: 250 ok\nC: DATA\nS: 354 go\nC: x\nC: .\nDROP"), "", false},
		{"no MX for now", zone{}, "", "", true},
		{"no such domain", zone{"MX d.test": nxdomain}, "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &network{to: map[string]*dialog.Server{}}
			for address, script := range map[string]string{"192.0.2.1:25": c.one, "192.0.2.2:25": c.two} {
				if script != "" {
					n.to[address] = dialog.Serve(t, script)
				}
			}
			d := newDeliverer(t, Options{Resolver: c.zone, Dial: n.Dial})
			if got := d.attempt(t.Context(), job("x\r\n", "b@d.test")); got[0].Unreachable != c.want {
				t.Errorf("%s: unreachable %v", text(got), got[0].Unreachable)
			}
		})
	}
}

// What a message demands is no fault of the destination: others may pass.
func TestRequireTLSIsNotUnreachable(t *testing.T) {
	for _, script := range []string{greets + "S: 250 x\n" + leaves, offersTLS + "S: 220 go\nBYTE\nDROP"} {
		n := &network{to: map[string]*dialog.Server{"192.0.2.1:25": dialog.Serve(t, script)}}
		d := newDeliverer(t, Options{Resolver: twoMX, Dial: n.Dial, Route: func(string) Route { return Route{Hosts: []string{"one.test:25"}, TLS: TLSEncrypt} }})
		j := job("x\r\n", "b@d.test")
		j.Envelope.RequireTLS = true
		if got := d.attempt(t.Context(), j); got[0].Unreachable || got[0].Result == queue.Delivered {
			t.Errorf("%+v", got)
		}
	}
}

// When we stop, no destination is to blame.
func TestStopIsNotUnreachable(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := newDeliverer(t, Options{Resolver: twoMX, Dial: func(context.Context, string, string) (net.Conn, error) {
		cancel()
		return nil, errors.New("stopped")
	}})
	if got := d.attempt(ctx, job("x\r\n", "b@d.test")); got[0].Unreachable || got[0].Result != queue.Deferred {
		t.Errorf("%+v", got)
	}
}

// TestReports: what the sender asks for goes on to a host with DSN; one without
// makes us the last who can tell.
func TestReports(t *testing.T) {
	for _, c := range []struct {
		name, script string
		notify       queue.Notify
		relayed      bool
	}{
		{"DSN", greets + "S: 250 DSN\nC: MAIL FROM:<a@example.test> RET=HDRS ENVID=e1\nS: 250 ok\nC: RCPT TO:<b@d.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@d.test\n" + good + leaves,
			queue.NotifySuccess | queue.NotifyFailure, false},
		{"never", greets + "S: 250 DSN\nC: MAIL FROM:<a@example.test> RET=HDRS ENVID=e1\nS: 250 ok\nC: RCPT TO:<b@d.test> NOTIFY=NEVER ORCPT=rfc822;b@d.test\n" + good + leaves,
			queue.NotifyNever | queue.NotifyDelay, false},
		{"no DSN", greets + "S: 250 x\n" + to("b@d.test", good) + leaves, queue.NotifySuccess | queue.NotifyDelay, true},
		{"no DSN, nothing asked", greets + "S: 250 x\n" + to("b@d.test", good) + leaves, queue.NotifyFailure, false},
		{"no DSN, refused", greets + "S: 250 x\n" + to("b@d.test", "S: 550 5.1.1 no") + leaves, queue.NotifySuccess, false},
	} {
		n := &network{to: map[string]*dialog.Server{"192.0.2.1:25": dialog.Serve(t, c.script)}}
		d := newDeliverer(t, Options{Resolver: twoMX, Dial: n.Dial})
		j := job("x\r\n", "b@d.test")
		j.Envelope.EnvelopeID, j.Envelope.Return = "e1", queue.ReturnHeaders
		j.Recipients[0].Notify, j.Recipients[0].Original = c.notify, "rfc822;b@d.test"
		if got := d.attempt(t.Context(), j); got[0].Relayed != c.relayed {
			t.Errorf("%s: %+v", c.name, got[0])
		}
	}
}

// LMTP over TCP and a Unix socket, the first of which is down.
func TestLMTP(t *testing.T) {
	script := `
		S: 220 store
		C: LHLO mx.example.test
		S: 250 store
		C: MAIL FROM:<a@example.test>
		S: 250 ok
		C: RCPT TO:<b@d.test>
		S: 250 ok
		C: RCPT TO:<c@d.test>
		S: 250 ok
		C: DATA
		S: 354 go
		C: x
		C: .
		S: 250 2.1.5 b has it
		S: 452 4.2.2 c is full
	` + leaves
	path := filepath.Join(t.TempDir(), "lmtp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	played := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = dialog.Play(conn, nil, script)
		}
		played <- err
	}()
	for _, hosts := range [][]string{{"unix:/nowhere/lmtp", "unix:" + path}, {dialog.Serve(t, script).Addr().String()}} {
		d := newDeliverer(t, Options{Resolver: zone{}, Route: func(string) Route { return Route{LMTP: true, Hosts: hosts} }})
		host := hosts[len(hosts)-1]
		if host, _, _ = strings.Cut(host, ":"); host != "unix" {
			host = "[127.0.0.1]"
		} else {
			host = "unix:" + path
		}
		want := "delivered 2.1.5 " + host + ", deferred 4.2.2 " + host
		j := job("x\r\n", "b@d.test", "c@d.test")
		j.Envelope.RequireTLS = strings.HasPrefix(host, "unix") // it stays on this host
		if got := text(d.attempt(t.Context(), j)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if err := <-played; err != nil {
		t.Error(err)
	}
}

// TestHops: next hops that are a mistake defer, whatever stands in them.
func TestHops(t *testing.T) {
	for _, c := range []struct {
		name, want string
		route      Route
	}{
		{"LMTP on port 25", "deferred 4.3.5", Route{LMTP: true, Hosts: []string{"127.0.0.1:25"}}},
		{"ourselves", "deferred 4.4.6", Route{Hosts: []string{"198.51.100.25:2525"}}},
		{"ourselves by another writing", "deferred 4.4.6", Route{Hosts: []string{"[::ffff:198.51.100.25]:2525"}}},
		{"our host, another server", "deferred 4.4.1", Route{Hosts: []string{"198.51.100.25:24"}}},
		{"a login at a socket", "deferred 4.3.5", Route{Hosts: []string{"unix:/run/x"}, Auth: Auth{User: "a", Password: "b"}}},
		{"TLS at a socket", "deferred 4.3.5", Route{Hosts: []string{"unix:/run/x"}, ImplicitTLS: true}},
	} {
		d := newDeliverer(t, Options{Resolver: zone{}, OwnPorts: []netip.AddrPort{netip.MustParseAddrPort("198.51.100.25:2525")}, Dial: (&network{}).Dial,
			Route: func(string) Route { return c.route }})
		if got := d.attempt(t.Context(), job("x\r\n", "b@d.test")); text(got) != c.want || strings.Contains(fmt.Sprintf("%v %+v %#v", c.route, c.route, c.route), "Password:b") {
			t.Errorf("%s: %s, %q", c.name, text(got), got[0].Reply)
		}
	}
}

// Our name and our address are those that were configured.
func TestHelloAndSource(t *testing.T) {
	for _, c := range []struct{ hello, route, want string }{{"", "", "mx.example.test"}, {"out.example.test", "", "out.example.test"}, {"out.example.test", "in.example.test", "in.example.test"}} {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		peer := make(chan string, 1)
		played := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				played <- err
				return
			}
			peer <- conn.RemoteAddr().(*net.TCPAddr).IP.String()
			played <- dialog.Play(conn, nil, strings.Replace(greets, "mx.example.test", c.want, 1)+"S: 250 x\n"+to("b@d.test", good)+leaves)
		}()
		o := Options{Resolver: zone{}, Source4: netip.MustParseAddr("127.0.0.2"), Source6: netip.MustParseAddr("2001:db8::2"), Route: func(string) Route {
			r := Route{Hosts: []string{l.Addr().String()}}
			if c.route != "" {
				r.Hello = dnsname.MustParse(c.route)
			}
			return r
		}}
		if c.hello != "" {
			o.Hello = dnsname.MustParse(c.hello)
		}
		if got := text(newDeliverer(t, o).attempt(t.Context(), job("x\r\n", "b@d.test"))); got != "delivered 2.6.0 [127.0.0.1]" {
			t.Error(got)
		}
		if from, err := <-peer, <-played; from != "127.0.0.2" || err != nil {
			t.Errorf("from %s, %v", from, err)
		}
		l.Close()
	}
	if _, err := New(Options{Hostname: dnsname.MustParse("a.test"), Resolver: zone{}, Source4: netip.MustParseAddr("::1")}); err == nil {
		t.Error("an IPv6 address as Source4")
	}
}

// TestHelloOfFamilies: each family may have its own name, a route's comes first, and a
// socket of this host has none of them.
func TestHelloOfFamilies(t *testing.T) {
	name := dnsname.MustParse
	for _, c := range []struct {
		host             string
		v4, v6, of, want string
	}{
		{"192.0.2.1:25", "", "", "", "out.example.test"},
		{"192.0.2.1:25", "four.example.test", "six.example.test", "", "four.example.test"},
		{"[2001:db8::1]:25", "four.example.test", "six.example.test", "", "six.example.test"},
		{"[2001:db8::1]:25", "four.example.test", "", "", "out.example.test"},
		{"[2001:db8::1]:25", "four.example.test", "six.example.test", "route.example.test", "route.example.test"},
		{"unix:/run/lmtp", "four.example.test", "six.example.test", "", "out.example.test"},
	} {
		var said string
		var serving sync.WaitGroup
		o := Options{Resolver: zone{}, Hello: name("out.example.test"), Dial: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			serving.Go(func() {
				defer there.Close()
				fmt.Fprint(there, "220 x\r\n")
				line, _ := bufio.NewReader(there).ReadString('\n')
				said = strings.TrimSpace(line)
			})
			return here, nil
		}}
		r := Route{Hosts: []string{c.host}}
		for text, to := range map[*dnsname.Name]string{&o.Hello4: c.v4, &o.Hello6: c.v6, &r.Hello: c.of} {
			if to != "" {
				*text = name(to)
			}
		}
		o.Route = func(string) Route { return r }
		newDeliverer(t, o).attempt(t.Context(), job("x\r\n", "b@d.test"))
		serving.Wait()
		if said != "EHLO "+c.want && said != "LHLO "+c.want {
			t.Errorf("%+v: %q", c, said)
		}
	}
}
