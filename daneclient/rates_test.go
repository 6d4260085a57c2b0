package daneclient_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

func perMinute(n int) daneclient.Rate { return daneclient.Rate{N: n, Per: time.Minute} }

// crowded makes a verifier for floods: every name has the records of cert.
func crowded(t *testing.T, o daneclient.Options, cert *x509.Certificate) (*daneclient.Verifier, *slow) {
	t.Helper()
	dns := &slow{answer: secure(publish(t, 3, 1, 1, cert))}
	o.Resolver = dns
	return verifier(t, o), dns
}

// outcome counts who was proved; whoever was not must have been told to come again.
func outcome(t *testing.T, errs []error) (proved int) {
	t.Helper()
	for _, err := range errs {
		if err == nil {
			proved++
			continue
		}
		if e, ok := err.(*daneclient.Error); !ok || e.Reason != daneclient.Overloaded || !e.Temporary() {
			t.Errorf("over a rate: %v", err)
		}
	}
	return proved
}

func sameZone(i int) string  { return fmt.Sprintf("mx%d.zone.test", i) }
func freshZone(i int) string { return fmt.Sprintf("mx.zone%d.test", i) }
func samePeer(int) string    { return "192.0.2.1" }
func freshPeer(i int) string { return fmt.Sprintf("2001:db8:%x::1", i) }

// withOther makes n peers, and one from elsewhere.
func withOther(t *testing.T, n int, name, addr func(int) string) (many, other []daneclient.Credential) {
	t.Helper()
	creds := peers(t, n+1, func(i int) string {
		if i == n {
			return "mx.other.test"
		}
		return name(i)
	}, addr)
	creds[n].Peer = netip.MustParseAddr("198.51.100.1")
	return creds[:n], creds[n:]
}

// Floods of fresh names: of one peer, of one zone, of many peers and zones. Each
// ends at its own rate (a quarter of which is not for strangers), nobody outside
// of it is touched, and what was used comes back.
func TestFloods(t *testing.T) {
	options := daneclient.Options{Rate: perMinute(60), RatePerPeer: perMinute(8), RatePerZone: perMinute(16)}
	tests := []struct {
		name       string
		zone, addr func(int) string
		proved     int
		spared     bool        // another peer in another zone
		later      map[int]int // after so many seconds so many more
		detail     string      // of the refusals
	}{
		{"one peer", freshZone, samePeer, 6, true, map[int]int{7: 0, 15: 2, 60: 6}, "the rate of lookups for this peer, 8 in 1m0s, is used up"},
		{"one IPv6 network", freshZone, func(i int) string { return fmt.Sprintf("2001:db8:ffff::%x", i) }, 6, true, map[int]int{60: 6}, "for this peer"},
		{"neighbours in IPv6", freshZone, func(i int) string { return fmt.Sprintf("2001:db8:ffff:%x::1", i%2) }, 12, true, map[int]int{60: 12}, "for this peer"},
		{"one zone", sameZone, freshPeer, 12, true, map[int]int{3: 0, 8: 2, 60: 12}, "the rate of lookups in zone.test, 16 in 1m0s, is used up"},
		{"many peers and zones", freshZone, freshPeer, 45, false, map[int]int{1: 1, 10: 10, 60: 45}, "the rate of lookups in all, 60 in 1m0s, is used up"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			creds, other := withOther(t, 100, test.zone, test.addr)
			for seconds, more := range test.later {
				synctest.Test(t, func(t *testing.T) {
					v, dns := crowded(t, options, creds[0].Chain[0])
					errs := all(t.Context(), v, creds)
					if proved := outcome(t, errs); proved != test.proved || dns.asked.Load() != int64(proved) {
						t.Errorf("%d proved by %d lookups, want %d", proved, dns.asked.Load(), test.proved)
					}
					if !strings.Contains(fmt.Sprint(errs), test.detail) {
						t.Errorf("no refusal says %q: %v", test.detail, errs)
					}
					if spared := outcome(t, all(t.Context(), v, other)) == 1; spared != test.spared {
						t.Errorf("another peer in another zone: let in: %v, want %v", spared, test.spared)
					}
					time.Sleep(time.Duration(seconds) * time.Second)
					before := dns.asked.Load()
					all(t.Context(), v, creds)
					if got := int(dns.asked.Load() - before); got != more {
						t.Errorf("after %d s: %d lookups, want %d", seconds, got, more)
					}
				})
			}
		})
	}
}

