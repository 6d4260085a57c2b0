package daneclient_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

const device = "sensor7._device.example.org"

// What each kind of answer is worth. All of them hold a perfect record, so that
// whatever is refused is refused for its state.
func TestAnswerStates(t *testing.T) {
	cred := selfSigned(device)
	perfect := publish(t, 3, 1, 1, cred.Chain[0])
	other := publish(t, 3, 1, 1, selfSigned(device).Chain[0])
	with := func(state dnssec.State, records ...dnssec.TLSA) dnssec.Answer {
		a := secure(records...)
		a.State, a.Reason = state, "said so"
		return a
	}
	cname := with(dnssec.Secure, perfect)
	cname.CNAME, cname.Final = true, dnsname.MustParse("records.example.net")
	nxdomain := with(dnssec.Secure)
	nxdomain.NXDomain = true
	tests := []struct {
		name      string
		answer    dnssec.Answer
		want      daneclient.Reason
		temporary bool
	}{
		{"secure", with(dnssec.Secure, perfect), 0, false},
		{"secure, one of two", with(dnssec.Secure, other, perfect), 0, false},
		{"secure by CNAME", cname, 0, false},
		{"secure, no records", with(dnssec.Secure), daneclient.NoRecord, false},
		{"secure, no such name", nxdomain, daneclient.NoRecord, false},
		{"secure, another key", with(dnssec.Secure, other), daneclient.NoMatch, false},
		{"secure, usage 1", with(dnssec.Secure, publish(t, 1, 1, 1, cred.Chain[0])), daneclient.Unusable, false},
		{"secure, cut", with(dnssec.Secure, dnssec.TLSA{Usage: 3, Selector: 1, Matching: 1, Data: perfect.Data[:31]}), daneclient.Unusable, false},
		{"insecure", with(dnssec.Insecure, perfect), daneclient.Insecure, false},
		{"bogus", with(dnssec.Bogus, perfect), daneclient.BogusDNS, true},
		{"failed", with(dnssec.Failed, perfect), daneclient.FailedDNS, true},
		{"nobody filled it in", dnssec.Answer{TLSA: []dnssec.TLSA{perfect}}, daneclient.FailedDNS, true},
		{"an unknown state", with(dnssec.State(9), perfect), daneclient.FailedDNS, true},
	}
	for _, test := range tests {
		dns := &answers{}
		dns.set(device, test.answer)
		got, err := verifier(t, daneclient.Options{Resolver: dns}).Client(t.Context(), cred, anyName)
		if reasonOf(t, err) != test.want {
			t.Errorf("%s: %v, %v; want %v", test.name, got, err, test.want)
			continue
		}
		var e *daneclient.Error
		switch {
		case err == nil:
			if got.Name.String() != device || got.Record.String() != tlsa.Record(perfect).String() {
				t.Errorf("%s: %v", test.name, got)
			}
		case errors.As(err, &e) && (e.Temporary() != test.temporary || e.Name.String() != device || got.Name != dnsname.Name{}):
			t.Errorf("%s: temporary %v, name %v, client %v", test.name, e.Temporary(), e.Name, got.Name)
		}
	}
}

func TestMismatchIsInTheError(t *testing.T) {
	cred := selfSigned(device)
	dns := &answers{}
	dns.set(device, secure(publish(t, 3, 1, 1, selfSigned(device).Chain[0])))
	_, err := verifier(t, daneclient.Options{Resolver: dns}).Client(t.Context(), cred, anyName)
	var miss *tlsa.MismatchError
	if !errors.As(err, &miss) || !strings.HasPrefix(err.Error(), device+" TLSA: no-match: 3 1 1 ") {
		t.Errorf("got %v", err)
	}
}

