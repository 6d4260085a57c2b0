package smtpd

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/limit"
	"dancemta/internal/pattern"
	"dancemta/saslext"
	"dancemta/smtpd/policy"
)

// fakePasswords knows one password of every user, and none of nobody@staff.test.
type fakePasswords struct {
	mu     sync.Mutex
	err    error
	panics bool
	asked  []string
}

func (f *fakePasswords) CheckPassword(_ context.Context, id saslext.Identity, p saslext.Password) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, id.ASCIIDomain())
	switch {
	case f.panics:
		panic(p)
	case f.err != nil:
		return f.err
	case p.Reveal() != "korrekt7" || id.UID == "nobody":
		return saslext.ErrPassword
	}
	return nil
}

func (f *fakePasswords) set(err error, panics bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.panics = err, panics
}

// withPasswords is a world where users of staff.test have passwords.
func withPasswords(t *testing.T, p Passwords) (*world, *fakePasswords) {
	f := &fakePasswords{}
	p.Checker = f
	if p.Domains == nil {
		p.Domains = map[dnsname.Name]bool{dnsname.MustParse("staff.test"): true}
	}
	w := newWorld(t, func(o *Options) { o.Passwords = p })
	o := standardRules()
	o.Rules = append(o.Rules, policy.Rule{Who: pattern.MustParse("*@staff.test"), Allow: true, Proved: []policy.Proof{policy.ByPassword}, Line: 20},
		policy.Rule{Who: pattern.MustParse("out@staff.test"), Line: 21})
	o.Authzid = append(o.Authzid, policy.Authzid{From: pattern.MustParse("robin@staff.test"), To: pattern.MustParse("rick@staff.test"), Line: 22})
	w.setRules(o)
	return w, f
}

func plain(authzid, authcid, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(authzid + "\x00" + authcid + "\x00" + password))
}

var rightPlain = "AUTH PLAIN " + plain("", "rick@staff.test", "korrekt7")

// offers is what EHLO says of AUTH.
func offers(d *dialog) string {
	for line := range strings.SplitSeq(d.cmd("EHLO peer.test"), "\n") {
		if len(line) > 4 && strings.HasPrefix(line[4:], "AUTH") {
			return strings.TrimSpace(line[4:])
		}
	}
	return ""
}

// TestPlainIsOffered: under TLS, to those who submit, where no certificate names a user,
// and where users have passwords at all.
func TestPlainIsOffered(t *testing.T) {
	w, _ := withPasswords(t, Passwords{})
	verified(w.verifier, start.Add(time.Hour))
	addrs := w.serve()
	d := open(t, addrs["sub"])
	if got := offers(d); got != "" {
		t.Errorf("in clear %q is offered", got)
	}
	d.expect(rightPlain, "530 5.7.0 Must issue a STARTTLS")
	d = open(t, addrs["mx"])
	d.expect("EHLO peer.test", "250")
	d.expect(rightPlain, "504 5.5.4 ")
	for _, c := range []struct {
		listener string
		user     string
		want     string
	}{{"sub", "", "AUTH PLAIN"}, {"sub", "rick", "AUTH EXTERNAL"}, {"mx", "", ""}, {"mx", "rick", ""}, {"strict", "rick", ""}} {
		var d *dialog
		if c.user == "" {
			d = openTLS(t, addrs[c.listener], nil)
		} else {
			d = openTLS(t, addrs[c.listener], userCert(c.user))
		}
		if got := offers(d); got != c.want {
			t.Errorf("%s, certificate of %q: %q is offered, want %q", c.listener, c.user, got, c.want)
		}
		if !strings.Contains(c.want, "PLAIN") {
			d.expect(rightPlain, "504 5.5.4 ")
		}
		d.expect("AUTH LOGIN", "504 5.5.4 ")
		d.expect("AUTH LOGIN cmljaw==", "504 5.5.4 ")
	}

	// The wire lets no AUTH through in clear; the session would not, either.
	if got := w.talk("sub", plainPeer()).AuthMechanisms(); len(got) > 0 {
		t.Errorf("in clear the session offers %q", got)
	}

	none := newWorld(t)
	verified(none.verifier, start.Add(time.Hour))
	d = openTLS(t, none.serve()["sub"], nil)
	if got := offers(d); got != "" {
		t.Errorf("without passwords %q is offered", got)
	}
	d.expect(rightPlain, "504 5.5.4 ")
}

