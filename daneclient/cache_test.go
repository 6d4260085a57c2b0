package daneclient_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// clock is set by hand.
type clock struct{ now time.Time }

func (c *clock) time() time.Time { return c.now }

// How long a verdict lives: the records, the certificates of the path for
// usage 2, one hour at the most.
func TestUntil(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	ends := func(ca, leaf time.Duration) (*lab.CA, daneclient.Credential) {
		c := lab.NewCA("ca", lab.CAOptions{NotBefore: now.Add(-9 * time.Hour), NotAfter: now.Add(ca)})
		return c, credential(c.Issue(lab.LeafOptions{Names: []string{device}, NotBefore: now.Add(-9 * time.Hour), NotAfter: now.Add(leaf)}).Chain...)
	}
	tests := []struct {
		name                     string
		usage                    uint8
		records, ca, leaf, until time.Duration
	}{
		{"the records end first", 3, 10 * time.Minute, 9 * time.Hour, 9 * time.Hour, 10 * time.Minute},
		{"the hour ends first", 3, 9 * time.Hour, 9 * time.Hour, 9 * time.Hour, time.Hour},
		{"usage 3 has no dates", 3, 9 * time.Hour, -time.Hour, -time.Hour, time.Hour},
		{"usage 2, the records", 2, 10 * time.Minute, 9 * time.Hour, 9 * time.Hour, 10 * time.Minute},
		{"usage 2, the hour", 2, 9 * time.Hour, 9 * time.Hour, 9 * time.Hour, time.Hour},
		{"usage 2, the leaf", 2, 9 * time.Hour, 9 * time.Hour, 5 * time.Minute, 5 * time.Minute},
		{"usage 2, the CA", 2, 9 * time.Hour, 4 * time.Minute, 9 * time.Hour, 4 * time.Minute},
		{"records of no life", 3, 0, 9 * time.Hour, 9 * time.Hour, 0},
	}
	for _, test := range tests {
		ca, cred := ends(test.ca, test.leaf)
		published := cred.Chain[0]
		if test.usage == 2 {
			published = ca.Certificate
		}
		answer := dnssec.Answer{State: dnssec.Secure, TLSA: []dnssec.TLSA{publish(t, test.usage, 0, 1, published)}, Expires: now.Add(test.records)}
		dns := &answers{}
		dns.set(device, answer)
		c := &clock{now}
		v := verifier(t, daneclient.Options{Resolver: dns, Now: c.time})
		got, err := v.Client(t.Context(), cred, anyName)
		if err != nil || !got.Until.Equal(now.Add(test.until)) {
			t.Errorf("%s: until %v (%v), %v", test.name, got.Until, got.Until.Sub(now), err)
			continue
		}
		// Up to the last moment nobody asks again; then somebody does, and the
		// record is gone (it is the only revocation there is).
		dns.set(device, secure())
		if test.until > 0 {
			c.now = got.Until.Add(-time.Second)
			if again, err := v.Client(t.Context(), cred, anyName); err != nil || !again.Until.Equal(got.Until) || dns.count() != 1 {
				t.Errorf("%s: from the cache: %v, %v, %d queries", test.name, again, err, dns.count())
			}
		}
		c.now = got.Until
		if _, err := v.Client(t.Context(), cred, anyName); reasonOf(t, err) != daneclient.NoRecord || dns.count() != 2 {
			t.Errorf("%s: after its end: %v, %d queries", test.name, err, dns.count())
		}
	}
}

// What is refused for good is remembered for a minute, trouble not at all.
func TestRefusalsInTheCache(t *testing.T) {
	cred := selfSigned(device)
	other := publish(t, 3, 1, 1, selfSigned(device).Chain[0])
	answer := func(s dnssec.State, life time.Duration, records ...dnssec.TLSA) dnssec.Answer {
		return dnssec.Answer{State: s, TLSA: records, Expires: time.Now().Add(life)}
	}
	tests := []struct {
		name   string
		answer dnssec.Answer
		life   time.Duration
	}{
		{"no match", answer(dnssec.Secure, time.Hour, other), time.Minute},
		{"no match, records that end sooner", answer(dnssec.Secure, 20*time.Second, other), 20 * time.Second},
		{"no records", answer(dnssec.Secure, time.Hour), time.Minute},
		{"insecure", answer(dnssec.Insecure, time.Hour, other), time.Minute},
		{"bogus", answer(dnssec.Bogus, time.Hour, other), 0},
		{"failed", answer(dnssec.Failed, time.Hour, other), 0},
	}
	for _, test := range tests {
		dns := &answers{}
		dns.set(device, test.answer)
		c := &clock{time.Now()}
		start := c.now
		v := verifier(t, daneclient.Options{Resolver: dns, Now: c.time})
		ask := func() {
			if _, err := v.Client(t.Context(), cred, anyName); err == nil {
				t.Errorf("%s: matched", test.name)
			}
		}
		ask()
		if test.life > 0 {
			c.now = start.Add(test.life - time.Second)
			ask()
			if dns.count() != 1 {
				t.Errorf("%s: %d queries, want 1", test.name, dns.count())
			}
		}
		c.now = start.Add(test.life)
		ask()
		if dns.count() != 2 {
			t.Errorf("%s: %d queries at the end, want 2", test.name, dns.count())
		}
	}
}