// Records made from a wildcard vouch for devices only, and only as a CA.
func TestWildcards(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	tests := []struct {
		name  string
		san   string
		owner string
		usage uint8
		both  bool // a usage 3 record of the leaf beside a usage 2 record of another CA
		want  daneclient.Reason
	}{
		{"a CA of devices", "x._device.example.org", "x._device.example.org", 2, false, 0},
		{"deeper", "y.x._device.example.org", "y.x._device.example.org", 2, false, 0},
		{"one key for all devices", "x._device.example.org", "x._device.example.org", 3, false, daneclient.WildcardForbidden},
		{"one key beside a CA", "x._device.example.org", "x._device.example.org", 3, true, daneclient.NoMatch},
		{"a CA of mail servers", "mx.example.org", "_smtp-client.mx.example.org", 2, false, daneclient.WildcardForbidden},
		{"a key of mail servers", "mx.example.org", "_smtp-client.mx.example.org", 3, false, daneclient.WildcardForbidden},
		{"_device itself", "_device.example.org", "_device.example.org", 2, false, daneclient.WildcardForbidden},
		{"a label that looks like it", "x._device2.example.org", "x._device2.example.org", 2, false, daneclient.WildcardForbidden},
	}
	for _, test := range tests {
		cred := credential(ca.Issue(lab.LeafOptions{Names: []string{test.san}}).Chain...)
		published := cred.Chain[0]
		if test.usage == 2 {
			published = ca.Certificate
		}
		answer := secure(publish(t, test.usage, 1, 1, published))
		if test.both {
			answer.TLSA = append(answer.TLSA, publish(t, 2, 1, 1, lab.NewCA("other", lab.CAOptions{}).Certificate))
		}
		for _, wildcard := range []bool{true, false} {
			answer.Wildcard, answer.Enclosers = wildcard, []dnsname.Name{dnsname.MustParse("_device.example.org")}
			want := test.want
			if !wildcard {
				want = 0 // the same records, published under the name itself
			}
			dns := &answers{}
			dns.set(test.owner, answer)
			_, err := verifier(t, daneclient.Options{Resolver: dns}).Client(t.Context(), cred, anyName)
			if reasonOf(t, err) != want {
				t.Errorf("%s, wildcard %v: %v, want %v", test.name, wildcard, err, want)
			}
		}
	}
}

