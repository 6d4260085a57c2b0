//go:build dane_clientid

package smtpd

import (
	"crypto/tls"
	"strings"
	"testing"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/internal/lab"
)

var extensionListeners = func() []Listener {
	both := daneclient.Sources{Extension: clientid.DefaultType, Certificate: true}
	only := daneclient.Sources{Extension: clientid.DefaultType}
	return []Listener{
		{Name: "mx", Kind: Relay, Names: both},
		{Name: "abort", Kind: Relay, Names: both, Abort: true},
		{Name: "only", Kind: Relay, Names: only},
		{Name: "strict", Kind: Relay, ClientCertificates: Require, Names: only},
		{Name: "proved", Kind: Relay, ClientCertificates: Require, Names: both, Abort: true},
		{Name: "sub", Kind: Submission, Names: both},
	}
}()

// toldBy is a client's certificate with the octets of its answer.
func toldBy(c *lab.Client, data ...string) *tls.Certificate {
	cert := c.TLSCertificate()
	for _, d := range data {
		cert.Extensions = append(cert.Extensions, tls.Extension{Type: clientid.DefaultType, Data: []byte(d)})
	}
	return &cert
}

// name is a ClientName in its encoding.
func name(s string) string { return string(rune(len(s))) + s }

// What client-auth 8.2 says, row by row, to a whole server with real DNS. A late
// alert reaches the client with its first read.
func TestNamesToldInTheHandshake(t *testing.T) {
	n := internet(t)
	w := labWorld(t, n, n.DNS.Addr(), func(o *Options) { o.Listeners = extensionListeners })
	addrs := w.serve()
	random := n.NewRandom()
	const (
		mta     = "_smtp-client.mta.partner.test"
		failure = "handshake failure"
	)
	for _, c := range []struct {
		name, listener string
		cert           *tls.Certificate
		want           string // the alert, or the reply to RCPT or AUTH
	}{
		{"a device, usage 3", "mx", toldBy(&n.Device, name(n.Device.Owner)), "250 "},
		{"nothing else counts", "only", toldBy(&n.Device, name(n.Device.Owner)), "250 "},
		{"required", "strict", toldBy(&n.Device, name(n.Device.Owner)), "250 "},
		{"in upper case", "abort", toldBy(&n.Device, name(strings.ToUpper(n.Device.Owner))), "250 "},
		{"a user", "sub", toldBy(&n.Rick, name("_user.partner.test")), "235 "},

		{"no name, the certificate speaks", "mx", toldBy(&n.MTA), "250 "},
		{"no name, where failures abort", "abort", toldBy(&n.MTA), "250 "},
		{"no name, a certificate that proves nothing, where failures abort", "abort", toldBy(&n.Wrong), "550 5.7.1 "},
		{"no name, the certificate does not count", "only", toldBy(&n.MTA), "550 5.7.1 "},
		{"no name, where nothing else counts and one is required", "strict", toldBy(&n.MTA), failure},
		{"no name, and an identity is required", "proved", toldBy(&n.MTA), "250 "},
		{"a certificate without identity, and one is required", "proved", toldBy(&n.Wrong), failure},

		{"zero length", "mx", toldBy(&n.Device, "\x00"), failure},
		{"no octets", "mx", toldBy(&n.Device, ""), failure},
		{"length too large", "mx", toldBy(&n.Device, "\x40short"), "error decoding message"},
		{"trailing octets", "mx", toldBy(&n.Device, name(n.Device.Owner)+"x"), "error decoding message"},
		{"twice", "mx", toldBy(&n.Device, name(n.Device.Owner), name(n.Device.Owner)), "illegal parameter"},
		{"outside the alphabet", "mx", toldBy(&n.Device, name("a b.test")), "550 5.7.1 "},
		{"outside the alphabet, aborting", "abort", toldBy(&n.Device, name("a b.test")), failure},

		{"no rule", "mx", toldBy(&random, name(random.Owner)), "550 5.7.1 "},
		{"no rule, aborting", "abort", toldBy(&random, name(random.Owner)), failure},
		{"wrong key", "mx", toldBy(&n.Wrong, name(n.Device.Owner)), "550 5.7.1 "},
		{"wrong key, aborting", "abort", toldBy(&n.Wrong, name(n.Device.Owner)), failure},
		{"unsigned zone", "mx", toldBy(&n.Unsigned, name(n.Unsigned.Owner)), "550 5.7.1 "},
		{"unsigned zone, aborting", "abort", toldBy(&n.Unsigned, name(n.Unsigned.Owner)), failure},
		{"bogus zone", "mx", toldBy(&n.Bogus, name(n.Bogus.Owner)), "451 4.7.5 "},
		{"bogus zone, aborting", "abort", toldBy(&n.Bogus, name(n.Bogus.Owner)), failure},
		{"refused, though the certificate names a client", "mx", toldBy(&n.Device, name("x._device.partner.test")), "550 5.7.1 "},

		// The certificate is mta.partner.test's: it was not made for this name.
		{"usage 2 and another name", "mx", toldBy(&n.MTA, name(mta)), failure},
		{"a user of another domain", "sub", toldBy(&n.Rick, name("_user.ee.test")), failure},
		{"a user by usage 3", "sub", toldBy(&n.Eve, name("_user.ee.test")), "535 5.7.8 "},
		{"a user's certificate under a client's name", "sub", toldBy(&n.Rick, name(n.Device.Owner)), "535 5.7.8 "},
		// Nobody has proved anything here: an alert would tell which users rules allow.
		{"a user whom rules allow, under a name that is never a client's", "mx", toldBy(&n.Rick, name("_25._tcp.partner.test")), "550 5.7.1 "},
		{"the same, logging in", "sub", toldBy(&n.Rick, name("x._user.partner.test")), "535 5.7.8 "},
	} {
		if got := outcome(t, addrs[c.listener], c.listener, c.cert); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	for _, want := range []string{ // where there was no session to write them
		`listener=abort`, `reply="TLS alert 40 (handshake failure)"`,
		`would_match="` + n.Device.Owner + ". 3600 IN " + lab.TLSA(3, 1, 1, n.Wrong.Leaf()) + `" explain="dancemta explain client ` + n.Device.Owner + ` --listener abort"`,
	} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("no %s in the log", want)
		}
	}
	if n.DNS.Asked(random.Owner) {
		t.Error("DNS was asked for a name that no rule allows")
	}
}

