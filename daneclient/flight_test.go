package daneclient_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// slow is a resolver that takes its time: names below dead.test and dead.co.uk
// are never answered, all others after delay.
type slow struct {
	delay  time.Duration
	answer dnssec.Answer

	asked, inside, worst atomic.Int64
}

func (s *slow) Lookup(ctx context.Context, name dnsname.Name, _ dnssec.Type) dnssec.Answer {
	s.asked.Add(1)
	s.worst.Store(max(s.worst.Load(), s.inside.Add(1)))
	defer s.inside.Add(-1)
	var answered <-chan time.Time
	if !strings.HasSuffix(name.String(), ".dead.test") && !strings.HasSuffix(name.String(), ".dead.co.uk") {
		answered = time.After(s.delay)
	}
	select {
	case <-answered:
		return s.answer
	case <-ctx.Done():
		return dnssec.Answer{Reason: "no answer in time"}
	}
}

// peers makes one credential per peer address and name.
func peers(t *testing.T, n int, name func(int) string, addr func(int) string) []daneclient.Credential {
	t.Helper()
	key := lab.NewKey()
	creds := make([]daneclient.Credential, n)
	for i := range creds {
		creds[i] = credential(lab.SelfSigned(lab.LeafOptions{Names: []string{name(i)}, Key: key}).Chain...)
		creds[i].Peer = netip.MustParseAddr(addr(i))
	}
	return creds
}

func everyPeer(i int) string { return fmt.Sprintf("192.0.2.%d", i) }

// all judges the credentials at once and returns their errors.
func all(ctx context.Context, v *daneclient.Verifier, creds []daneclient.Credential) []error {
	errs := make([]error, len(creds))
	var wg sync.WaitGroup
	for i, cred := range creds {
		wg.Go(func() { _, errs[i] = v.Client(ctx, cred, anyName) })
	}
	wg.Wait()
	return errs
}

// 200 clients of a zone that is dead wait for it; nobody else waits for them.
func TestDeadZoneStopsNobodyElse(t *testing.T) {
	dead := peers(t, 200, func(i int) string { return fmt.Sprintf("mx%d.dead.test", i) }, everyPeer)
	live := peers(t, 20, func(i int) string { return fmt.Sprintf("mx%d.live.test", i) }, everyPeer)
	synctest.Test(t, func(t *testing.T) {
		dns := &slow{answer: secure(publish(t, 3, 1, 1, live[0].Chain[0]))}
		v := verifier(t, daneclient.Options{Resolver: dns})
		start := time.Now()
		deadErrs := make(chan []error, 1)
		go func() { deadErrs <- all(t.Context(), v, dead) }()
		synctest.Wait()
		if n := dns.inside.Load(); n != daneclient.DefaultPerZone {
			t.Errorf("%d lookups in the dead zone, want %d", n, daneclient.DefaultPerZone)
		}
		for _, err := range all(t.Context(), v, live) {
			if err != nil {
				t.Errorf("live zone: %v", err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the live zone was answered after %v", took)
		}
		for _, err := range <-deadErrs {
			var e *daneclient.Error
			if !errors.As(err, &e) || !e.Temporary() || e.Reason != daneclient.FailedDNS && e.Reason != daneclient.Overloaded {
				t.Errorf("dead zone: %v", err)
			}
		}
		if took := time.Since(start); took != daneclient.DefaultTimeout {
			t.Errorf("the dead zone took %v, want %v", took, daneclient.DefaultTimeout)
		}
	})
}

// Strangers who register below the same suffix share nothing but that: the
// zone of one, slow on purpose, must not stop the other's.
func TestZonesBelowAPublicSuffix(t *testing.T) {
	dead := peers(t, 8, func(i int) string { return fmt.Sprintf("mx%d.dead.co.uk", i) }, everyPeer)
	live := peers(t, 4, func(i int) string { return fmt.Sprintf("mx%d.live.co.uk", i) }, everyPeer)
	synctest.Test(t, func(t *testing.T) {
		dns := &slow{answer: secure(publish(t, 3, 1, 1, live[0].Chain[0]))}
		v := verifier(t, daneclient.Options{Resolver: dns, PerZone: 8})
		gone := make(chan []error, 1)
		go func() { gone <- all(t.Context(), v, dead) }()
		synctest.Wait()
		start := time.Now()
		for _, err := range all(t.Context(), v, live) {
			if took := time.Since(start); err != nil || took != 0 {
				t.Errorf("%v after %v", err, took)
			}
		}
		<-gone
	})
}

// A thousand peers, each with an address of its own, wait for a zone that is
// dead, beside the bounds that the program sets: all the others are let in.
func TestPeersOfADeadZoneStopNobodyElse(t *testing.T) {
	dead := peers(t, 1000, func(i int) string { return fmt.Sprintf("mx%d.dead.test", i) }, func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i) })
	live := peers(t, 20, func(i int) string { return fmt.Sprintf("mx%d.live.test", i) }, everyPeer)
	synctest.Test(t, func(t *testing.T) {
		dns := &slow{answer: secure(publish(t, 3, 1, 1, live[0].Chain[0]))}
		v := verifier(t, daneclient.Options{Resolver: dns, MaxLookups: 64, PerPeer: 4, PerZone: 8})
		gone := make(chan []error, 1)
		go func() { gone <- all(t.Context(), v, dead) }()
		synctest.Wait()
		for _, err := range all(t.Context(), v, live) {
			if err != nil {
				t.Errorf("live zone: %v", err)
			}
		}
		<-gone
	})
}