// TestPlainBesideAMachine: a certificate that names no user leaves both ways open.
func TestPlainBesideAMachine(t *testing.T) {
	w, _ := withPasswords(t, Passwords{})
	k := w.talk("sub", clientPeer(device))
	if got := strings.Join(k.AuthMechanisms(), " "); got != "EXTERNAL PLAIN" {
		t.Errorf("%q", got)
	}
}

// TestPlainDialog: both forms, and what follows.
func TestPlainDialog(t *testing.T) {
	w, _ := withPasswords(t, Passwords{})
	addr := w.serve()["subs"]
	for _, c := range []struct{ name, command, response string }{
		{"initial response", rightPlain, ""},
		{"challenge", "AUTH PLAIN", plain("", "rick@staff.test", "korrekt7")},
		{"own authzid", "AUTH PLAIN " + plain("rick@staff.test", "RICK@staff.test", "korrekt7"), ""},
		{"authzid by a rule", "AUTH PLAIN " + plain("rick@staff.test", "robin@staff.test", "korrekt7"), ""},
	} {
		d := openImplicit(t, addr)
		if c.response == "" {
			d.expect(c.command, "235 2.7.0 ")
		} else {
			d.expect(c.command, "334 ")
			d.expect(c.response, "235 2.7.0 ")
		}
		d.expect(rightPlain, "503 ")
		d.expect("MAIL FROM:<boss@staff.test>", "553 5.7.1 This sender address is not for rick@staff.test")
		d.expect("MAIL FROM:<rick@staff.test>", "250 ")
		d.expect("RCPT TO:<ann@remote.test>", "250 ")
		d.expect("DATA", "354 ")
		d.expect("From: rick@staff.test\r\nSubject: "+c.name+"\r\n\r\nHello\r\n.", "250 ")
	}
	all := w.queue.messages()
	if len(all) != 4 || !strings.Contains(all[0].body, "with ESMTPSA") || all[0].Identity != "rick@staff.test" {
		t.Errorf("queued are %v", all)
	}
	if log := w.log.String(); !strings.Contains(log, "how=plain") || strings.Contains(log, "korrekt7") || strings.Contains(log, plain("", "rick@staff.test", "korrekt7")) {
		t.Errorf("the log is %s", log)
	}
}

// TestPlainRefusals: one text for all that differs between users, and the right class
// for each cause.
func TestPlainRefusals(t *testing.T) {
	w, f := withPasswords(t, Passwords{})
	addr := w.serve()["subs"]
	const refused = "535 5.7.8 Authentication failed"
	for _, c := range []struct{ message, want string }{
		{plain("", "rick@staff.test", "wrong"), refused},
		{plain("", "nobody@staff.test", "korrekt7"), refused},
		{plain("", "out@staff.test", "korrekt7"), refused},
		{plain("", "rick@staff.test", ""), refused},
		{plain("", "rick", "korrekt7"), refused},
		{plain("eve@staff.test", "rick@staff.test", "korrekt7"), refused},
		{plain("", "rick@partner.test", "korrekt7"), "534 5.7.9 Users of this domain have no passwords here"},
		{plain("", "nobody@elsewhere.test", "korrekt7"), "534 5.7.9 Users of this domain have no passwords here"},
		{plain("u:rick@staff.test", "rick@staff.test", "korrekt7"), "501 5.5.4 Authorization identity is malformed"},
		{plain("", "rick@staff.test", "korr\x00ekt7"), "501 5.5.4 Malformed message of the mechanism"},
		{base64.StdEncoding.EncodeToString([]byte("rick")), "501 5.5.4 Malformed message of the mechanism"},
		{"=", "501 5.5.4 Malformed message of the mechanism"},
		{plain("", "rick@staff.test", strings.Repeat("x", 2000)), refused},
		{plain("", "rick@staff.test", strings.Repeat("x", 6000)), "501 5.5.4 Malformed message of the mechanism"},
		{"*", "501 "}, {"%%%", "501 5.5.2 "},
	} {
		d := openImplicit(t, addr)
		d.expect("AUTH PLAIN", "334 ")
		if got := cut(d.cmd(c.message)); !strings.HasPrefix(got, c.want) || len(c.want) > 10 && got != c.want {
			t.Errorf("%.40s: %q, want %q", c.message, got, c.want)
		}
		d.expect("MAIL FROM:<rick@staff.test>", "530 5.7.0 ")
	}
	f.set(errors.New("ldap://secret.example is away"), false)
	d := openImplicit(t, addr)
	for range 4 { // and it is nobody's failure
		if got := cut(d.cmd(rightPlain)); got != "454 4.7.0 Temporary authentication failure" {
			t.Errorf("trouble: %q", got)
		}
	}
	f.set(nil, true)
	if got := cut(d.cmd(rightPlain)); got != "454 4.7.0 Temporary authentication failure" {
		t.Errorf("panic: %q", got)
	}
	f.set(nil, false)
	d.expect(rightPlain, "235 ")
	if log := w.log.String(); strings.Contains(log, "korrekt7") || !strings.Contains(log, "reason=bad-password") || !strings.Contains(log, "reason=unchecked") || !strings.Contains(log, "panic in AUTH") {
		t.Errorf("the log is %s", log)
	}
}

