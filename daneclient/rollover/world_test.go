package rollover_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/daneclient/rollover"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

const (
	typeTLSA = 52
	ttl      = 15 * time.Minute
	tick     = 5 * time.Minute
	// lag of the second server behind the first, longer than two TTLs.
	lag = 40 * time.Minute
)

var owner = dnsname.MustParse("sensor7._device.z.test")

// world is a signed zone on two servers, of which the second lags behind, a
// clock, and servers that clients log in to.
type world struct {
	*lab.World
	t             *testing.T
	z             *lab.Zone
	first, second *lab.DNSServer
	now           time.Time
	changed       time.Time // of the zone; zero once the second server knows
	published     []tlsa.Record

	dir    string
	relays []*daneclient.Verifier // each remembers what it has proved
	held   *tls.Certificate       // of a program that reads its files once an hour
	read   time.Time              // when it did
	logins int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), dir: filepath.Join(t.TempDir(), "key")}
	w.World = lab.NewWorld(w.now)
	w.AddZone("test.", lab.ZoneOptions{})
	w.z = w.AddZone("z.test.", lab.ZoneOptions{TTL: uint32(ttl / time.Second), NSEC3: &lab.NSEC3Options{}})
	w.z.Add("@ NS ns2", "ns2 A 127.0.0.2")
	w.first, w.second = start(t, w.World), start(t, w.Copy())
	for _, s := range []*lab.DNSServer{w.first, w.second} {
		v, err := daneclient.New(daneclient.Options{Resolver: w.resolver(s), Now: w.clock})
		if err != nil {
			t.Fatal(err)
		}
		w.relays = append(w.relays, v)
	}
	return w
}

