package daneclient_test

import (
	"testing"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// named is a credential whose peer told its name by dane_clientid.
func named(name string, cred daneclient.Credential) daneclient.Credential {
	cred.Named, cred.Name = true, dnsname.MustParse(name)
	return cred
}

// A name told is asked for verbatim, and the certificate is asked for no other.
func TestNamedClient(t *testing.T) {
	ca := lab.NewCA("machines", lab.CAOptions{})
	issued := func(o lab.LeafOptions) daneclient.Credential { return credential(ca.Issue(o).Chain...) }
	names := func(n ...string) lab.LeafOptions { return lab.LeafOptions{Names: n} }
	const owner = "_smtp-client.mx.example.org"
	for _, test := range []struct {
		name    string
		told    string
		cred    daneclient.Credential
		usage   uint8
		want    daneclient.Reason
		queries int
	}{
		{"usage 2, the owner in the certificate", owner, issued(names(owner)), 2, 0, 1},
		{"usage 2, among others", owner, issued(names("x.example.org", owner, "y.example.org")), 2, 0, 1},
		{"usage 2, in upper case", owner, issued(names("_SMTP-client.MX.example.org")), 2, 0, 1},
		{"usage 2, the host alone is not the name told", owner, issued(names("mx.example.org")), 2, daneclient.NameMismatch, 1},
		{"usage 2, no name", owner, issued(names()), 2, daneclient.NameMismatch, 1},
		{"usage 2, a wildcard certificate", owner, issued(names("*.mx.example.org")), 2, daneclient.NameMismatch, 1},
		{"usage 2, another CA, another name", owner, selfSigned("mx.example.org"), 2, daneclient.NoMatch, 1},
		{"usage 3, whatever the names", owner, selfSigned("other.example.net"), 3, 0, 1},
		{"usage 3, no name", owner, selfSigned(), 3, 0, 1},
		{"a name without underscore labels", "mx.example.org", issued(names("mx.example.org")), 2, 0, 1},
		{"a certificate with a uid", owner, issued(lab.LeafOptions{Names: []string{owner}, UIDs: []string{"rick"}}), 2, 0, 1},
		{"no rule", "_smtp-client.stranger.example", issued(names("_smtp-client.stranger.example")), 2, daneclient.NotAllowed, 0},
		{"no rule, though one names the certificate", "_smtp-client.stranger.example", issued(names(owner)), 2, daneclient.NotAllowed, 0},
		{"a user's name", "_user.example.org", issued(names("example.org")), 2, daneclient.ForbiddenName, 0},
		{"a user's name, another domain", "_user.example.org", issued(names("example.net")), 2, daneclient.NameMismatch, 0},
		{"a server's name", "_25._tcp.mx.example.org", issued(names("_25._tcp.mx.example.org")), 2, daneclient.ForbiddenName, 0},
	} {
		dns := &answers{}
		record := publish(t, 2, 0, 1, ca.Certificate)
		if test.usage == 3 {
			record = publish(t, 3, 1, 1, test.cred.Chain[0])
		}
		dns.set(test.told, secure(record))
		got, err := verifier(t, daneclient.Options{Resolver: dns}).Client(t.Context(), named(test.told, test.cred),
			allow(owner, "mx.example.org", "_user.example.org", "_25._tcp.mx.example.org"))
		if reasonOf(t, err) != test.want || dns.count() != test.queries {
			t.Errorf("%s: %v, %d queries; want %v, %d", test.name, err, dns.count(), test.want, test.queries)
		}
		if err == nil && (got.Name.String() != test.told || got.Source != daneclient.SourceExtension) {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// What was proved by one source is no answer for the other: they demand other
// names of the same certificate.
func TestSourcesAreJudgedApart(t *testing.T) {
	ca := lab.NewCA("machines", lab.CAOptions{})
	cred := credential(ca.Issue(lab.LeafOptions{Names: []string{"mx.example.org"}}).Chain...)
	dns := &answers{}
	dns.set("_smtp-client.mx.example.org", secure(publish(t, 2, 0, 1, ca.Certificate)))
	v := verifier(t, daneclient.Options{Resolver: dns})
	if c, err := v.Client(t.Context(), cred, anyName); err != nil || c.Source != daneclient.SourceCertificate {
		t.Fatal(c, err)
	}
	if _, err := v.Client(t.Context(), named("_smtp-client.mx.example.org", cred), anyName); reasonOf(t, err) != daneclient.NameMismatch {
		t.Errorf("by the extension: %v", err)
	}
}

func TestNamedUser(t *testing.T) {
	ca := lab.NewCA("users", lab.CAOptions{})
	rick := credential(ca.Issue(lab.LeafOptions{Names: []string{"example.org"}, UIDs: []string{"rick"}}).Chain...)
	for told, want := range map[string]daneclient.Reason{
		"_user.example.org":         0,
		"_user.example.net":         daneclient.NameMismatch,
		"_user.sub.example.org":     daneclient.NameMismatch,
		"example.org":               daneclient.NameMismatch,
		"_smtp-client.example.org":  daneclient.NameMismatch,
		"rick._device.example.org":  daneclient.NameMismatch,
		"_user.example.org.evil.no": daneclient.NameMismatch,
	} {
		dns := &answers{}
		dns.set("_user.example.org", secure(publish(t, 2, 0, 1, ca.Certificate)))
		_, err := verifier(t, daneclient.Options{Resolver: dns}).Anchored(t.Context(), dnsname.MustParse("_user.example.org"), named(told, rick))
		if reasonOf(t, err) != want {
			t.Errorf("%s: %v, want %v", told, err, want)
		}
		if err != nil && dns.count() != 0 {
			t.Errorf("%s: a query for a name that was not told", told)
		}
	}
}

// The rows of client-auth 8.2 that leave no choice.
func TestMustAbort(t *testing.T) {
	for reason := daneclient.NoCertificate; reason <= daneclient.Overloaded; reason++ {
		e := &daneclient.Error{Reason: reason}
		if e.MustAbort() != (reason == daneclient.NameMismatch) || e.Alert() != clientid.AlertHandshakeFailure {
			t.Errorf("%v: %v, %v", reason, e.MustAbort(), e.Alert())
		}
	}
	for err, want := range map[error]struct {
		abort bool
		alert int
	}{
		clientid.ErrEmpty:    {true, 40},
		clientid.ErrEncoding: {true, 50},
		clientid.ErrName:     {false, 40},
	} {
		e := &daneclient.Error{Reason: daneclient.BadClientName, Err: err}
		if e.MustAbort() != want.abort || int(e.Alert()) != want.alert {
			t.Errorf("%v: %v, %v", err, e.MustAbort(), e.Alert())
		}
	}
}

// Only a match in everything else makes a wrong name the reason.
func TestOnlyName(t *testing.T) {
	ca := lab.NewCA("machines", lab.CAOptions{})
	cred := credential(ca.Issue(lab.LeafOptions{Names: []string{"other.example.org"}}).Chain...)
	records := tlsa.Usable([]tlsa.Record{tlsa.Record(publish(t, 2, 0, 1, ca.Certificate))}, nil)
	for _, test := range []struct {
		chain int // certificates shown
		want  bool
	}{{2, true}, {1, false}} {
		_, err := tlsa.Match(records, cred.Chain[:test.chain], tlsa.Options{Name: "mx.example.org", Now: cred.Chain[0].NotBefore})
		if miss, ok := err.(*tlsa.MismatchError); !ok || miss.OnlyName != test.want {
			t.Errorf("%d certificates: %v", test.chain, err)
		}
	}
}
