package tlsa_test

import (
	"crypto/x509"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/lab"
)

var abc = tlsa.Entry{Owner: "sensor7._device.example.org", TTL: 3600, Record: tlsa.Record{Usage: 3, Selector: 1, Matching: 1, Data: []byte{0xab, 0xc0}}}

func TestEntry(t *testing.T) {
	if got, want := abc.String(), "sensor7._device.example.org. 3600 IN TLSA 3 1 1 abc0"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := abc.Update(), "update add sensor7._device.example.org. 3600 IN TLSA 3 1 1 abc0"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestZoneText(t *testing.T) {
	z := tlsa.Zone{
		Name: "_device.example.org", Hostmaster: "hostmaster.example.org", Serial: 7, TTL: 600,
		Servers: []tlsa.NameServer{
			{Name: "ns.example.net", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.9")}}, // not ours to say
			{Name: "ns._device.example.org", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}},
		},
		Entries: []tlsa.Entry{abc},
	}
	const want = `_device.example.org. 600 IN SOA ns.example.net. hostmaster.example.org. 7 7200 900 1209600 300
_device.example.org. 600 IN NS ns.example.net.
_device.example.org. 600 IN NS ns._device.example.org.
ns._device.example.org. 600 IN A 192.0.2.1
ns._device.example.org. 600 IN AAAA 2001:db8::1
sensor7._device.example.org. 3600 IN TLSA 3 1 1 abc0
`
	if got, err := z.Text(); err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
	for name, c := range map[string]struct {
		change func(*tlsa.Zone)
		want   error
	}{
		"no server":       {func(z *tlsa.Zone) { z.Servers = nil }, tlsa.ErrNoNS},
		"no address":      {func(z *tlsa.Zone) { z.Servers = []tlsa.NameServer{{Name: "ns._device.example.org"}} }, tlsa.ErrNoGlue},
		"record outside":  {func(z *tlsa.Zone) { z.Name = "_device.example.net" }, tlsa.ErrOutside},
		"longer by text":  {func(z *tlsa.Zone) { z.Name = "e._device.example.org" }, tlsa.ErrOutside},
		"suffix of label": {func(z *tlsa.Zone) { z.Name = "vice.example.org" }, tlsa.ErrOutside},
	} {
		other := z
		other.Servers = []tlsa.NameServer{{Name: "ns.example.net"}}
		c.change(&other)
		if text, err := other.Text(); !errors.Is(err, c.want) || text != "" {
			t.Errorf("%s: %v, %q", name, err, text)
		}
	}
}

func TestMakeKey(t *testing.T) {
	cert := lab.SelfSigned(lab.LeafOptions{Names: []string{"a.test"}}).Leaf()
	for _, matching := range []uint8{0, 1, 2} {
		want, err := tlsa.Make(3, 1, matching, cert)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tlsa.MakeKey(3, matching, cert.RawSubjectPublicKeyInfo); err != nil || got.String() != want.String() {
			t.Errorf("3 1 %d: %v, %v; want %v", matching, got, err, want)
		}
	}
	if _, err := tlsa.MakeKey(3, 1, nil); err == nil {
		t.Error("no key made a record")
	}
}

func TestAnchorProblem(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		cert *x509.Certificate
		now  time.Time
		want string
	}{
		"good":    {lab.NewCA("ca", lab.CAOptions{}).Certificate, now, ""},
		"leaf":    {lab.SelfSigned(lab.LeafOptions{}).Leaf(), now, "no CA"},
		"no sign": {lab.NewCA("ca", lab.CAOptions{KeyUsage: x509.KeyUsageCRLSign}).Certificate, now, "must not sign"},
		"expired": {lab.NewCA("ca", lab.CAOptions{}).Certificate, now.AddDate(1, 0, 0), "expired"},
	} {
		got := tlsa.AnchorProblem(c.cert, c.now)
		if got != c.want && (c.want == "" || !strings.Contains(got, c.want)) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