func start(t *testing.T, w *lab.World) *lab.DNSServer {
	t.Helper()
	s, err := w.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (w *world) clock() time.Time { return w.now }

func (w *world) resolver(upstream *lab.DNSServer) *dnssec.Resolver {
	anchors, err := dnssec.ParseAnchors(w.Anchor())
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := dnssec.New(dnssec.Options{Upstreams: []string{upstream.Addr()}, Anchors: anchors, Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { r.Close() })
	return r
}

// look is a new process each time: nothing is remembered but the folder.
func (w *world) look(ctx context.Context, owner dnsname.Name) (rollover.Look, error) {
	r := w.resolver(w.first)
	s, err := r.Survey(ctx, owner, dnssec.SurveyOptions{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		at := map[string]string{"127.0.0.1:53": w.first.Addr(), "127.0.0.2:53": w.second.Addr()}[address]
		return new(net.Dialer).DialContext(ctx, network, at)
	}})
	l := rollover.Look{Zone: s.Zone, Walkable: s.Walkable}
	for _, a := range s.Servers {
		sight := rollover.ServerSight{Server: a.String(), TTL: a.TTL, Fault: a.Reason}
		for _, r := range a.TLSA {
			sight.Records = append(sight.Records, tlsa.Record(r))
		}
		l.Servers = append(l.Servers, sight)
	}
	return l, err
}

// Add and Remove change the zone at the first server.

func (w *world) Add(_ context.Context, r tlsa.Record, _ time.Duration) error {
	if !slices.ContainsFunc(w.published, same(r)) {
		w.publish(append(w.published, r))
	}
	return nil
}

func (w *world) Remove(_ context.Context, r tlsa.Record) error {
	if slices.ContainsFunc(w.published, same(r)) {
		w.publish(slices.DeleteFunc(w.published, same(r)))
	}
	return nil
}

func same(r tlsa.Record) func(tlsa.Record) bool {
	return func(o tlsa.Record) bool { return o.String() == r.String() }
}

func (w *world) publish(records []tlsa.Record) {
	w.published = records
	w.z.Remove("sensor7._device", typeTLSA)
	for _, r := range records {
		w.z.Add("sensor7._device TLSA " + r.String())
	}
	w.changed = w.now
}

// pass lets time go by; the second server learns of a change after a while.
func (w *world) pass() {
	w.now = w.now.Add(tick)
	if !w.changed.IsZero() && w.now.Sub(w.changed) >= lag {
		w.second.Transfer(w.World)
		w.changed = time.Time{}
	}
}

// login tries every relay, by the pair in the folder and by the one that a
// program has held for up to an hour.
func (w *world) login(when string) {
	w.t.Helper()
	pair, err := tls.LoadX509KeyPair(rollover.Certificate(w.dir), rollover.KeyFile(w.dir))
	if err != nil {
		w.t.Fatalf("%s, %s: %v", w.now.Format(time.TimeOnly), when, err)
	}
	if w.held == nil || w.now.Sub(w.read) >= time.Hour {
		w.held, w.read = &pair, w.now
	}
	for i, v := range w.relays {
		for _, p := range []*tls.Certificate{&pair, w.held} {
			leaf, err := x509.ParseCertificate(p.Certificate[0])
			if err != nil {
				w.t.Fatal(err)
			}
			cred := daneclient.Credential{Chain: []*x509.Certificate{leaf}, Version: tls.VersionTLS13, Peer: netip.MustParseAddr("192.0.2.7")}
			c, err := v.Client(w.t.Context(), cred, func(n dnsname.Name) bool { return n == owner })
			if err != nil || c.Name != owner {
				w.t.Errorf("%s, %s, relay %d: %v", w.now.Format(time.TimeOnly), when, i+1, err)
			}
			w.logins++
		}
	}
}

// killed is what the hook panics with.
type killed struct{}

// roll is one run of a program that is killed before the change that kill
// picks.
func (w *world) roll(kill func(step string) bool) (r rollover.Report, ended bool) {
	defer func() {
		if p := recover(); p != nil && p != any(killed{}) {
			panic(p)
		}
	}()
	r, err := rollover.Roll(w.t.Context(), rollover.Options{
		Dir: w.dir, Look: w.look, Now: w.clock,
		Publisher: func(string, dnsname.Name) (rollover.Publisher, error) { return w, nil },
		Step: func(step string) {
			if kill(step) {
				panic(killed{})
			}
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r, true
}

// TestRollover rolls a key while a device logs in before, during and after each
// step, at a relay whose resolver asks the first server and at one that asks
// the second, which lags behind. In every phase the program is killed once
// before each kind of change. No login fails.
func TestRollover(t *testing.T) {
	w := newWorld(t)
	created, err := rollover.Create(rollover.Options{Dir: w.dir, Now: w.clock}, owner)
	if err != nil {
		t.Fatal(err)
	}
	w.Add(t.Context(), created.Current.Record(), ttl)
	w.second.Transfer(w.World)
	w.changed = time.Time{}
	w.login("at first")

	cut := map[string]bool{}
	times := map[rollover.Do]time.Time{}
	state := created
	var everywhere time.Time // since when the second server had the next record
	for times[rollover.Finish].IsZero() {
		if w.now.Sub(created.Current.Made) > 24*time.Hour {
			t.Fatalf("no end after a day: %+v", state)
		}
		before := w.changed
		w.pass()
		if w.changed != before && state.Phase == rollover.Published {
			everywhere = w.now
		}
		w.login("before a step")
		r, ended := w.roll(func(step string) bool {
			w.login("at " + step)
			point := string(state.Phase) + ": " + step
			kill := !cut[point]
			cut[point] = true
			return kill
		})
		w.login("after a step")
		if !ended {
			continue
		}
		state = r.State
		for _, d := range r.Did {
			times[d] = w.now
		}
	}
	for range 30 { // two hours and more
		w.pass()
		w.login("afterwards")
	}
	if state.Phase != rollover.Steady || state.Current.SPKI == created.Current.SPKI || len(w.published) != 1 {
		t.Errorf("at the end %+v, %v", state, w.published)
	}
	if everywhere.IsZero() || !times[rollover.Switch].After(everywhere.Add(2*ttl)) {
		t.Errorf("switched at %v; all servers showed the record since %v", times[rollover.Switch], everywhere)
	}
	if !times[rollover.Withdraw].After(times[rollover.Switch].Add(2*ttl + time.Hour)) {
		t.Errorf("withdrawn at %v, switched at %v", times[rollover.Withdraw], times[rollover.Switch])
	}
	if len(cut) < 20 || w.logins < 200 {
		t.Errorf("killed at %d points, %d logins", len(cut), w.logins)
	}
}
