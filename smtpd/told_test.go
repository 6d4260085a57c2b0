package smtpd

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dancemta/internal/crowd"
	"dancemta/internal/pattern"
	"dancemta/smtpd/policy"
	"dancemta/smtpd/proxy"
)

// A header of the PROXY protocol, version 2, for 192.0.2.7:4444 who reached
// 198.51.100.1:25, and its fields.
const (
	proxyHeader = "\r\n\r\n\x00\r\nQUIT\n\x21\x11"
	proxyPeer   = "\xc0\x00\x02\x07\xc6\x33\x64\x01\x11\x5c\x00\x19"
	// A verified certificate on this connection, TLS 1.3.
	verifiedTLS = "\x20\x00\x0f\x03\x00\x00\x00\x00\x21\x00\x07TLSv1.3"
)

func header(fields ...string) string {
	rest := proxyPeer + strings.Join(fields, "")
	return proxyHeader + string(binary.BigEndian.AppendUint16(nil, uint16(len(rest)))) + rest
}

func tells(kind byte, name string) string {
	return string([]byte{kind, 0, byte(len(name))}) + name
}

func networks(texts ...string) (ns []netip.Prefix) {
	for _, s := range texts {
		ns = append(ns, netip.MustParsePrefix(s))
	}
	return ns
}

// behindProxies has listeners behind proxies at 127.0.0.1, but for one.
func behindProxies(o *Options) {
	here := networks("127.0.0.0/8")
	identities := []pattern.Pattern{pattern.MustParse("*._device.partner.test"), pattern.MustParse("*@partner.test"), pattern.MustParse("_smtp-client.*.other.test")}
	believed := []proxy.Source{{Networks: here, Identities: identities}}
	o.Listeners = []Listener{
		{Name: "far", Kind: Relay, Proxies: []proxy.Source{{Networks: networks("10.0.0.0/24"), Identities: identities}}},
		{Name: "near", Kind: Relay, Proxies: []proxy.Source{{Networks: here}}},
		{Name: "told", Kind: Relay, Proxies: believed},
		{Name: "toldsub", Kind: Submission, Proxies: believed},
		{Name: "toldsubs", Kind: Submissions, ImplicitLogin: true, Proxies: believed},
	}
}

// through is a connection that a proxy begins with this header.
func through(t *testing.T, addr, header string) *dialog {
	t.Helper()
	d := dial(t, addr)
	if _, err := io.WriteString(d.conn, header); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *dialog) closedWithoutAWord(what string) {
	d.t.Helper()
	if b, _ := io.ReadAll(d.r); len(b) > 0 {
		d.t.Errorf("%s: %q", what, b)
	}
}

func TestNotIntroduced(t *testing.T) {
	w := newWorld(t, behindProxies)
	addrs := w.serve()
	for _, c := range []struct{ name, listener, header, detail string }{
		{"a stranger's header", "far", header(), "not from a network of the proxies"},
		{"a stranger's identity", "far", header(tells(0xE0, device), verifiedTLS), "not from a network of the proxies"},
		{"no header", "near", "EHLO peer.test\r\n", "bad header"},
		{"no header where identities are told", "told", "EHLO peer.test\r\n", "bad header"},
		{"two identities", "told", header(tells(0xE0, device), tells(0xE1, "rick@partner.test"), verifiedTLS), "more than one identity"},
		{"no TLS", "told", header(tells(0xE0, device)), "without a verified certificate"},
		{"upper case", "told", header(tells(0xE0, strings.ToUpper(device)), verifiedTLS), "normal form"},
		{"no rule", "told", header(tells(0xE0, "_smtp-client.mx.other.test"), verifiedTLS), "no rule allows"},
		{"a user where none log in", "told", header(tells(0xE1, "rick@partner.test"), verifiedTLS), "no rule allows"},
		{"a client among users", "toldsub", header(tells(0xE0, device), verifiedTLS), "no rule allows"},
	} {
		d := through(t, addrs[c.listener], c.header)
		d.closedWithoutAWord(c.name)
		waitFor(t, c.name, func() bool { return strings.Contains(w.log.String(), c.detail) })
		if strings.Contains(w.log.String(), "192.0.2.7") {
			t.Errorf("%s: the address in the header is believed: %s", c.name, w.log)
		}
	}
}

