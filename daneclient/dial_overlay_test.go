//go:build dane_clientid

package daneclient_test

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"testing"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// A server that asks is told the name, one that does not is not; another number
// is another extension.
func TestDialTellsName(t *testing.T) {
	w, r := dialWorld(t)
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"x.srv.test"}})
	me := lab.SelfSigned(lab.LeafOptions{}).TLSCertificate()
	w.Zone("srv.test").Add("x A 127.0.0.1")
	for _, test := range []struct {
		asks, tells uint16
		want        string
	}{
		{clientid.DefaultType, 0, device},
		{0, 0, ""},
		{0xFFDD, 0, ""},
		{0xFFDD, 0xFFDD, device},
	} {
		port, serve := listen(t)
		w.Zone("srv.test").Add(fmt.Sprintf("_%s._tcp.x %s", port, lab.TLSA(3, 1, 1, own.Leaf())))
		config := serving(own)
		config.ClientAuth, config.SessionTicketsDisabled = tls.RequestClientCert, true
		if test.asks != 0 {
			if err := clientid.Request(config, test.asks, nil); err != nil {
				t.Fatal(err)
			}
		}
		names := make(chan string, 1)
		serve(config, func(conn *tls.Conn) {
			cred, _ := daneclient.Sources{Extension: test.asks}.Credential(conn.ConnectionState(), netip.Addr{})
			names <- cred.Name.String()
		})
		err := hello(t, "x.srv.test:"+port, daneclient.DialOptions{ServerOptions: daneclient.ServerOptions{
			Resolver: r, Certificate: &me, ClientName: dnsname.MustParse(device), Extension: test.tells,
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := <-names; got != test.want {
			t.Errorf("asked for %#x: told %q, want %q", test.asks, got, test.want)
		}
	}
}
