package daneclient_test

import (
	"crypto/x509"
	"testing"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

func poolOf(cas ...*lab.CA) *x509.CertPool {
	p := x509.NewCertPool()
	for _, ca := range cas {
		p.AddCert(ca.Certificate)
	}
	return p
}

// Usages 0 and 1 want roots; and where a key could become many names or any uid,
// only usage 0 counts.
func TestUsagesWithRoots(t *testing.T) {
	ca, other := lab.NewCA("public", lab.CAOptions{}), lab.NewCA("other", lab.CAOptions{})
	machine := credential(ca.Issue(lab.LeafOptions{Names: []string{device}}).Chain...)
	rick := credential(ca.Issue(lab.LeafOptions{Names: []string{"example.org"}, UIDs: []string{"rick"}}).Chain...)
	for _, test := range []struct {
		name     string
		usage    uint8
		roots    *x509.CertPool
		client   daneclient.Reason
		user     daneclient.Reason
		wildcard daneclient.Reason
	}{
		{"usage 0", 0, poolOf(ca), 0, 0, 0},
		{"usage 1", 1, poolOf(ca), 0, daneclient.Unusable, daneclient.WildcardForbidden},
		{"usage 0, other roots", 0, poolOf(other), daneclient.NoMatch, daneclient.NoMatch, daneclient.NoMatch},
		{"usage 1, other roots", 1, poolOf(other), daneclient.NoMatch, daneclient.Unusable, daneclient.WildcardForbidden},
		{"usage 0, no roots", 0, nil, daneclient.Unusable, daneclient.Unusable, daneclient.Unusable},
		{"usage 1, no roots", 1, nil, daneclient.Unusable, daneclient.Unusable, daneclient.Unusable},
	} {
		for _, wildcard := range []bool{false, true} {
			dns := &answers{}
			for owner, cred := range map[string]daneclient.Credential{device: machine, "_user.example.org": rick} {
				published := ca.Certificate
				if test.usage == 1 {
					published = cred.Chain[0]
				}
				answer := secure(publish(t, test.usage, 0, 1, published))
				if wildcard {
					answer.Wildcard, answer.Enclosers = true, []dnsname.Name{dnsname.MustParse("_device.example.org")}
				}
				dns.set(owner, answer)
			}
			v := verifier(t, daneclient.Options{Resolver: dns, Roots: test.roots})
			wantClient, wantUser := test.client, test.user
			if wildcard {
				wantClient, wantUser = test.wildcard, daneclient.WildcardForbidden
			}
			if _, err := v.Client(t.Context(), machine, anyName); reasonOf(t, err) != wantClient {
				t.Errorf("%s, wildcard %v, client: %v", test.name, wildcard, err)
			}
			if _, err := v.Anchored(t.Context(), dnsname.MustParse("_user.example.org"), rick); reasonOf(t, err) != wantUser {
				t.Errorf("%s, wildcard %v, user: %v", test.name, wildcard, err)
			}
		}
	}
}

// Exchanged roots decide at once: no verdict is left that rests on others.
func TestSetRoots(t *testing.T) {
	ca := lab.NewCA("public", lab.CAOptions{})
	cred := credential(ca.Issue(lab.LeafOptions{Names: []string{device}}).Chain...)
	dns := &answers{}
	dns.set(device, secure(publish(t, 0, 0, 1, ca.Certificate)))
	v := verifier(t, daneclient.Options{Resolver: dns, Roots: poolOf(ca)})
	for i, step := range []struct {
		roots *x509.CertPool
		want  daneclient.Reason
	}{{poolOf(ca), 0}, {nil, daneclient.Unusable}, {poolOf(), daneclient.NoMatch}, {poolOf(ca), 0}} {
		if i > 0 {
			v.SetRoots(step.roots)
		}
		if _, err := v.Client(t.Context(), cred, anyName); reasonOf(t, err) != step.want {
			t.Errorf("step %d: %v, want %v", i, err, step.want)
		}
		v.Forget() // keeps the roots
		if _, err := v.Client(t.Context(), cred, anyName); reasonOf(t, err) != step.want {
			t.Errorf("step %d, forgotten: %v, want %v", i, err, step.want)
		}
	}
}