func TestProxiedAddress(t *testing.T) {
	w := newWorld(t, behindProxies)
	verified(w.verifier, start.Add(time.Hour))
	addr := w.serve()["near"]
	for _, h := range []string{header(tells(0xE0, device)), "PROXY TCP4 192.0.2.7 198.51.100.1 4444 25\r\n"} {
		d := through(t, addr, h)
		d.expect("", "220 ")
		d.expect("EHLO peer.test", "250")
		d.expect("STARTTLS", "220 ") // TLS goes through this proxy, and with it the certificate
		if err := d.secure(clientTLS(deviceCert())); err != nil {
			t.Fatal(err)
		}
		d.expect("EHLO peer.test", "250")
		if got := d.send("sensor7@partner.test", "a@remote.test", "Subject: x\r\n\r\nx"); !strings.HasPrefix(got, "250 ") {
			t.Fatal(got)
		}
	}
	for _, m := range w.queue.messages() {
		if m.Peer != "192.0.2.7" || m.Identity != device || !strings.Contains(m.body, "([192.0.2.7])\r\n\t(client dane "+device+")") {
			t.Errorf("peer %s, identity %s: %s", m.Peer, m.Identity, m.body)
		}
	}
	if log := w.log.String(); strings.Contains(log, "127.0.0.1") || !strings.Contains(log, "peer=192.0.2.7:4444") {
		t.Error(log)
	}
}

func TestToldClient(t *testing.T) {
	w := newWorld(t, behindProxies)
	d := through(t, w.serve()["told"], header(tells(0xE0, device), verifiedTLS)+"EHLO peer.test\r\n")
	d.expect("", "220 ")
	if ehlo := d.reply(); strings.Contains(ehlo, "STARTTLS") || strings.Contains(ehlo, "AUTH") {
		t.Errorf("offered: %q", ehlo)
	}
	d.expect("STARTTLS", "502 ")
	if got := d.send("sensor7@partner.test", "a@remote.test", "Subject: x\r\n\r\nx"); !strings.HasPrefix(got, "250 ") {
		t.Fatal(got)
	}
	d.expect("MAIL FROM:<a@stranger.test>", "250 ")
	d.expect("RCPT TO:<a@remote.test>", "553 5.7.1 ")
	m := w.queue.messages()[0]
	if m.Identity != device || !strings.Contains(m.body, "\t(client proxy "+device+")\r\n") || !strings.Contains(m.body, "with ESMTP id") {
		t.Errorf("%s: %s", m.Identity, m.body)
	}
	if log := w.log.String(); !strings.Contains(log, `msg="client authenticated"`) || !strings.Contains(log, "source=proxy") {
		t.Error(log)
	}
	if q := w.verifier.questions(); len(q) > 0 {
		t.Errorf("DNS was asked about %v", q)
	}
}

// TestToldUser: a user whom the proxy told logs in as one with a certificate does: by
// AUTH EXTERNAL, and where the listener lets him by MAIL alone.
func TestToldUser(t *testing.T) {
	told := header(tells(0xE1, "rick@partner.test"), verifiedTLS)
	for _, c := range []struct{ listener, auth, with string }{
		{"toldsub", "AUTH EXTERNAL =", "with ESMTPA id"},
		{"toldsubs", "AUTH EXTERNAL =", "with ESMTPA id"},
		{"toldsubs", "", "with ESMTP id"},
	} {
		w := newWorld(t, behindProxies)
		counts := &tallies{seen: map[string]int{}}
		w.opts.Counters = counts
		addr := w.serve()[c.listener]
		d := through(t, addr, told)
		d.expect("", "220 ")
		if ehlo := d.cmd("EHLO peer.test"); !strings.Contains(ehlo, "AUTH EXTERNAL") || strings.Contains(ehlo, "STARTTLS") || strings.Contains(ehlo, "PLAIN") {
			t.Errorf("offered: %q", ehlo)
		}
		if c.auth != "" {
			d.expect(c.auth, "235 2.7.0 ")
		}
		d.expect("MAIL FROM:<robin@partner.test>", "553 5.7.1 ")
		for range 2 {
			if got := d.send("rick@partner.test", "a@remote.test", "From: rick@partner.test\r\n\r\nx"); !strings.HasPrefix(got, "250 ") {
				t.Fatal(got)
			}
		}
		if m := w.queue.messages()[0]; m.Identity != "rick@partner.test" || !strings.Contains(m.body, c.with) {
			t.Errorf("identity %q: %s", m.Identity, m.body)
		}
		if log := w.log.String(); strings.Count(log, "msg=login ") != 1 || !strings.Contains(log, "how=proxy") || counts.seen["login proxy proved"] != 1 {
			t.Errorf("%v %s", counts.seen, log)
		}
		for _, nobody := range []string{header(), "PROXY UNKNOWN\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 4444 25\r\n",
			strings.Replace(told, "\x21\x11", "\x20\x11", 1)} { // LOCAL
			d := through(t, addr, nobody)
			d.expect("", "220 ")
			if ehlo := d.cmd("EHLO peer.test"); strings.Contains(ehlo, "AUTH") {
				t.Errorf("offered to nobody: %q", ehlo)
			}
			d.expect("AUTH EXTERNAL =", "504 5.5.4 ")
			d.expect("MAIL FROM:<rick@partner.test>", "530 5.7.0 ")
		}
		if q := w.verifier.questions(); len(q) > 0 {
			t.Errorf("DNS was asked about %v", q)
		}
	}
}