// While strangers use up all that they can, from everywhere and with any names,
// in one's own zone and under one's own name, whoever was proved before is proved
// again when his hour is over.
func TestFloodLocksOutNobodyKnown(t *testing.T) {
	for name, zone := range map[string]func(int) string{
		"any zone":     freshZone,
		"the own zone": func(i int) string { return fmt.Sprintf("x%d.example.test", i) },
		"the own name": func(int) string { return "mx.example.test" },
	} {
		t.Run(name, func(t *testing.T) {
			owner := peers(t, 1, func(int) string { return "mx.example.test" }, samePeer)[0]
			flood := peers(t, 200, zone, freshPeer)
			for i := range flood { // each with a key of its own
				flood[i].Chain = lab.SelfSigned(lab.LeafOptions{Names: flood[i].Chain[0].DNSNames}).Chain
			}
			synctest.Test(t, func(t *testing.T) {
				v, dns := crowded(t, daneclient.Options{Rate: perMinute(60), RatePerPeer: perMinute(8), RatePerZone: perMinute(16)}, owner.Chain[0])
				if _, err := v.Client(t.Context(), owner, anyName); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				for round := range 3 {
					all(t.Context(), v, flood)
					refused := all(t.Context(), v, flood[150:])
					if got := reasonOf(t, refused[len(refused)-1]); got != daneclient.Overloaded && got != daneclient.NoMatch {
						t.Errorf("the flood: %v", refused)
					}
					before := dns.asked.Load()
					if _, err := v.Client(t.Context(), owner, anyName); err != nil || dns.asked.Load() != before+1 {
						t.Errorf("round %d: %v, %d lookups", round, err, dns.asked.Load()-before)
					}
					time.Sleep(time.Hour)
				}
			})
		})
	}
}