// outcome is what the peer reads: an alert, or the reply that shows whether it
// has an identity.
func outcome(t *testing.T, addr, listener string, cert *tls.Certificate) string {
	t.Helper()
	d := open(t, addr)
	d.expect("EHLO peer.test", "250")
	d.expect("STARTTLS", "220 ")
	if err := d.secure(clientTLS(cert)); err != nil {
		return err.Error()
	}
	if got := d.cmd("EHLO peer.test"); !strings.HasPrefix(got, "250") {
		return got
	}
	if listener == "sub" {
		return d.cmd("AUTH EXTERNAL =")
	}
	d.expect("MAIL FROM:<a@partner.test>", "250 ")
	return d.cmd("RCPT TO:<a@remote.test>")
}

func TestCountsOfWhoIsAborted(t *testing.T) {
	n := internet(t)
	c := &tallies{seen: map[string]int{}}
	w := labWorld(t, n, n.DNS.Addr(), func(o *Options) { o.Listeners, o.Counters = extensionListeners, c })
	got := outcome(t, w.serve()["abort"], "abort", toldBy(&n.Wrong, name(n.Device.Owner)))
	if want := "handshake failure"; !strings.Contains(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := c.seen["client extension no-match"]; got != 1 {
		t.Errorf("counted %v, want one client extension no-match", c.seen)
	}
}