// TestToldUserMustAsk: without implicit_login nobody is logged in who has not asked for
// it, and by AUTH on a relay listener that takes users.
func TestToldUserMustAsk(t *testing.T) {
	told := header(tells(0xE1, "rick@partner.test"), verifiedTLS)
	for _, implicit := range []bool{false, true} {
		w := newWorld(t, behindProxies, func(o *Options) {
			for i := range o.Listeners {
				o.Listeners[i].ImplicitLogin = implicit
			}
		})
		o := standardRules()
		o.Rules[2].Listeners = []string{"told", "toldsub"}
		w.setRules(o)
		addrs := w.serve()
		d := through(t, addrs["toldsub"], told)
		d.expect("", "220 ")
		d.expect("EHLO peer.test", "250")
		d.expect("MAIL FROM:<rick@partner.test>", map[bool]string{false: "530 5.7.0 ", true: "250 "}[implicit])
		d = through(t, addrs["told"], told)
		d.expect("", "220 ")
		d.expect("EHLO peer.test", "250")
		d.expect("MAIL FROM:<rick@partner.test>", "250 ")
		d.expect("RCPT TO:<info@example.test>", "250 ") // ours: nobody asks who it is
		d.expect("RCPT TO:<a@remote.test>", map[bool]string{false: "550 5.7.1 ", true: "250 "}[implicit])
		d.expect("RSET", "250 ")
		d.expect("AUTH EXTERNAL =", "235 ")
		d.expect("MAIL FROM:<rick@partner.test>", "250 ")
		d.expect("RCPT TO:<a@remote.test>", "250 ")
	}
}

// TestToldAuthzid: who may act as whom is the same as with certificates.
func TestToldAuthzid(t *testing.T) {
	for _, c := range []struct{ user, authzid, want, as string }{
		{"robin@partner.test", "", "235", "robin@partner.test"},
		{"robin@partner.test", "robin@partner.test", "235", "robin@partner.test"},
		{"robin@partner.test", "rick@partner.test", "235", "rick@partner.test"}, // by an explicit rule
		{"rick@partner.test", "robin@partner.test", "535 5.7.8", ""},
		{"rick@partner.test", "rick+x@partner.test", "535 5.7.8", ""},
		{"rick@partner.test", "nonsense", "501 5.5.4", ""},
	} {
		w := newWorld(t, behindProxies)
		d := through(t, w.serve()["toldsub"], header(tells(0xE1, c.user), verifiedTLS))
		d.expect("", "220 ")
		d.expect("EHLO peer.test", "250")
		text := "="
		if c.authzid != "" {
			text = base64.StdEncoding.EncodeToString([]byte(c.authzid))
		}
		d.expect("AUTH EXTERNAL "+text, c.want)
		if c.as == "" {
			d.expect("MAIL FROM:<"+c.user+">", "530 5.7.0 ")
			continue
		}
		d.expect("MAIL FROM:<"+c.as+">", "250 ")
		d.expect("RSET", "250 ")
		if c.as != c.user {
			d.expect("MAIL FROM:<"+c.user+">", "553 5.7.1 ")
			if log := w.log.String(); !strings.Contains(log, "identity="+c.as+" authenticated="+c.user+" how=proxy") {
				t.Error(log)
			}
		}
	}
}

