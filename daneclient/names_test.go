package daneclient_test

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

func TestCandidateNames(t *testing.T) {
	long := strings.Repeat("a.", 120) + "example" // 247 octets: no room for _smtp-client.
	tests := []struct {
		name   string
		sans   []string
		want   []string
		reason daneclient.Reason
	}{
		{"a host", []string{"mx.example.org"}, []string{"_smtp-client.mx.example.org"}, 0},
		{"in upper case", []string{"MX.Example.ORG"}, []string{"_smtp-client.mx.example.org"}, 0},
		{"a device", []string{"x._device.example.org"}, []string{"x._device.example.org"}, 0},
		{"a service", []string{"_smtp-client.mx.example.org"}, []string{"_smtp-client.mx.example.org"}, 0},
		{"D and _smtp-client.D are one", []string{"mx.example.org", "_smtp-client.mx.example.org"}, []string{"_smtp-client.mx.example.org"}, 0},
		{"several", []string{"mx.example.org", "mx.example.net"}, []string{"_smtp-client.mx.example.org", "_smtp-client.mx.example.net"}, 0},
		{"the same twice", []string{"mx.example.org", "MX.example.org"}, []string{"_smtp-client.mx.example.org"}, 0},
		{"an underscore within a label", []string{"a_b.example.org"}, []string{"_smtp-client.a_b.example.org"}, 0},
		{"an A-label", []string{"xn--bcher-kva.example"}, []string{"_smtp-client.xn--bcher-kva.example"}, 0},
		{"good ones among others", []string{"*.example.org", "mx.example.org", "_25._tcp.mx.example.org"}, []string{"_smtp-client.mx.example.org"}, 0},
		{"none", nil, nil, daneclient.NoName},
		{"a wildcard", []string{"*.example.org"}, nil, daneclient.NoName},
		{"a wildcard of devices", []string{"*._device.example.org"}, nil, daneclient.NoName},
		{"a star inside", []string{"m*.example.org"}, nil, daneclient.NoName},
		{"an address", []string{"192.0.2.1"}, nil, daneclient.NoName},
		{"one label", []string{"localhost"}, nil, daneclient.NoName},
		{"a final dot", []string{"mx.example.org."}, nil, daneclient.NoName},
		{"an empty name", []string{""}, nil, daneclient.NoName},
		{"an empty label", []string{"mx..example.org"}, nil, daneclient.NoName},
		{"a fake A-label", []string{"xn--zzzzzz.example"}, nil, daneclient.NoName},
		{"a mail address", []string{"a@example.org"}, nil, daneclient.NoName},
		{"a space", []string{"mx.example.org "}, nil, daneclient.NoName},
		{"too long with the label before", []string{long}, nil, daneclient.NoName},
		{"users", []string{"_user.example.org"}, nil, daneclient.ForbiddenName},
		{"below users", []string{"x._user.example.org"}, nil, daneclient.ForbiddenName},
		{"users in upper case", []string{"_USER.example.org"}, nil, daneclient.ForbiddenName},
		{"a server over TCP", []string{"_25._tcp.mx.example.org"}, nil, daneclient.ForbiddenName},
		{"tcp alone", []string{"_tcp.mx.example.org"}, nil, daneclient.ForbiddenName},
		{"udp", []string{"x._udp.mx.example.org"}, nil, daneclient.ForbiddenName},
		{"sctp", []string{"_sctp.mx.example.org"}, nil, daneclient.ForbiddenName},
		{"_dane", []string{"_dane.mx.example.org"}, nil, daneclient.ForbiddenName},
		{"a port", []string{"_853.mx.example.org"}, nil, daneclient.ForbiddenName},
		{"a port deeper", []string{"a._853.mx.example.org"}, nil, daneclient.ForbiddenName},
	}
	for _, test := range tests {
		leaf := lab.SelfSigned(lab.LeafOptions{Names: test.sans}).Leaf()
		got, err := daneclient.CandidateNames(leaf)
		var names []string
		for _, n := range got {
			names = append(names, n.String())
		}
		if !slices.Equal(names, test.want) || reasonOf(t, err) != test.reason {
			t.Errorf("%s: %v, %v; want %v, %v", test.name, names, err, test.want, test.reason)
		}
	}
}

// Nothing but a dNSName is a name, and a uid in any state makes a client of no one.
func TestOtherNamesAreNoNames(t *testing.T) {
	dns := lab.DNSName("mx.example.org")
	uid := lab.OtherName{Type: lab.OIDUID, Value: []byte("rick")}.DER()
	tests := []struct {
		name string
		leaf lab.LeafOptions
		want daneclient.Reason
	}{
		{"common name", lab.LeafOptions{CommonName: "mx.example.org"}, daneclient.NoName},
		{"common name beside a wildcard", lab.LeafOptions{CommonName: "mx.example.org", Names: []string{"*.example.org"}}, daneclient.NoName},
		{"mail address", lab.LeafOptions{SAN: lab.SAN([]byte("\x81\x0emx.example.org"))}, daneclient.NoName},
		{"uid", lab.LeafOptions{Names: []string{"mx.example.org"}, UIDs: []string{"rick"}}, daneclient.ForbiddenName},
		{"uid alone", lab.LeafOptions{UIDs: []string{"rick"}}, daneclient.ForbiddenName},
		{"empty uid", lab.LeafOptions{Names: []string{"mx.example.org"}, UIDs: []string{""}}, daneclient.ForbiddenName},
		{"uid of a strange string", lab.LeafOptions{Names: []string{"mx.example.org"},
			OtherNames: []lab.OtherName{{Type: lab.OIDUID, Tag: 30, Value: []byte("rick")}}}, daneclient.ForbiddenName},
		{"broken uid", lab.LeafOptions{SAN: lab.SAN(dns, append([]byte{0xa0, 12}, uid[2:14]...))}, daneclient.ForbiddenName},
		{"another otherName", lab.LeafOptions{Names: []string{"mx.example.org"},
			OtherNames: []lab.OtherName{{Type: []int{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}, Value: []byte("r@corp")}}}, 0},
	}
	for _, test := range tests {
		_, err := daneclient.CandidateNames(lab.SelfSigned(test.leaf).Leaf())
		if got := reasonOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestManyNames(t *testing.T) {
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("mx%d.example.org", i))
	}
	owners, err := daneclient.CandidateNames(&x509.Certificate{DNSNames: names})
	if len(owners) != 100 || err != nil {
		t.Errorf("100 names: %d, %v", len(owners), err)
	}
	owners, err = daneclient.CandidateNames(&x509.Certificate{DNSNames: append(names, "mx.example.org")})
	if len(owners) != 0 || reasonOf(t, err) != daneclient.AmbiguousName {
		t.Errorf("101 names: %d, %v", len(owners), err)
	}
}