// The bounds of one peer, of one zone and of all: who is beyond them waits, and
// gets his answer when there is a place.
func TestGates(t *testing.T) {
	ownZone := func(i int) string { return fmt.Sprintf("mx.zone%d.test", i) }
	tests := []struct {
		name string
		opts daneclient.Options
		zone func(int) string
		addr func(int) string
		want int64
	}{
		{"one peer", daneclient.Options{PerPeer: 3}, ownZone, func(int) string { return "192.0.2.1" }, 3},
		{"one IPv6 network", daneclient.Options{PerPeer: 3}, ownZone, func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) }, 3},
		{"IPv4 in IPv6", daneclient.Options{PerPeer: 3}, ownZone, func(i int) string { return []string{"192.0.2.1", "::ffff:192.0.2.1"}[i%2] }, 3},
		{"several IPv6 networks", daneclient.Options{PerPeer: 3}, ownZone, func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i) }, 12},
		{"one zone", daneclient.Options{PerZone: 4}, func(i int) string { return fmt.Sprintf("mx%d.zone.test", i) }, everyPeer, 4},
		{"all", daneclient.Options{MaxLookups: 5}, ownZone, everyPeer, 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			creds := peers(t, 12, test.zone, test.addr)
			synctest.Test(t, func(t *testing.T) {
				dns := &slow{delay: time.Second, answer: secure(publish(t, 3, 1, 1, creds[0].Chain[0]))}
				test.opts.Resolver = dns
				for i, err := range all(t.Context(), verifier(t, test.opts), creds) {
					if err != nil {
						t.Errorf("peer %d: %v", i, err)
					}
				}
				if dns.worst.Load() != test.want {
					t.Errorf("%d lookups at once, want %d", dns.worst.Load(), test.want)
				}
			})
		})
	}
}

// Who finds no place in time is refused for now, and not remembered.
func TestOverloaded(t *testing.T) {
	creds := peers(t, 2, func(i int) string { return fmt.Sprintf("mx%d.dead.test", i) }, everyPeer)
	synctest.Test(t, func(t *testing.T) {
		dns := &slow{}
		v := verifier(t, daneclient.Options{Resolver: dns, PerZone: 1, Timeout: time.Minute})
		first := make(chan error, 1)
		go func() { _, err := v.Client(t.Context(), creds[0], anyName); first <- err }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := v.Client(ctx, creds[1], anyName)
		var e *daneclient.Error
		if !errors.As(err, &e) || e.Reason != daneclient.Overloaded || !e.Temporary() || e.Name.String() != "_smtp-client.mx1.dead.test" {
			t.Errorf("beyond the bound: %v", err)
		}
		if err := <-first; reasonOf(t, err) != daneclient.FailedDNS {
			t.Errorf("inside: %v", err)
		}
		if dns.asked.Load() != 1 {
			t.Errorf("%d lookups, want 1", dns.asked.Load())
		}
	})
}