// TestToldProof: rules see how he was proved.
func TestToldProof(t *testing.T) {
	for proof, want := range map[policy.Proof]string{policy.ByProxy: "235", policy.ByCertificate: ""} {
		w := newWorld(t, behindProxies)
		o := standardRules()
		o.Rules[2].Proved = []policy.Proof{proof}
		w.setRules(o)
		d := through(t, w.serve()["toldsub"], header(tells(0xE1, "rick@partner.test"), verifiedTLS))
		if want == "" {
			if greeting, err := d.r.ReadString('\n'); err == nil && strings.HasPrefix(greeting, "220 ") {
				d.expect("EHLO peer.test", "250")
				d.expect("AUTH EXTERNAL =", "535 5.7.8 ")
			}
			continue
		}
		d.expect("", "220 ")
		d.expect("EHLO peer.test", "250")
		d.expect("AUTH EXTERNAL =", want)
	}
}

// TestToldTooLong: what a proxy told is good for an hour, and then the peer must come anew.
func TestToldTooLong(t *testing.T) {
	for _, c := range []struct{ listener, header, sender string }{
		{"told", header(tells(0xE0, device), verifiedTLS), "sensor7@partner.test"},
		{"toldsubs", header(tells(0xE1, "rick@partner.test"), verifiedTLS), "rick@partner.test"},
	} {
		w := newWorld(t, behindProxies)
		d := through(t, w.serve()[c.listener], c.header)
		d.expect("", "220 ")
		d.expect("EHLO peer.test", "250")
		w.setClock(start.Add(toldTime - time.Second))
		if got := d.send(c.sender, "a@remote.test", "From: "+c.sender+"\r\n\r\nx"); !strings.HasPrefix(got, "250 ") {
			t.Fatal(got)
		}
		w.setClock(start.Add(toldTime))
		if got := d.cmd("MAIL FROM:<" + c.sender + ">"); strings.HasPrefix(got, "250 ") {
			got = d.cmd("RCPT TO:<a@remote.test>")
			d.expect("RSET", "250 ")
			if !strings.HasPrefix(got, "451 4.7.5 ") {
				t.Errorf("%s: %s", c.listener, got)
			}
		} else if !strings.HasPrefix(got, "451 4.7.5 ") {
			t.Errorf("%s: %s", c.listener, got)
		}
	}
}

// TestToldTooLongForAuth: nor does he log in anew then, and hears that it may be better later.
func TestToldTooLongForAuth(t *testing.T) {
	w := newWorld(t, behindProxies)
	d := through(t, w.serve()["toldsub"], header(tells(0xE1, "rick@partner.test"), verifiedTLS))
	d.expect("", "220 ")
	d.expect("EHLO peer.test", "250")
	w.setClock(start.Add(toldTime))
	d.expect("AUTH EXTERNAL =", "454 4.7.0 ")
}

// TestToldAndRulesChange: a reload takes effect on what was told before.
func TestToldAndRulesChange(t *testing.T) {
	w := newWorld(t, behindProxies)
	d := through(t, w.serve()["toldsub"], header(tells(0xE1, "rick@partner.test"), verifiedTLS))
	d.expect("", "220 ")
	d.expect("EHLO peer.test", "250")
	d.expect("AUTH EXTERNAL =", "235 ")
	d.expect("MAIL FROM:<rick@partner.test>", "250 ")
	d.expect("RSET", "250 ")
	o := standardRules()
	o.Rules = o.Rules[:2]
	w.setRules(o)
	d.expect("MAIL FROM:<rick@partner.test>", "530 5.7.0 ")
	w.setRules(standardRules())
	d.expect("MAIL FROM:<rick@partner.test>", "250 ")
}

// TestProxiedPeersAreCounted: each peer has its own places, however many share a proxy.
func TestProxiedPeersAreCounted(t *testing.T) {
	w := newWorld(t, behindProxies, func(o *Options) { o.Crowd = crowd.New(crowd.Options{PerAddress: 1}) })
	addr := w.serve()["near"]
	through(t, addr, "PROXY TCP4 192.0.2.7 198.51.100.1 4444 25\r\n").expect("", "220 ")
	through(t, addr, "PROXY TCP4 192.0.2.7 198.51.100.1 4445 25\r\n").expect("", "421 4.7.0 ")
	through(t, addr, "PROXY TCP4 192.0.2.8 198.51.100.1 4444 25\r\n").expect("", "220 ")
}

func TestBelievingListenersRefuseCertificates(t *testing.T) {
	o := newWorld(t, behindProxies).opts
	o.Listeners[2].ClientCertificates = Require
	if _, err := New(o); err == nil {
		t.Error("certificates are required where the proxy ends TLS")
	}
	o = newWorld(t, behindProxies).opts
	o.Certificate, o.Listeners = nil, o.Listeners[2:]
	if _, err := New(o); err != nil {
		t.Errorf("no certificate of ours is needed: %v", err)
	}
}