// A stranger with the owner's name gets a verdict of his own.
func TestStrangerLocksNobodyOut(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	good := credential(ca.Issue(lab.LeafOptions{Names: []string{device}}).Chain...)
	leafAlone := credential(good.Chain[0])
	otherCA := credential(good.Chain[0], lab.NewCA("ca", lab.CAOptions{}).Certificate)
	dns := &answers{}
	dns.set(device, secure(publish(t, 2, 0, 1, ca.Certificate)))
	v := verifier(t, daneclient.Options{Resolver: dns})
	for range 2 {
		for _, test := range []struct {
			name string
			cred daneclient.Credential
			want daneclient.Reason
		}{
			{"stranger", selfSigned(device), daneclient.NoMatch},
			{"the leaf without its CA", leafAlone, daneclient.NoMatch},
			{"the leaf with another CA", otherCA, daneclient.NoMatch},
			{"the owner", good, 0},
		} {
			if _, err := v.Client(t.Context(), test.cred, anyName); reasonOf(t, err) != test.want {
				t.Errorf("%s: %v, want %v", test.name, err, test.want)
			}
		}
	}
}

// Any number of refused chains leaves what was proved in the cache, and the
// cache stays small.
func TestCacheIsBounded(t *testing.T) {
	const size = 8
	cred := selfSigned(device)
	dns := &answers{}
	dns.set(device, secure(publish(t, 3, 1, 1, cred.Chain[0])))
	v := verifier(t, daneclient.Options{Resolver: dns, CacheSize: size})
	if _, err := v.Client(t.Context(), cred, anyName); err != nil {
		t.Fatal(err)
	}
	key := lab.NewKey()
	var strangers []daneclient.Credential
	for range 3 * size {
		s := credential(lab.SelfSigned(lab.LeafOptions{Names: []string{device}, Key: key}).Chain...)
		strangers = append(strangers, s)
		if _, err := v.Client(t.Context(), s, anyName); err == nil {
			t.Fatal("a stranger matched")
		}
	}
	before := dns.count()
	if _, err := v.Client(t.Context(), cred, anyName); err != nil || dns.count() != before {
		t.Errorf("pushed out by strangers: %v, %d queries more", err, dns.count()-before)
	}
	remembered := 0
	for _, s := range strangers {
		before := dns.count()
		if _, err := v.Client(t.Context(), s, anyName); err != nil && dns.count() == before {
			remembered++
		}
	}
	if remembered > size {
		t.Errorf("%d strangers remembered, more than %d", remembered, size)
	}
}

// A large certificate in a record costs a lookup each time, not memory.
func TestLargeRecordsAreNotCached(t *testing.T) {
	for name, queries := range map[string]int{"ca": 1, strings.Repeat("large ", 800): 2} {
		ca := lab.NewCA(name, lab.CAOptions{})
		cred := credential(ca.Issue(lab.LeafOptions{Names: []string{device}}).Chain...)
		dns := &answers{}
		dns.set(device, secure(publish(t, 2, 0, 0, ca.Certificate)))
		v := verifier(t, daneclient.Options{Resolver: dns})
		for range 2 {
			if got, err := v.Client(t.Context(), cred, anyName); err != nil || !bytes.Equal(got.Record.Data, ca.Certificate.Raw) {
				t.Error(err)
			}
		}
		if dns.count() != queries {
			t.Errorf("record of %d octets: %d queries, want %d", len(ca.Certificate.Raw), dns.count(), queries)
		}
	}
}

// The user's own verdicts are cached as the machine's are.
func TestAnchoredFromTheCache(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	cred := credential(ca.Issue(lab.LeafOptions{Names: []string{"example.org"}, UIDs: []string{"rick"}}).Chain...)
	owner := dnsname.MustParse("_user.example.org")
	dns := &answers{}
	dns.set(owner.String(), secure(publish(t, 2, 0, 1, ca.Certificate)))
	v := verifier(t, daneclient.Options{Resolver: dns})
	first, err := v.Anchored(t.Context(), owner, cred)
	again, errAgain := v.Anchored(t.Context(), owner, cred)
	if errors.Join(err, errAgain) != nil || dns.count() != 1 || !first.Until.Equal(again.Until) || again.Owner != owner {
		t.Errorf("%v %v, %v %v, %d queries", first, err, again, errAgain, dns.count())
	}
}

func BenchmarkCachedVerdict(b *testing.B) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	for name, cred := range map[string]daneclient.Credential{
		"usage3": selfSigned("mx.example.org"),
		"usage2": credential(ca.Issue(lab.LeafOptions{Names: []string{"mx.example.org"}}).Chain...),
	} {
		b.Run(name, func(b *testing.B) {
			dns := &answers{}
			dns.set("_smtp-client.mx.example.org", secure(publish(b, 3, 1, 1, cred.Chain[0])))
			v := verifier(b, daneclient.Options{Resolver: dns})
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Client(ctx, cred, anyName); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