// Equal claims at the same time make one lookup.
func TestEqualClaimsAreJudgedOnce(t *testing.T) {
	cred := selfSigned(device)
	synctest.Test(t, func(t *testing.T) {
		dns := &slow{delay: time.Second, answer: secure(publish(t, 3, 1, 1, cred.Chain[0]))}
		creds := make([]daneclient.Credential, 50)
		for i := range creds {
			creds[i] = cred
			creds[i].Peer = netip.MustParseAddr(everyPeer(i))
		}
		for _, err := range all(t.Context(), verifier(t, daneclient.Options{Resolver: dns}), creds) {
			if err != nil {
				t.Error(err)
			}
		}
		if dns.asked.Load() != 1 {
			t.Errorf("%d lookups, want 1", dns.asked.Load())
		}
	})
}

// The caller who does the work may go away: the others get their verdict.
func TestLeaderGoesAway(t *testing.T) {
	cred := selfSigned(device)
	synctest.Test(t, func(t *testing.T) {
		dns := &slow{delay: time.Second, answer: secure(publish(t, 3, 1, 1, cred.Chain[0]))}
		v := verifier(t, daneclient.Options{Resolver: dns})
		ctx, cancel := context.WithCancel(t.Context())
		leader, others := make(chan error, 1), make(chan []error, 1)
		go func() { _, err := v.Client(ctx, cred, anyName); leader <- err }()
		synctest.Wait()
		go func() { others <- all(t.Context(), v, []daneclient.Credential{cred, cred, cred}) }()
		synctest.Wait()
		cancel()
		err := <-leader
		if reasonOf(t, err) != daneclient.FailedDNS || !errors.Is(err, context.Canceled) {
			t.Errorf("leader: %v", err)
		}
		for _, err := range <-others {
			if err != nil {
				t.Errorf("follower: %v", err)
			}
		}
		if dns.asked.Load() != 2 {
			t.Errorf("%d lookups, want 2: the leader's and one after it", dns.asked.Load())
		}
	})
}

// A leader who is refused for the crowd at his own address is refused alone.
func TestLeaderFindsNoPlace(t *testing.T) {
	busy := selfSigned("mx.dead.test")
	cred := selfSigned(device)
	elsewhere := cred
	elsewhere.Peer = netip.MustParseAddr("198.51.100.1")
	synctest.Test(t, func(t *testing.T) {
		dns := &slow{answer: secure(publish(t, 3, 1, 1, cred.Chain[0]))}
		v := verifier(t, daneclient.Options{Resolver: dns, PerPeer: 1, Timeout: time.Minute})
		results := make(chan []error, 1)
		go func() { results <- all(t.Context(), v, []daneclient.Credential{busy}) }()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		leader, follower := make(chan error, 1), make(chan error, 1)
		go func() { _, err := v.Client(short, cred, anyName); leader <- err }()
		synctest.Wait()
		go func() { _, err := v.Client(t.Context(), elsewhere, anyName); follower <- err }()
		if err := <-leader; reasonOf(t, err) != daneclient.Overloaded {
			t.Errorf("leader: %v", err)
		}
		if err := <-follower; err != nil {
			t.Errorf("follower: %v", err)
		}
		<-results
	})
}

// A follower may go away, too, and holds up nobody.
func TestFollowerGoesAway(t *testing.T) {
	cred := selfSigned(device)
	synctest.Test(t, func(t *testing.T) {
		dns := &slow{delay: time.Second, answer: secure(publish(t, 3, 1, 1, cred.Chain[0]))}
		v := verifier(t, daneclient.Options{Resolver: dns})
		leader := make(chan error, 1)
		go func() { _, err := v.Client(t.Context(), cred, anyName); leader <- err }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := v.Client(ctx, cred, anyName)
		if reasonOf(t, err) != daneclient.FailedDNS || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Millisecond {
			t.Errorf("follower: %v after %v", err, time.Since(start))
		}
		if err := <-leader; err != nil {
			t.Errorf("leader: %v", err)
		}
	})
}

// Silence is one lookup for all who ask the same, and ends with the timeout.
func TestSilence(t *testing.T) {
	cred := selfSigned("mx.dead.test")
	synctest.Test(t, func(t *testing.T) {
		dns := &slow{}
		v := verifier(t, daneclient.Options{Resolver: dns, Timeout: 3 * time.Second})
		start := time.Now()
		for _, err := range all(t.Context(), v, []daneclient.Credential{cred, cred, cred}) {
			if reasonOf(t, err) != daneclient.FailedDNS || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		}
		if took := time.Since(start); took != 3*time.Second || dns.asked.Load() > 3 {
			t.Errorf("%d lookups, %v", dns.asked.Load(), took)
		}
	})
}