// TestPlainThreeTries: then 421 (RFC 4954 9).
func TestPlainThreeTries(t *testing.T) {
	w, _ := withPasswords(t, Passwords{})
	d := openImplicit(t, w.serve()["subs"])
	for range 3 {
		d.expect("AUTH PLAIN "+plain("", "rick@staff.test", "wrong"), "535 5.7.8 ")
	}
	d.expect("", "421 4.7.0 ")
	d.expect("", "! ")
}

// TestPlainRates: so many tries of one user, wherever they come from, and of one
// address, whomever they are for; more get 454, right ones too, and nobody is asked.
func TestPlainRates(t *testing.T) {
	w, f := withPasswords(t, Passwords{PerUser: limit.Rate{N: 2, Per: time.Minute}, PerAddress: limit.Rate{N: 5, Per: time.Minute}})
	try := func(who, password string) string {
		k := w.talk("sub", tlsPeer())
		server, err := k.Auth("PLAIN")
		if err != nil {
			return text(err)
		}
		_, _, err = server.Next([]byte("\x00" + who + "\x00" + password))
		if err == nil {
			return "235"
		}
		return cut(text(err))[:9]
	}
	for i, c := range []struct{ who, password, want string }{
		{"rick@staff.test", "wrong", "535 5.7.8"}, {"rick@staff.test", "korrekt7", "235"}, {"rick@staff.test", "korrekt7", "454 4.7.0"},
		{"nobody@staff.test", "wrong", "535 5.7.8"},
		{"robin@staff.test", "korrekt7", "235"}, {"robin@staff.test", "korrekt7", "454 4.7.0"}, // the address has none left
		{"out@staff.test", "korrekt7", "454 4.7.0"}, // nor for those who are not there
	} {
		if got := try(c.who, c.password); !strings.HasPrefix(got, c.want) {
			t.Errorf("try %d, %s: %s, want %s", i, c.who, got, c.want)
		}
	}
	if got := len(f.asked); got != 4 {
		t.Errorf("%d were asked about: %v", got, f.asked)
	}
	now := w.opts.Now().Add(time.Minute)
	w.setClock(now)
	if got := try("robin@staff.test", "korrekt7"); got != "235" {
		t.Errorf("a minute later: %s", got)
	}
}

func TestTries(t *testing.T) {
	at := time.Unix(1000, 0)
	b := newTries(Passwords{PerAddress: limit.Rate{N: 1, Per: time.Hour}}, func() time.Time { return at })
	id := saslext.Identity{UID: "x", Domain: dnsname.MustParse("a.test")}
	for i, c := range []struct {
		peer string
		want bool
	}{{"192.0.2.1", true}, {"192.0.2.1", false}, {"::ffff:192.0.2.1", false}, {"192.0.2.2", true}, {"2001:db8::1", true}, {"2001:db8::ffff:1", false}, {"2001:db8:0:1::1", true}} {
		if got := b.take(netip.MustParseAddr(c.peer), id); got != c.want {
			t.Errorf("%d, %s: %v", i, c.peer, got)
		}
	}
	if b.take(netip.Addr{}, id) {
		t.Error("a peer without an address")
	}
}

