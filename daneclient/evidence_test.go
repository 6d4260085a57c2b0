package daneclient_test

import (
	"slices"
	"testing"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// The verdict does not change because somebody looks, the cache is passed by in
// both directions, and the findings say what the verdict says.
func TestEvidence(t *testing.T) {
	cred := selfSigned(device)
	right := publish(t, 3, 1, 1, cred.Chain[0])
	other := publish(t, 3, 1, 1, selfSigned(device).Chain[0])
	failed := secure(right)
	failed.State = dnssec.Failed
	for _, test := range []struct {
		name    string
		answer  dnssec.Answer
		reason  daneclient.Reason
		matches []bool
	}{
		{"right key", secure(right), 0, []bool{true}},
		{"right key beside another", secure(other, right), 0, []bool{false, true}},
		{"wrong key", secure(other), daneclient.NoMatch, []bool{false}},
		{"no record", secure(), daneclient.NoRecord, nil},
		{"unusable", secure(publish(t, 1, 1, 1, cred.Chain[0])), daneclient.Unusable, []bool{false}},
		{"not proved", failed, daneclient.FailedDNS, nil},
	} {
		dns := &answers{}
		test.answer.Steps = []dnssec.Step{{Name: device, Type: "TLSA"}}
		dns.set(device, test.answer)
		v := verifier(t, daneclient.Options{Resolver: dns})
		for range 2 { // without evidence the second one comes from the cache
			v.Client(t.Context(), cred, anyName)
		}
		before := dns.count()
		for range 2 {
			var seen daneclient.Evidence
			_, err := v.Client(daneclient.WithEvidence(t.Context(), &seen), cred, anyName)
			if reasonOf(t, err) != test.reason {
				t.Errorf("%s: %v, want %v", test.name, err, test.reason)
			}
			var matches []bool
			for _, f := range seen.Records {
				matches = append(matches, f.Matches)
			}
			if !slices.Equal(matches, test.matches) || seen.Owner.String() != device || seen.SAN != device || len(seen.Answer.Steps) != 1 {
				t.Errorf("%s: %+v", test.name, seen)
			}
		}
		if asked := dns.count() - before; asked != 2 {
			t.Errorf("%s: %d queries for 2 who look", test.name, asked)
		}
	}
}

// Who is refused before DNS leaves none.
func TestEvidenceOfNoQuery(t *testing.T) {
	dns := &answers{}
	v := verifier(t, daneclient.Options{Resolver: dns})
	var seen daneclient.Evidence
	_, err := v.Client(daneclient.WithEvidence(t.Context(), &seen), selfSigned(device), nil)
	if reasonOf(t, err) != daneclient.NotAllowed || !seen.Owner.IsZero() || dns.count() != 0 {
		t.Errorf("%v, %+v, %d queries", err, seen, dns.count())
	}
}

// A name alone: what a certificate could prove there, and no query for what no
// rule allows.
func TestPublished(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	key := publish(t, 3, 1, 1, selfSigned(device).Chain[0])
	anchor := publish(t, 2, 0, 1, ca.Certificate)
	wild := secure(anchor)
	wild.Wildcard, wild.Enclosers = true, []dnsname.Name{dnsname.MustParse("example.org")}
	bogus := secure(key)
	bogus.State = dnssec.Bogus
	for _, test := range []struct {
		name, owner string
		answer      dnssec.Answer
		allowed     func(dnsname.Name) bool
		want        daneclient.Reason
		queries     int
	}{
		{"a key", device, secure(key), anyName, 0, 1},
		{"a CA", device, secure(anchor), anyName, 0, 1},
		{"nothing", device, secure(), anyName, daneclient.NoRecord, 1},
		{"bogus", device, bogus, anyName, daneclient.BogusDNS, 1},
		{"a broad wildcard", device, wild, anyName, daneclient.WildcardForbidden, 1},
		{"no rule", device, secure(key), func(dnsname.Name) bool { return false }, daneclient.NotAllowed, 0},
		{"nil rules", device, secure(key), nil, daneclient.NotAllowed, 0},
		{"users with a CA", "_user.example.org", secure(anchor), anyName, 0, 1},
		{"users with a key", "_user.example.org", secure(key), anyName, daneclient.Unusable, 1},
		{"users deeper", "_user._smtp-client.example.org", secure(anchor), anyName, daneclient.ForbiddenName, 0},
		{"a server", "_25._tcp.mx.example.org", secure(key), anyName, daneclient.ForbiddenName, 0},
	} {
		dns := &answers{}
		dns.set(test.owner, test.answer)
		v := verifier(t, daneclient.Options{Resolver: dns})
		err := v.Published(t.Context(), dnsname.MustParse(test.owner), test.allowed)
		if reasonOf(t, err) != test.want || dns.count() != test.queries {
			t.Errorf("%s: %v after %d queries, want %v after %d", test.name, err, dns.count(), test.want, test.queries)
		}
	}
}

// The findings of a name alone compare with no chain, and so match nothing.
func TestPublishedMatchesNothing(t *testing.T) {
	dns := &answers{}
	dns.set(device, secure(publish(t, 3, 1, 1, selfSigned(device).Chain[0])))
	var seen daneclient.Evidence
	err := verifier(t, daneclient.Options{Resolver: dns}).Published(daneclient.WithEvidence(t.Context(), &seen), dnsname.MustParse(device), anyName)
	if err != nil || len(seen.Records) != 1 || !seen.Records[0].Usable || seen.Records[0].Matches {
		t.Errorf("%v, %+v", err, seen.Records)
	}
}
