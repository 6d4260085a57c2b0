package deliver

import (
	"crypto/x509"
	"errors"
	"testing"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// The right name and an unknown CA: the reason is the CA, not that the certificate
// does not hold the domain's name, too.
func TestReasonOfTheClosestName(t *testing.T) {
	cert := lab.NewCA("strange", lab.CAOptions{}).Issue(lab.LeafOptions{Names: []string{"mx.h.test"}})
	host, domain := dnsname.MustParse("mx.h.test"), dnsname.MustParse("h.test")
	for _, names := range [][]dnsname.Name{{host, domain}, {domain, host}, {host}} {
		dem := demand{names: names, roots: x509.NewCertPool()}
		err := dem.verifyPKIX(cert.Chain)
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
			t.Errorf("%v: %v", names, err)
		}
	}
	dem := demand{names: []dnsname.Name{domain}, roots: x509.NewCertPool()}
	if _, ok := errors.AsType[x509.HostnameError](dem.verifyPKIX(cert.Chain)); !ok {
		t.Error("another name is no fault")
	}
}