// TestPlainLife: a password proves its user for an hour, and as long as the rules let
// him.
func TestPlainLife(t *testing.T) {
	w, _ := withPasswords(t, Passwords{})
	k := w.talk("sub", tlsPeer())
	login := func() {
		t.Helper()
		server, err := k.Auth("PLAIN")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err = server.Next([]byte("rick@staff.test\x00robin@staff.test\x00korrekt7")); err != nil {
			t.Fatal(err)
		}
	}
	login()
	k.expect("at once", k.mail("rick@staff.test"), "250")
	k.Reset()
	w.setClock(start.Add(time.Hour - 1))
	k.expect("within the hour", k.mail("rick@staff.test"), "250")
	k.Reset()

	o := standardRules()
	staff := policy.Rule{Who: pattern.MustParse("*@staff.test"), Allow: true, Proved: []policy.Proof{policy.ByPassword}, Line: 20}
	o.Rules = append(o.Rules, staff)
	w.setRules(o)
	k.expect("robin may be rick no more", k.mail("rick@staff.test"), "530 5.7.0")
	o.Authzid = append(o.Authzid, policy.Authzid{From: pattern.MustParse("robin@staff.test"), To: pattern.MustParse("rick@staff.test"), Line: 22})
	w.setRules(o)
	k.expect("he may again", k.mail("rick@staff.test"), "250")
	k.Reset()
	staff.Proved = []policy.Proof{policy.ByCertificate}
	o.Rules[len(o.Rules)-1] = staff
	w.setRules(o)
	k.expect("passwords count no more", k.mail("rick@staff.test"), "530 5.7.0")

	staff.Proved = []policy.Proof{policy.ByPassword}
	o.Rules[len(o.Rules)-1] = staff
	w.setRules(o)
	w.setClock(start.Add(time.Hour))
	k.expect("an hour later", k.mail("rick@staff.test"), "451 4.7.0")
}

// TestCertificateIsNoPassword: in a domain of passwords no certificate logs in, whatever
// DNS says, and a rule that demands a password is nobody else's.
func TestCertificateIsNoPassword(t *testing.T) {
	w, f := withPasswords(t, Passwords{Domains: map[dnsname.Name]bool{dnsname.MustParse("partner.test"): true}})
	verified(w.verifier, start.Add(time.Hour))
	o := standardRules()
	o.Rules[2].Proved = []policy.Proof{policy.ByPassword}
	w.setRules(o)
	k := w.talk("sub", userPeer("rick"))
	k.expect("AUTH", k.auth(""), "535 5.7.8")
	if len(w.verifier.questions()) > 0 || len(f.asked) > 0 {
		t.Errorf("asked %v, %v", w.verifier.questions(), f.asked)
	}
}

// TestCheckIsBounded: whoever never says whether a password is right leaves 454.
func TestCheckIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boundedChecker{slowChecker{}}
		begin := time.Now()
		if err := b.CheckPassword(t.Context(), saslext.Identity{}, saslext.Password{}); err == nil || time.Since(begin) != 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
	if err := (boundedChecker{}).CheckPassword(t.Context(), saslext.Identity{}, saslext.Password{}); err == nil {
		t.Error("nobody said that it is right")
	}
}

type slowChecker struct{}

func (slowChecker) CheckPassword(ctx context.Context, _ saslext.Identity, _ saslext.Password) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestPasswordReplies: what explain foretells.
func TestPasswordReplies(t *testing.T) {
	for reason, want := range map[saslext.Reason]string{
		saslext.BadPassword: "535 5.7.8", saslext.TooManyTries: "454 4.7.0", saslext.Unchecked: "454 4.7.0",
		saslext.NoPasswords: "534 5.7.9", saslext.BadMessage: "501 5.5.4",
	} {
		err := &saslext.Error{Reason: reason, Err: &daneclient.Error{Reason: daneclient.NoMatch}} // whatever the cause says
		if got := LoginReply(err); !strings.HasPrefix(got, want) {
			t.Errorf("%v: %s, want %s", reason, got, want)
		}
	}
}

// openImplicit is a client without a certificate under TLS from the first octet.
func openImplicit(t *testing.T, addr string) *dialog {
	t.Helper()
	d := dial(t, addr)
	if err := d.secure(clientTLS(nil)); err != nil {
		t.Fatal(err)
	}
	d.expect("", "220 ")
	d.expect("EHLO peer.test", "250")
	return d
}

// tlsPeer has finished a TLS 1.2 handshake without a certificate.
func tlsPeer() fakePeer {
	return fakePeer{secure: true, state: tls.ConnectionState{HandshakeComplete: true, Version: tls.VersionTLS12,
		CipherSuite: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
}
