package daneclient_test

import (
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

func TestOwnServer(t *testing.T) {
	w, r := dialWorld(t)
	ca := lab.NewCA("servers", lab.CAOptions{})
	cred := ca.Issue(lab.LeafOptions{Names: []string{"a.host.test", "b.srv.test"}, EKU: serverAuth})
	other := lab.SelfSigned(lab.LeafOptions{Names: []string{"x.srv.test"}}).Leaf()
	w.Zone("srv.test").Add(
		"good A 127.0.0.1", "_25._tcp.good "+lab.TLSA(3, 1, 1, cred.Leaf()),
		"ca A 127.0.0.1", "_25._tcp.ca "+lab.TLSA(2, 1, 1, ca.Certificate), // the leaf has another name
		"stale A 127.0.0.1", "_25._tcp.stale "+lab.TLSA(3, 1, 1, other),
		"odd A 127.0.0.1", "_25._tcp.odd "+lab.TLSA(1, 1, 1, cred.Leaf()),
		"bare A 127.0.0.1",
		"alias CNAME a.host.test.",
	)
	w.Zone("host.test").Add("a A 127.0.0.1", "_25._tcp.a "+lab.TLSA(2, 1, 1, ca.Certificate))
	w.Zone("plain.test").Add("a A 127.0.0.1", "_25._tcp.a "+lab.TLSA(3, 1, 1, cred.Leaf()))
	w.Zone("bad.test").Add("a A 127.0.0.1", "_25._tcp.a "+lab.TLSA(3, 1, 1, cred.Leaf()))
	for _, c := range []struct {
		host, owner string
		want        daneclient.OwnVerdict
	}{
		{"good.srv.test", "_25._tcp.good.srv.test", daneclient.OwnMatch},
		{"alias.srv.test", "_25._tcp.a.host.test", daneclient.OwnMatch},
		{"ca.srv.test", "_25._tcp.ca.srv.test", daneclient.OwnMismatch},
		{"stale.srv.test", "_25._tcp.stale.srv.test", daneclient.OwnMismatch},
		{"odd.srv.test", "_25._tcp.odd.srv.test", daneclient.OwnMismatch}, // RFC 7672 3.1.3
		{"bare.srv.test", "_25._tcp.bare.srv.test", daneclient.OwnNone},
		{"a.plain.test", "_25._tcp.a.plain.test", daneclient.OwnNone},
		{"a.bad.test", "_25._tcp.a.bad.test", daneclient.OwnUnknown},
	} {
		got := daneclient.OwnServer(t.Context(), dnsname.MustParse(c.host), 25, cred.Chain, daneclient.ServerOptions{Resolver: r})
		if got.Owner.String() != c.owner || got.Verdict != c.want || (got.Reason == "") != (c.want == daneclient.OwnMatch) {
			t.Errorf("%s: %s at %s (%s), want %s", c.host, got.Verdict, got.Owner, got.Reason, c.want)
		}
	}
}

func TestOwnClient(t *testing.T) {
	ca := lab.NewCA("clients", lab.CAOptions{})
	cred := ca.Issue(lab.LeafOptions{Names: []string{"a.test.example", "mx.test.example"}})
	nameless := lab.SelfSigned(lab.LeafOptions{CommonName: "x"})
	stranger := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.test.example"}}).Leaf()
	named := func(s string) dnsname.Name { return dnsname.MustParse(s) }
	byCA := secure(publish(t, 2, 1, 1, ca.Certificate))
	for _, c := range []struct {
		what  string
		name  string // told by dane_clientid; "": the certificate's
		cred  lab.Credential
		live  map[string]dnssec.Answer
		want  daneclient.OwnVerdict
		owner string
	}{
		{"one of two names", "", cred, map[string]dnssec.Answer{"_smtp-client.mx.test.example": byCA}, daneclient.OwnMatch, "_smtp-client.mx.test.example"},
		{"told", "s._device.test.example", cred, map[string]dnssec.Answer{"s._device.test.example": secure(publish(t, 3, 1, 1, cred.Leaf()))}, daneclient.OwnMatch, "s._device.test.example"},
		{"told, and not in the certificate", "s._device.test.example", cred, map[string]dnssec.Answer{"s._device.test.example": byCA}, daneclient.OwnMismatch, "s._device.test.example"},
		{"another key", "", cred, map[string]dnssec.Answer{"_smtp-client.a.test.example": secure(publish(t, 3, 1, 1, stranger)), "_smtp-client.mx.test.example": secure(publish(t, 3, 1, 1, stranger))}, daneclient.OwnMismatch, "_smtp-client.a.test.example"},
		{"no record", "", cred, nil, daneclient.OwnNone, "_smtp-client.a.test.example"},
		{"no DNS", "s._device.test.example", cred, map[string]dnssec.Answer{"s._device.test.example": {State: dnssec.Failed}}, daneclient.OwnUnknown, "s._device.test.example"},
		{"no name", "", nameless, nil, daneclient.OwnNone, ""},
	} {
		dns := &answers{}
		for _, owner := range []string{"_smtp-client.a.test.example", "_smtp-client.mx.test.example", "s._device.test.example"} {
			dns.set(owner, secure())
		}
		for owner, answer := range c.live {
			dns.set(owner, answer)
		}
		var name dnsname.Name
		if c.name != "" {
			name = named(c.name)
		}
		got := verifier(t, daneclient.Options{Resolver: dns}).OwnClient(t.Context(), name, c.cred.Chain)
		if got.Owner.String() != c.owner || got.Verdict != c.want {
			t.Errorf("%s: %s at %s (%s), want %s at %s", c.what, got.Verdict, got.Owner, got.Reason, c.want, c.owner)
		}
	}
}

func TestTTLProblem(t *testing.T) {
	for ttl, bad := range map[time.Duration]bool{
		0: true, 59 * time.Second: true, time.Minute: false, time.Hour: false, time.Hour + time.Second: true,
	} {
		if got := daneclient.TTLProblem(ttl); (got != "") != bad {
			t.Errorf("%s: %q", ttl, got)
		}
	}
}
