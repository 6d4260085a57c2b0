package smtpd

import (
	"strings"
	"testing"
	"time"

	"dancemta/daneclient"
)

// TestThreeTries: who fails to log in has three tries on a connection, and may begin
// to send between them; then it ends (RFC 4954 9). Trouble of DNS is nobody's failure.
func TestThreeTries(t *testing.T) {
	w := newWorld(t)
	refused(w.verifier, daneclient.NoMatch)
	addr := w.serve()["sub"]
	d := openTLS(t, addr, userCert("rick"))
	for range 2 {
		d.expect("AUTH EXTERNAL =", "535 5.7.8 ")
		d.expect("MAIL FROM:<rick@partner.test>", "530 5.7.0 ")
	}
	d.expect("AUTH EXTERNAL =", "535 5.7.8 ")
	d.expect("", "421 4.7.0 Too many errors")
	d.expect("", "! ")

	refused(w.verifier, daneclient.FailedDNS)
	d = openTLS(t, addr, userCert("rick"))
	for range 5 {
		d.expect("AUTH EXTERNAL =", "454 4.7.0 ")
	}
	verified(w.verifier, start.Add(time.Hour))
	d.expect("AUTH EXTERNAL =", "235 2.7.0 ")

	refused(w.verifier, daneclient.NoMatch) // the third may be the one that works
	d = openTLS(t, addr, userCert("eve"))
	d.expect("AUTH EXTERNAL =", "535 5.7.8 ")
	d.expect("AUTH EXTERNAL =", "535 5.7.8 ")
	verified(w.verifier, start.Add(time.Hour))
	d.expect("AUTH EXTERNAL =", "235 2.7.0 ")
}

// TestMechanisms: behind a certificate EXTERNAL is all there is, in clear and without
// one there is none; by explicit and by implicit login alike, and only where users are
// taken.
func TestMechanisms(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	addrs := w.serve()
	for _, c := range []struct{ listener, want string }{{"sub", "AUTH EXTERNAL"}, {"mx", ""}} {
		d := openTLS(t, addrs[c.listener], userCert("rick"))
		got := ""
		for line := range strings.SplitSeq(d.cmd("EHLO peer.test"), "\n") {
			if len(line) > 4 && strings.HasPrefix(line[4:], "AUTH") {
				got += strings.TrimSpace(line[4:])
			}
		}
		if got != c.want {
			t.Errorf("%s offers %q, want %q", c.listener, got, c.want)
		}
	}
}

// TestImplicitPerListener: a certificate alone logs in where the listener says so, and
// nowhere else.
func TestImplicitPerListener(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	for listener, want := range map[string]string{"sub": "530 5.7.0", "subs": "250"} {
		k := w.talk(listener, userPeer("rick"))
		k.expect(listener+": MAIL", k.mail("rick@partner.test"), want)
		k.Reset()
		k.expect(listener+": AUTH", k.auth(""), map[string]string{"sub": "235", "subs": "503 5.5.1"}[listener])
		k.expect(listener+": MAIL after AUTH", k.mail("rick@partner.test"), "250")
	}
}
