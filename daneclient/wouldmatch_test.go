package daneclient

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/lab"
)

// What is advised does match; where nothing would, the reason is told.
func TestWouldMatch(t *testing.T) {
	now := time.Now()
	ca := lab.NewCA("ca", lab.CAOptions{})
	past := lab.NewCA("past", lab.CAOptions{NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)})
	device := lab.SelfSigned(lab.LeafOptions{Names: []string{"sensor7._device.example.org"}})
	rick := lab.LeafOptions{Names: []string{"example.org"}, UIDs: []string{"rick"}}
	owner := func(o Owner, err error) Owner {
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	machine := owner(FreeOwner(name("sensor7._device.example.org")))
	users := owner(UserOwner(name("example.org")))
	sha512 := lab.TLSA(3, 1, 2, device.Leaf())
	beside := []tlsa.Finding{{Record: tlsa.Record{Usage: 3, Selector: 1, Matching: 2, Data: make([]byte, 64)}, Usable: true}}
	unusable := []tlsa.Finding{{Record: tlsa.Record{Usage: 3, Selector: 1, Matching: 2, Data: make([]byte, 9)}}}
	for _, c := range []struct {
		what      string
		owner     Owner
		chain     []*x509.Certificate
		published []tlsa.Finding
		want      string // of the record; "" for none
		why       string
	}{
		{"a device", machine, device.Chain, nil, lab.TLSA(3, 1, 1, device.Leaf()), ""},
		{"beside a stronger digest", machine, device.Chain, beside, sha512, ""},
		{"beside one that does not count", machine, device.Chain, unusable, lab.TLSA(3, 1, 1, device.Leaf()), ""},
		{"a user", users, ca.Issue(rick).Chain, nil, lab.TLSA(2, 0, 1, ca.Certificate), ""},
		{"a user without the CA", users, ca.Issue(rick).Chain[:1], nil, "", "no CA"},
		{"a user of a CA that is over", users, past.Issue(rick).Chain, nil, "", "expired"},
		{"a user of another domain", users, ca.Issue(lab.LeafOptions{Names: []string{"example.net"}, UIDs: []string{"rick"}}).Chain, nil, "", "does not hold the dNSName"},
		{"no chain", machine, nil, nil, "", "no-certificate"},
		{"no owner", Owner{}, device.Chain, nil, "", "not a name"},
		{"all devices", owner(AnyDeviceOwner(name("example.org"))), device.Chain, nil, "", "not a name"},
		{"a server", owner(ServerOwner(name("mx.example.org"), 25)), device.Chain, nil, "", "not a name"},
	} {
		got, err := c.owner.WouldMatch(c.chain, c.published, now)
		switch {
		case c.want == "" && (err == nil || !strings.Contains(err.Error(), c.why)):
			t.Errorf("%s: %v, %v; want an error with %q", c.what, got, err, c.why)
		case c.want != "" && (err != nil || got.String() != c.owner.String()+". 3600 IN "+c.want):
			t.Errorf("%s: %v, %v; want %s", c.what, got, err, c.want)
		}
	}
}