// Every wildcard on the way must have been one of devices: that of a whole
// domain stands there for something else.
func TestWildcardsOfDevices(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	cred := credential(ca.Issue(lab.LeafOptions{Names: []string{device}}).Chain...)
	ours, lower := dnsname.MustParse("_device.example.org"), dnsname.MustParse("x._device.example.net")
	for name, test := range map[string]struct {
		enclosers []dnsname.Name
		want      daneclient.Reason
	}{
		"of devices":             {[]dnsname.Name{ours}, 0},
		"of some devices":        {[]dnsname.Name{lower}, 0},
		"two":                    {[]dnsname.Name{ours, lower}, 0},
		"of the domain":          {[]dnsname.Name{dnsname.MustParse("example.org")}, daneclient.WildcardForbidden},
		"one of them of another": {[]dnsname.Name{ours, dnsname.MustParse("example.net")}, daneclient.WildcardForbidden},
		"of no name":             {[]dnsname.Name{{}}, daneclient.WildcardForbidden},
		"of what nobody said":    {nil, daneclient.WildcardForbidden},
	} {
		answer := secure(publish(t, 2, 0, 1, ca.Certificate))
		answer.Wildcard, answer.Enclosers = true, test.enclosers
		dns := &answers{}
		dns.set(device, answer)
		_, err := verifier(t, daneclient.Options{Resolver: dns}).Client(t.Context(), cred, anyName)
		if reasonOf(t, err) != test.want {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// The owners that may name users, and what their certificates must hold.
func TestUsers(t *testing.T) {
	ca := lab.NewCA("users", lab.CAOptions{})
	rick := func(names ...string) daneclient.Credential {
		return credential(ca.Issue(lab.LeafOptions{Names: names, UIDs: []string{"rick"}}).Chain...)
	}
	tests := []struct {
		name    string
		owner   string
		cred    daneclient.Credential
		want    daneclient.Reason
		queries int
	}{
		{"in good order", "_user.example.org", rick("example.org"), 0, 1},
		{"in upper case", "_user.example.org", rick("EXAMPLE.org"), 0, 1},
		{"a subdomain of its own", "_user.sub.example.org", rick("sub.example.org"), 0, 1},
		{"the CA of one domain, the name of another", "_user.evil.example", rick("victim.example"), daneclient.ForbiddenName, 0},
		{"and the reverse", "_user.victim.example", rick("evil.example"), daneclient.ForbiddenName, 0},
		{"nothing is inherited from above", "_user.example.org", rick("sub.example.org"), daneclient.ForbiddenName, 0},
		{"nor from below", "_user.sub.example.org", rick("example.org"), daneclient.ForbiddenName, 0},
		{"two names", "_user.example.org", rick("example.org", "example.net"), daneclient.ForbiddenName, 0},
		{"twice the name", "_user.example.org", rick("example.org", "example.org"), daneclient.ForbiddenName, 0},
		{"no name", "_user.example.org", rick(), daneclient.ForbiddenName, 0},
		{"a wildcard", "_user.example.org", rick("*.example.org"), daneclient.ForbiddenName, 0},
		{"the owner name", "_user.example.org", rick("_user.example.org"), daneclient.ForbiddenName, 0},
		{"a machine's owner", "_smtp-client.example.org", rick("example.org"), daneclient.ForbiddenName, 0},
		{"_user further right", "a._user.example.org", rick("example.org"), daneclient.ForbiddenName, 0},
		{"_user twice", "_user._user.example.org", rick("example.org"), daneclient.ForbiddenName, 0},
		{"another underscore", "_user.x._device.example.org", rick("x._device.example.org"), daneclient.ForbiddenName, 0},
		{"a top level domain", "_user.org", rick("org"), daneclient.ForbiddenName, 0},
		{"no domain", "_user", rick(""), daneclient.ForbiddenName, 0},
		{"an address", "_user.192.0.2.1", rick("192.0.2.1"), daneclient.ForbiddenName, 0},
		{"no underscore", "user.example.org", rick("example.org"), daneclient.ForbiddenName, 0},
	}
	for _, test := range tests {
		dns := &answers{}
		dns.set(test.owner, secure(publish(t, 2, 0, 1, ca.Certificate)))
		got, err := verifier(t, daneclient.Options{Resolver: dns}).Anchored(t.Context(), dnsname.MustParse(test.owner), test.cred)
		if reasonOf(t, err) != test.want || dns.count() != test.queries {
			t.Errorf("%s: %v, %d queries; want %v, %d", test.name, err, dns.count(), test.want, test.queries)
		}
		if err == nil && (got.Owner.String() != test.owner || got.Record.Usage != 2) {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	if _, err := verifier(t, daneclient.Options{Resolver: &answers{}}).Anchored(t.Context(), dnsname.Name{}, rick("example.org")); reasonOf(t, err) != daneclient.ForbiddenName {
		t.Errorf("the zero owner: %v", err)
	}
}

// A certificate for servers alone proves a mail server where that was asked for, and
// never a device or a user.
func TestServerLeaves(t *testing.T) {
	ca := lab.NewCA("public", lab.CAOptions{})
	shown := func(o lab.LeafOptions) daneclient.Credential {
		o.EKU = serverAuth
		return credential(ca.Issue(o).Chain...)
	}
	server, device := shown(lab.LeafOptions{Names: []string{"mx.example.org"}}), shown(lab.LeafOptions{Names: []string{"a._device.example.org"}})
	user := shown(lab.LeafOptions{Names: []string{"example.org"}, UIDs: []string{"rick"}})
	dns := &answers{}
	for _, owner := range []string{"_smtp-client.mx.example.org", "a._device.example.org", "_user.example.org"} {
		dns.set(owner, secure(publish(t, 2, 0, 1, ca.Certificate)))
	}
	for _, leaves := range []bool{false, true} {
		v := verifier(t, daneclient.Options{Resolver: dns, ServerLeaves: leaves})
		want := daneclient.NoMatch
		if leaves {
			want = 0
		}
		if _, err := v.Client(t.Context(), server, anyName); reasonOf(t, err) != want {
			t.Errorf("server, %v: %v", leaves, err)
		}
		if _, err := v.Client(t.Context(), device, anyName); reasonOf(t, err) != daneclient.NoMatch {
			t.Errorf("device, %v: %v", leaves, err)
		}
		if _, err := v.Anchored(t.Context(), dnsname.MustParse("_user.example.org"), user); reasonOf(t, err) != daneclient.NoMatch {
			t.Errorf("user, %v: %v", leaves, err)
		}
	}
}

// Only a CA makes users: the holder of a key that usage 3 pins could sign
// himself any uid. And no wildcard makes one.
func TestUserRecords(t *testing.T) {
	ca, other := lab.NewCA("users", lab.CAOptions{}), lab.NewCA("other", lab.CAOptions{})
	issued := credential(ca.Issue(lab.LeafOptions{Names: []string{"example.org"}, UIDs: []string{"rick"}}).Chain...)
	own := credential(lab.SelfSigned(lab.LeafOptions{Names: []string{"example.org"}, UIDs: []string{"rick"}}).Chain...)
	server := credential(ca.Issue(lab.LeafOptions{Names: []string{"example.org"}, UIDs: []string{"rick"}, EKU: serverAuth}).Chain...)
	tests := []struct {
		name     string
		cred     daneclient.Credential
		records  []dnssec.TLSA
		wildcard bool
		want     daneclient.Reason
	}{
		{"2 0 1", issued, []dnssec.TLSA{publish(t, 2, 0, 1, ca.Certificate)}, false, 0},
		{"2 0 0", credential(issued.Chain[0]), []dnssec.TLSA{publish(t, 2, 0, 0, ca.Certificate)}, false, 0},
		{"3 1 1 of the leaf", issued, []dnssec.TLSA{publish(t, 3, 1, 1, issued.Chain[0])}, false, daneclient.Unusable},
		{"3 0 1 of a leaf that signs itself", own, []dnssec.TLSA{publish(t, 3, 0, 1, own.Chain[0])}, false, daneclient.Unusable},
		{"1 1 1 of the leaf", issued, []dnssec.TLSA{publish(t, 1, 1, 1, issued.Chain[0])}, false, daneclient.Unusable},
		{"0 0 1 of the CA", issued, []dnssec.TLSA{publish(t, 0, 0, 1, ca.Certificate)}, false, daneclient.Unusable},
		{"3 1 1 beside another CA", issued, []dnssec.TLSA{publish(t, 3, 1, 1, issued.Chain[0]), publish(t, 2, 0, 1, other.Certificate)}, false, daneclient.NoMatch},
		{"3 1 1 beside the CA", issued, []dnssec.TLSA{publish(t, 3, 1, 1, issued.Chain[0]), publish(t, 2, 0, 1, ca.Certificate)}, false, 0},
		{"2 0 1 of the leaf", own, []dnssec.TLSA{publish(t, 2, 0, 1, own.Chain[0])}, false, daneclient.NoMatch},
		{"2 0 0 of the leaf", own, []dnssec.TLSA{publish(t, 2, 0, 0, own.Chain[0])}, false, daneclient.NoMatch},
		{"2 1 1 of the leaf, sent twice", credential(own.Chain[0], own.Chain[0]), []dnssec.TLSA{publish(t, 2, 1, 1, own.Chain[0])}, false, daneclient.NoMatch},
		{"a certificate of servers", server, []dnssec.TLSA{publish(t, 2, 0, 1, ca.Certificate)}, false, daneclient.NoMatch},
		{"a wildcard", issued, []dnssec.TLSA{publish(t, 2, 0, 1, ca.Certificate)}, true, daneclient.WildcardForbidden},
		{"nothing", issued, nil, false, daneclient.NoRecord},
	}
	for _, test := range tests {
		answer := secure(test.records...)
		answer.Wildcard = test.wildcard
		dns := &answers{}
		dns.set("_user.example.org", answer)
		got, err := verifier(t, daneclient.Options{Resolver: dns}).Anchored(t.Context(), dnsname.MustParse("_user.example.org"), test.cred)
		if reasonOf(t, err) != test.want || err == nil && got.Record.Usage != 2 {
			t.Errorf("%s: %v, %v; want %v", test.name, got, err, test.want)
		}
	}
}

// The CA that vouches for users vouches for no machine, and the reverse, even
// when the other verdict is in the cache.
func TestUsersAndMachinesAreStrangers(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	cred := credential(ca.Issue(lab.LeafOptions{Names: []string{"example.org"}}).Chain...)
	user, machine := dnsname.MustParse("_user.example.org"), "_smtp-client.example.org"
	record := secure(publish(t, 2, 0, 1, ca.Certificate))
	for _, test := range []struct {
		name          string
		user, machine dnssec.Answer
		wantUser      daneclient.Reason
		wantMachine   daneclient.Reason
	}{
		{"users only", record, secure(), 0, daneclient.NoRecord},
		{"machines only", secure(), record, daneclient.NoRecord, 0},
	} {
		dns := &answers{}
		dns.set(user.String(), test.user)
		dns.set(machine, test.machine)
		v := verifier(t, daneclient.Options{Resolver: dns})
		for range 2 {
			if _, err := v.Anchored(t.Context(), user, cred); reasonOf(t, err) != test.wantUser {
				t.Errorf("%s: user: %v", test.name, err)
			}
			if _, err := v.Client(t.Context(), cred, anyName); reasonOf(t, err) != test.wantMachine {
				t.Errorf("%s: machine: %v", test.name, err)
			}
		}
	}
}

func TestNewWantsAResolver(t *testing.T) {
	if _, err := daneclient.New(daneclient.Options{}); err == nil {
		t.Error("made a verifier that can ask nobody")
	}
}

// A credential made by hand is checked again: no verdict without TLS 1.3.
func TestCredentialIsChecked(t *testing.T) {
	good := selfSigned(device)
	tests := []struct {
		name   string
		change func(*daneclient.Credential)
		want   daneclient.Reason
	}{
		{"as it is", func(*daneclient.Credential) {}, 0},
		{"TLS 1.2", func(c *daneclient.Credential) { c.Version = 0x0303 }, daneclient.WeakTLS},
		{"resumed", func(c *daneclient.Credential) { c.Resumed = true }, daneclient.Resumed},
		{"no chain", func(c *daneclient.Credential) { c.Chain = nil }, daneclient.NoCertificate},
		{"nil leaf", func(c *daneclient.Credential) { c.Chain = append(c.Chain[:0:0], nil) }, daneclient.NoCertificate},
		{"zero", func(c *daneclient.Credential) { *c = daneclient.Credential{} }, daneclient.WeakTLS},
	}
	for _, test := range tests {
		cred := good
		test.change(&cred)
		dns := &answers{}
		dns.set(device, secure(publish(t, 3, 1, 1, good.Chain[0])))
		v := verifier(t, daneclient.Options{Resolver: dns, Now: time.Now})
		if _, err := v.Client(t.Context(), cred, anyName); reasonOf(t, err) != test.want {
			t.Errorf("%s: client: %v, want %v", test.name, err, test.want)
		}
		if _, err := v.Anchored(t.Context(), dnsname.MustParse("_user.example.org"), cred); test.want != 0 && reasonOf(t, err) != test.want {
			t.Errorf("%s: user: %v, want %v", test.name, err, test.want)
		}
	}
}