// The rules choose among the names, and before they do nothing is asked.
func TestChoice(t *testing.T) {
	tests := []struct {
		name    string
		sans    []string
		allowed func(dnsname.Name) bool
		want    string // the client's name
		reason  daneclient.Reason
		queries int
	}{
		{"the one allowed", []string{"a.example.org"}, allow("_smtp-client.a.example.org"), "_smtp-client.a.example.org", 0, 1},
		{"one of three", []string{"a.example.org", "b.example.org", "c.example.org"}, allow("_smtp-client.b.example.org"), "_smtp-client.b.example.org", 0, 1},
		{"two spellings of one", []string{"b.example.org", "_smtp-client.b.example.org"}, anyName, "_smtp-client.b.example.org", 0, 1},
		{"none allowed", []string{"a.example.org"}, allow("_smtp-client.b.example.org"), "", daneclient.NotAllowed, 0},
		{"the dNSName is not the owner", []string{"a.example.org"}, allow("a.example.org"), "", daneclient.NotAllowed, 0},
		{"nothing allowed", []string{"a.example.org", "b.example.org"}, allow(), "", daneclient.NotAllowed, 0},
		{"two allowed", []string{"a.example.org", "b.example.org"}, anyName, "", daneclient.AmbiguousName, 0},
		{"nil lets none", []string{"a.example.org"}, nil, "", daneclient.NotAllowed, 0},
		{"never asked for users", []string{"_user.example.org"}, anyName, "", daneclient.ForbiddenName, 0},
		{"no name", nil, anyName, "", daneclient.NoName, 0},
	}
	for _, test := range tests {
		cred := selfSigned(test.sans...)
		dns := &answers{}
		if test.want != "" {
			dns.set(test.want, secure(publish(t, 3, 1, 1, cred.Chain[0])))
		}
		got, err := verifier(t, daneclient.Options{Resolver: dns}).Client(t.Context(), cred, test.allowed)
		if got.Name.String() != test.want || reasonOf(t, err) != test.reason || dns.count() != test.queries {
			t.Errorf("%s: %v, %v, %d queries; want %q, %v, %d", test.name, got.Name, err, dns.count(), test.want, test.reason, test.queries)
		}
		if err == nil && got.Source != daneclient.SourceCertificate {
			t.Errorf("%s: source %q", test.name, got.Source)
		}
	}
}

// Usage 2 demands the dNSName that claimed the owner name, not the owner name.
func TestUsage2TakesTheNameThatClaims(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	for _, sans := range [][]string{
		{"mx.example.org"}, {"MX.example.org"}, {"_smtp-client.mx.example.org"},
		{"_smtp-client.mx.example.org", "mx.example.org"}, {"other.example.org", "mx.example.org"},
	} {
		dns := &answers{}
		dns.set("_smtp-client.mx.example.org", secure(publish(t, 2, 0, 1, ca.Certificate)))
		cred := credential(ca.Issue(lab.LeafOptions{Names: sans}).Chain...)
		got, err := verifier(t, daneclient.Options{Resolver: dns}).Client(t.Context(), cred, allow("_smtp-client.mx.example.org"))
		if err != nil || got.Name.String() != "_smtp-client.mx.example.org" || got.Record.Usage != 2 {
			t.Errorf("%v: %v, %v", sans, got, err)
		}
	}
}

func FuzzCandidateNames(f *testing.F) {
	for _, s := range []string{"mx.example.org", "x._device.example.org", "_user.example.org", "*.example.org", "_25._tcp.mx.org", "1.2.3.4", "\u212a.org"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, san string) {
		owners, err := daneclient.CandidateNames(&x509.Certificate{DNSNames: []string{san}})
		if (len(owners) == 1) != (err == nil) || len(owners) > 1 {
			t.Fatalf("%q: %v, %v", san, owners, err)
		}
		for _, owner := range owners {
			s := owner.String()
			again, err := dnsname.ParseOwner(s)
			if err != nil || again != owner || !owner.HasUnderscore() {
				t.Errorf("%q: owner %q is in no normal form", san, s)
			}
			if s != strings.ToLower(san) && s != "_smtp-client."+strings.ToLower(san) {
				t.Errorf("%q: owner %q", san, s)
			}
			for _, label := range owner.Labels() {
				if slices.Contains([]string{"_user", "_tcp", "_udp", "_sctp", "_dane", "*", "_1"}, label) {
					t.Errorf("%q: owner %q", san, s)
				}
			}
		}
	})
}
