package usercert_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/internal/pemfile"
	"dancemta/saslext/usercert"
)

var (
	example = dnsname.MustParse("example.org")
	now     = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	later   = now.AddDate(1, 0, 0)
)

func newCA(t *testing.T) *usercert.CA {
	t.Helper()
	ca, err := usercert.NewCA(example, now, now.AddDate(20, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *usercert.CA, u usercert.User) *usercert.Pair {
	t.Helper()
	pair, err := ca.Issue(u, now)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestNewCA(t *testing.T) {
	ca := newCA(t)
	c := ca.Chain[0]
	switch {
	case !c.IsCA || !c.BasicConstraintsValid || c.MaxPathLen != 0 || !c.MaxPathLenZero:
		t.Error("not a CA of path length 0")
	case c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign:
		t.Error("key usage")
	case !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || len(c.UnknownExtKeyUsage) != 0:
		t.Error("extended key usage")
	case !slices.Equal(c.PermittedDNSDomains, []string{"example.org"}) || !c.PermittedDNSDomainsCritical:
		t.Error("name constraints")
	case !c.NotBefore.Equal(now.Add(-time.Hour)) || !c.NotAfter.Equal(now.AddDate(20, 0, 0)):
		t.Errorf("valid from %s to %s", c.NotBefore, c.NotAfter)
	case c.Subject.String() != "CN=User CA of example.org" || c.CheckSignatureFrom(c) != nil:
		t.Errorf("subject %s, issuer %s", c.Subject, c.Issuer)
	case len(c.SerialNumber.Bytes()) != 16 || len(c.SubjectKeyId) == 0:
		t.Error("serial number or key id")
	case ca.Key.(*ecdsa.PrivateKey).Curve != elliptic.P256():
		t.Error("not on P-256")
	case ca.Domain() != example:
		t.Errorf("domain %s", ca.Domain())
	}
	if newCA(t).Chain[0].SerialNumber.Cmp(c.SerialNumber) == 0 {
		t.Error("the same serial number twice")
	}
	long := dnsname.MustParse(strings.Repeat("a", 60) + ".example.org")
	if ca, err := usercert.NewCA(long, now, later); err != nil || ca.Chain[0].Subject.CommonName != "User CA" {
		t.Errorf("long domain: %v", err)
	}
	for name, err := range map[string]error{
		"no domain": second(usercert.NewCA(dnsname.Name{}, now, later)),
		"no life":   second(usercert.NewCA(example, now, now)),
	} {
		if !errors.Is(err, usercert.ErrNoDomainName) && !errors.Is(err, usercert.ErrNoLife) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestIssue(t *testing.T) {
	ca := newCA(t)
	pair := issue(t, ca, usercert.User{UID: "rick", Domain: example, Shown: "rick@example.org", NotAfter: later})
	leaf := pair.Chain[0]
	uid, domain, err := usercert.Parse(leaf)
	if err != nil || uid != "rick" || domain != "example.org" {
		t.Errorf("%q, %q, %v", uid, domain, err)
	}
	switch {
	case len(pair.Chain) != 2 || !pair.Chain[1].Equal(ca.Chain[0]):
		t.Error("the chain is not leaf and CA")
	case leaf.IsCA || !leaf.BasicConstraintsValid || leaf.KeyUsage != x509.KeyUsageDigitalSignature:
		t.Error("not an end certificate")
	case !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}):
		t.Error("extended key usage")
	case !slices.Equal(leaf.DNSNames, []string{"example.org"}) || leaf.EmailAddresses != nil:
		t.Error("names")
	case leaf.Subject.String() != "CN=rick@example.org":
		t.Errorf("subject %s", leaf.Subject)
	case !leaf.NotBefore.Equal(now.Add(-time.Hour)) || !leaf.NotAfter.Equal(later):
		t.Errorf("valid from %s to %s", leaf.NotBefore, leaf.NotAfter)
	case pair.Key.(*ecdsa.PrivateKey).Curve != elliptic.P256() || !pair.Key.(*ecdsa.PrivateKey).PublicKey.Equal(leaf.PublicKey):
		t.Error("key")
	case pair.Key.(*ecdsa.PrivateKey).Equal(ca.Key):
		t.Error("the user got the key of the CA")
	}

	cut := issue(t, ca, usercert.User{UID: "rick", Domain: example, Shown: strings.Repeat("x", 65), NotAfter: now.AddDate(90, 0, 0)}).Chain[0]
	if !cut.NotAfter.Equal(ca.Chain[0].NotAfter) {
		t.Errorf("outlives its CA: %s", cut.NotAfter)
	}
	if cut.Subject.CommonName != "rick" {
		t.Errorf("subject %s", cut.Subject)
	}
}

// foreign makes a CA as other software may do, and writes and reads it.
func foreign(t *testing.T, o lab.CAOptions) *usercert.CA {
	t.Helper()
	o.NotBefore, o.NotAfter = now.AddDate(-1, 0, 0), now.AddDate(1, 0, 0)
	c := lab.NewCA("foreign", o)
	return readCA(t, &usercert.Pair{Chain: c.Chain(), Key: c.Key})
}

func readCA(t *testing.T, p *usercert.Pair) *usercert.CA {
	t.Helper()
	key, err := p.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	ca, err := usercert.ParseCA(p.CertPEM(), key)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestForeignCA(t *testing.T) {
	rick := usercert.User{UID: "rick", Domain: example, NotAfter: later}
	ca := foreign(t, lab.CAOptions{})
	if !ca.Domain().IsZero() {
		t.Errorf("domain %s", ca.Domain())
	}
	issue(t, ca, rick)
	below := foreign(t, lab.CAOptions{Parent: lab.NewCA("root", lab.CAOptions{NotBefore: now.AddDate(-1, 0, 0), NotAfter: later})})
	if pair := issue(t, below, rick); len(pair.Chain) != 3 {
		t.Errorf("a chain of %d", len(pair.Chain))
	}
	issue(t, readCA(t, &newCA(t).Pair), rick)
}

func TestIssueRefuses(t *testing.T) {
	rick := usercert.User{UID: "rick", Domain: example, NotAfter: later}
	other := usercert.User{UID: "rick", Domain: dnsname.MustParse("example.net"), NotAfter: later}
	below := usercert.User{UID: "rick", Domain: dnsname.MustParse("mail.example.org"), NotAfter: later}
	server := lab.CAOptions{KeyUsage: x509.KeyUsageDigitalSignature}
	for _, c := range []struct {
		name string
		ca   *usercert.CA
		user usercert.User
		now  time.Time
		want error
	}{
		{"other domain", newCA(t), other, now, usercert.ErrOtherDomain},
		{"below the domain", newCA(t), below, now, usercert.ErrOtherDomain},
		{"expired CA", newCA(t), rick, now.AddDate(20, 0, 0), usercert.ErrNotValid},
		{"CA of the future", newCA(t), rick, now.Add(-2 * time.Hour), usercert.ErrNotValid},
		{"no life", newCA(t), usercert.User{UID: "rick", Domain: example, NotAfter: now}, now, usercert.ErrNoLife},
		{"no uid", newCA(t), usercert.User{Domain: example, NotAfter: later}, now, usercert.ErrUIDValue},
		{"no domain", foreign(t, lab.CAOptions{}), usercert.User{UID: "rick", NotAfter: later}, now, usercert.ErrNoDomain},
	} {
		if _, err := c.ca.Issue(c.user, c.now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := foreign(t, server).Issue(rick, now); !errors.Is(err, usercert.ErrCannotVouch) {
		t.Errorf("a CA that must not sign: %v", err)
	}
	constrained := newCA(t)
	constrained.Chain[0].PermittedDNSDomains = []string{"example.net", "example.com"} // as if it were so
	if _, err := constrained.Issue(rick, now); !errors.Is(err, usercert.ErrCannotVouch) {
		t.Errorf("constrained to other domains: %v", err)
	}
}

func TestParseCARefuses(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	key, err := ca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	user := issue(t, ca, usercert.User{UID: "rick", Domain: example, NotAfter: later})
	for _, c := range []struct {
		name       string
		certs, key []byte
		want       error
	}{
		{"key of another", other.CertPEM(), key, usercert.ErrMismatch},
		{"user", user.CertPEM(), key, usercert.ErrNoCA},
		{"no certificate", key, key, pemfile.ErrNoCertificate},
		{"no key", ca.CertPEM(), ca.CertPEM(), pemfile.ErrNoKey},
	} {
		if _, err := usercert.ParseCA(c.certs, c.key); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestPKCS12(t *testing.T) {
	pair := issue(t, newCA(t), usercert.User{UID: "rick", Domain: example, NotAfter: later})
	data, err := pair.PKCS12("sésame")
	if err != nil {
		t.Fatal(err)
	}
	key, leaf, issuers, err := pkcs12.DecodeChain(data, "sésame")
	if err != nil || !leaf.Equal(pair.Chain[0]) || len(issuers) != 1 || !issuers[0].Equal(pair.Chain[1]) {
		t.Fatalf("%v", err)
	}
	if !pair.Key.(*ecdsa.PrivateKey).Equal(key.(*ecdsa.PrivateKey)) {
		t.Error("another key")
	}
	if _, _, _, err := pkcs12.DecodeChain(data, "sesame"); err == nil {
		t.Error("opens with a wrong password")
	}
	if _, err := pair.PKCS12("\U0001F511"); err == nil {
		t.Error("a password that PKCS #12 cannot hold was taken")
	}
}