// What is in the cache of verdicts costs nothing, however often it is asked for
// and whatever else is used up; nor does a name that no rule allows.
func TestCachedVerdictsAreFree(t *testing.T) {
	creds := peers(t, 2, sameZone, samePeer)
	synctest.Test(t, func(t *testing.T) {
		v, dns := crowded(t, daneclient.Options{Rate: perMinute(1)}, creds[0].Chain[0])
		for range 100 {
			if _, err := v.Client(t.Context(), creds[0], anyName); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := v.Client(t.Context(), creds[1], anyName); reasonOf(t, err) != daneclient.Overloaded {
			t.Errorf("the rate is used up: %v", err)
		}
		if dns.asked.Load() != 1 {
			t.Errorf("%d lookups, want 1", dns.asked.Load())
		}
	})
}

// Fresh random names that no rule allows: no query, and no token of anybody.
func TestRefusedNamesCostNothing(t *testing.T) {
	strangers := peers(t, 100, func(i int) string { return fmt.Sprintf("r%dx%d.random.test", i, i*7919) }, samePeer)
	owner := peers(t, 1, func(int) string { return "mx.example.test" }, samePeer)[0]
	synctest.Test(t, func(t *testing.T) {
		v, dns := crowded(t, daneclient.Options{Rate: perMinute(1)}, owner.Chain[0])
		mine := allow("_smtp-client.mx.example.test")
		for _, cred := range strangers {
			if _, err := v.Client(t.Context(), cred, mine); reasonOf(t, err) != daneclient.NotAllowed {
				t.Error(err)
			}
		}
		if dns.asked.Load() != 0 {
			t.Errorf("%d lookups for names that are refused", dns.asked.Load())
		}
		if _, err := v.Client(t.Context(), owner, mine); err != nil {
			t.Errorf("after them: %v", err)
		}
	})
}

// A fleet behind one address comes back after an outage, its devices ask again
// each half minute: it is slowed to its rate, and all of it gets in.
func TestFleetReturns(t *testing.T) {
	const devices, rate = 200, 60
	fleet := peers(t, devices, func(i int) string { return fmt.Sprintf("d%d.fleet.test", i) }, samePeer)
	synctest.Test(t, func(t *testing.T) {
		v, dns := crowded(t, daneclient.Options{RatePerPeer: perMinute(rate)}, fleet[0].Chain[0])
		waiting, proved := fleet, 0
		for minutes := 0.0; len(waiting) > 0; minutes += 0.5 {
			if minutes > 1+devices/rate {
				t.Fatalf("%d devices are not in after %v minutes", len(waiting), minutes)
			}
			var again []daneclient.Credential
			errs := all(t.Context(), v, waiting)
			proved += outcome(t, errs)
			for i, err := range errs {
				if err != nil {
					again = append(again, waiting[i])
				}
			}
			waiting = again
			if most := rate + int(minutes*rate); proved > most {
				t.Errorf("%d devices after %v minutes, more than %d", proved, minutes, most)
			}
			time.Sleep(30 * time.Second)
		}
		if dns.asked.Load() != devices {
			t.Errorf("%d lookups, want one for each device", dns.asked.Load())
		}
	})
}

// 200 clients of a zone that never answers come again seconds after each
// refusal. For minutes, new clients of other zones log in within a second.
func TestDeadZoneForMinutes(t *testing.T) {
	for name, o := range map[string]daneclient.Options{
		"as it comes":             {},
		"as the program has it":   {MaxLookups: 64, PerPeer: 4, PerZone: 8},
		"over the rate of a zone": {RatePerZone: perMinute(60)},
		"places for all of them":  {PerZone: 200, RatePerZone: perMinute(100)},
	} {
		t.Run(name, func(t *testing.T) {
			dead := peers(t, 200, func(i int) string { return fmt.Sprintf("mx%d.dead.test", i) }, everyPeer)
			live := peers(t, 90, func(i int) string { return fmt.Sprintf("mx%d.live%d.test", i, i%9) }, func(i int) string { return fmt.Sprintf("198.51.100.%d", i%200) })
			synctest.Test(t, func(t *testing.T) {
				v, dns := crowded(t, o, live[0].Chain[0])
				ctx, stop := context.WithCancel(t.Context())
				var crowd sync.WaitGroup
				for _, cred := range dead {
					crowd.Go(func() {
						for ctx.Err() == nil {
							if _, err := v.Client(ctx, cred, anyName); err == nil || !err.(*daneclient.Error).Temporary() {
								t.Errorf("dead zone: %v", err)
							}
							time.Sleep(7 * time.Second)
						}
					})
				}
				for len(live) > 0 { // 30 each minute
					time.Sleep(59 * time.Second)
					start := time.Now()
					if n := outcome(t, all(ctx, v, live[:30])); n != 30 {
						t.Errorf("%d of 30 logged in", n)
					}
					if took := time.Since(start); took > time.Second {
						t.Errorf("the live zones were answered after %v", took)
					}
					time.Sleep(time.Second)
					live = live[30:]
				}
				stop()
				crowd.Wait()
				if rate := o.RatePerZone.N; rate > 0 && int(dns.asked.Load()) > 90+rate*4 {
					t.Errorf("%d lookups in three minutes at a rate of %d", dns.asked.Load(), rate)
				}
			})
		})
	}
}

// remembering is a resolver that answers a name again without asking anybody.
type remembering struct {
	slow
	known sync.Map
}

func (r *remembering) Lookup(ctx context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer {
	a := r.slow.Lookup(ctx, name, t)
	if a.State == dnssec.Secure {
		r.known.Store(name, true)
	}
	return a
}

func (r *remembering) Cached(name dnsname.Name, _ dnssec.Type) (dnssec.Answer, bool) {
	if _, ok := r.known.Load(name); ok {
		return r.answer, true
	}
	return dnssec.Answer{}, false
}

// RRsets that the resolver has are free, and wait for no place.
func TestCachedRecordsAreFree(t *testing.T) {
	strangers := peers(t, 50, func(int) string { return "mx.dead.test" }, samePeer)
	key := strangers[0].Chain[0]
	for i := range strangers[1:] { // one name, many certificates: each is a verdict of its own
		strangers[i+1].Chain = lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.dead.test"}}).Chain
	}
	cold := peers(t, 2, func(i int) string { return fmt.Sprintf("mx%d.dead.test", i) }, samePeer)
	synctest.Test(t, func(t *testing.T) {
		dns := &remembering{slow: slow{answer: secure(publish(t, 3, 1, 1, key))}}
		dns.known.Store(dnsname.MustParse("_smtp-client.mx.dead.test"), true)
		v := verifier(t, daneclient.Options{Resolver: dns, PerZone: 1, Rate: perMinute(1)})
		stuck := make(chan []error, 1)
		go func() { stuck <- all(t.Context(), v, cold[:1]) }()
		synctest.Wait()
		start := time.Now()
		for i, err := range all(t.Context(), v, strangers) {
			if want := map[bool]daneclient.Reason{true: 0, false: daneclient.NoMatch}[i == 0]; reasonOf(t, err) != want {
				t.Errorf("certificate %d: %v", i, err)
			}
		}
		if took := time.Since(start); took != 0 || dns.asked.Load() != 1 {
			t.Errorf("answers at hand took %v and %d lookups", took, dns.asked.Load()-1)
		}
		_, err := v.Client(t.Context(), cold[1], anyName)
		if took := time.Since(start); reasonOf(t, err) != daneclient.Overloaded || took != 0 {
			t.Errorf("over a rate, where there is no place either: %v after %v", err, took)
		}
		<-stuck
	})
}

// Many come under one name at once, while nobody knows its records: one asks and
// pays, the others have the answer when there is a place for them.
func TestFirstAnswerServesAllWhoWait(t *testing.T) {
	creds := make([]daneclient.Credential, 10)
	for i := range creds {
		creds[i] = selfSigned(device)
	}
	synctest.Test(t, func(t *testing.T) {
		dns := &remembering{slow: slow{delay: time.Second, answer: secure(publish(t, 3, 1, 1, creds[0].Chain[0]))}}
		v := verifier(t, daneclient.Options{Resolver: dns, PerZone: 1, Rate: perMinute(2)})
		for i, err := range all(t.Context(), v, creds) {
			if want := map[bool]daneclient.Reason{true: 0, false: daneclient.NoMatch}[i == 0]; reasonOf(t, err) != want {
				t.Errorf("certificate %d: %v", i, err)
			}
		}
		other := selfSigned("mx.other.test")
		if _, err := v.Client(t.Context(), other, anyName); dns.asked.Load() != 2 {
			t.Errorf("%d lookups, want one for each name: %v", dns.asked.Load(), err)
		}
	})
}

// Only a lookup that was made is paid for: who gave up waiting for a place used
// up nothing.
func TestWaitingIsFree(t *testing.T) {
	creds := peers(t, 4, func(i int) string { return fmt.Sprintf("mx%d.dead.test", i) }, everyPeer)
	live := peers(t, 2, func(i int) string { return fmt.Sprintf("mx%d.live.test", i) }, everyPeer)
	synctest.Test(t, func(t *testing.T) {
		v, dns := crowded(t, daneclient.Options{PerZone: 1, Rate: perMinute(3), Timeout: 5 * time.Second}, live[0].Chain[0])
		stuck := make(chan []error, 1)
		go func() { stuck <- all(t.Context(), v, creds[:1]) }()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if n := outcome(t, all(short, v, creds[1:])); n != 0 || dns.asked.Load() != 1 {
			t.Errorf("%d lookups, want 1: the others found no place", dns.asked.Load())
		}
		if n := outcome(t, all(t.Context(), v, live)); n != 2 {
			t.Errorf("%d of 2 let in", n)
		}
		<-stuck
	})
}

// Who comes by Match has no address: the rates of zones and of all hold for him.
func TestMatchHasNoPeerRate(t *testing.T) {
	cred := selfSigned(device)
	synctest.Test(t, func(t *testing.T) {
		v, dns := crowded(t, daneclient.Options{RatePerPeer: perMinute(1), RatePerZone: perMinute(3)}, cred.Chain[0])
		for i, want := range []daneclient.Reason{0, 0, 0, daneclient.Overloaded} {
			name := dnsname.MustParse(fmt.Sprintf("x%d._device.example.org", i))
			if _, err := v.Match(t.Context(), name, cred.Chain, anyName); reasonOf(t, err) != want {
				t.Errorf("%s: %v", name, err)
			}
		}
		if dns.asked.Load() != 3 {
			t.Errorf("%d lookups", dns.asked.Load())
		}
	})
}

// A rate that is not above zero lets nobody ask.
func TestRateOfNone(t *testing.T) {
	cred := selfSigned(device)
	for name, o := range map[string]daneclient.Options{
		"in all": {Rate: daneclient.Rate{N: -1, Per: time.Second}}, "per peer": {RatePerPeer: daneclient.Rate{N: 1}}, "per zone": {RatePerZone: daneclient.Rate{Per: 1}},
	} {
		v, dns := crowded(t, o, cred.Chain[0])
		if _, err := v.Client(t.Context(), cred, anyName); reasonOf(t, err) != daneclient.Overloaded || dns.asked.Load() != 0 {
			t.Errorf("%s: %v, %d lookups", name, err, dns.asked.Load())
		}
	}
}

// The log says which rate was used up.
func TestOverRateIsLogged(t *testing.T) {
	creds := peers(t, 2, sameZone, samePeer)
	var log strings.Builder
	v, _ := crowded(t, daneclient.Options{Rate: perMinute(1), Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, creds[0].Chain[0])
	for _, cred := range creds {
		_, _ = v.Client(context.Background(), cred, anyName)
	}
	for _, want := range []string{`msg="dane overload"`, "owner=_smtp-client.mx1.zone.test", "peer=192.0.2.1", `why="the rate of lookups in all, 1 in 1m0s, is used up"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in\n%s", want, log.String())
		}
	}
}

// A flood of more keys than there are places cannot be: the rate of all ends first.
func TestFloodOfKeys(t *testing.T) {
	const rate = 40
	flood, last := withOther(t, 600, freshZone, freshPeer)
	synctest.Test(t, func(t *testing.T) {
		v, dns := crowded(t, daneclient.Options{Rate: daneclient.Rate{N: rate, Per: time.Second}}, flood[0].Chain[0])
		for i := 0; i < len(flood); i += rate {
			if n := outcome(t, all(t.Context(), v, flood[i:i+3*rate/4])); n != 3*rate/4 {
				t.Fatalf("from %d: %d let in", i, n)
			}
			time.Sleep(time.Second)
		}
		if n := outcome(t, all(t.Context(), v, last)); n != 1 {
			t.Errorf("the last one was shut out after %d keys", dns.asked.Load())
		}
	})
}
