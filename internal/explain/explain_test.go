package explain_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/explain"
	"dancemta/internal/lab"
	"dancemta/internal/pattern"
	"dancemta/saslext"
	"dancemta/smtpd"
	"dancemta/smtpd/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files")

// world is the lab with some more who live there.
type world struct {
	*lab.Internet
	verifier, dead                               *daneclient.Verifier
	rules                                        *policy.Rules
	fresh, old, bare, twoNames, stranger, denied lab.Credential
	foreign, overdue, hostile                    lab.Credential
}

// policyText is one rule a line, "allow" or "deny" and a pattern.
const policyText = `allow *._device.partner.test
allow _smtp-client.*.partner.test
allow _smtp-client.*.unsigned.test
allow _smtp-client.*.bogus.test
deny _smtp-client.bad.partner.test
allow *@partner.test
allow *@ee.test`

func newRules(t *testing.T, text string) *policy.Rules {
	t.Helper()
	var o policy.Options
	for i, line := range strings.Split(text, "\n") {
		word, who, _ := strings.Cut(line, " ")
		r := policy.Rule{Who: pattern.MustParse(who), Allow: word == "allow", Line: i + 1}
		if r.Allow && !r.Who.IsUser() {
			any, err := policy.ParseAddressPattern("any")
			if err != nil {
				t.Fatal(err)
			}
			r.From = []policy.AddressPattern{any}
		}
		o.Rules = append(o.Rules, r)
	}
	rules, err := policy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func newWorld(t *testing.T) *world {
	t.Helper()
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	w := &world{Internet: n, rules: newRules(t, policyText)}
	self := func(names ...string) lab.Credential {
		return lab.SelfSigned(lab.LeafOptions{Names: names, CommonName: "lab"})
	}
	past := lab.CAOptions{NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	rick := lab.LeafOptions{Names: []string{"partner.test"}, UIDs: []string{"rick"}}

	w.fresh, w.stranger, w.denied = self("new.partner.test"), self("mx.stranger.test"), self("bad.partner.test")
	w.twoNames = self("a.partner.test", "b.partner.test")
	w.bare = lab.Credential{Chain: n.MTA.Chain[:1]}
	w.foreign = lab.NewCA("somebody's CA", lab.CAOptions{}).Issue(rick)
	oldCA, usersCA := lab.NewCA("old CA", past), lab.NewCA("old CA of users", past)
	w.old = oldCA.Issue(lab.LeafOptions{Names: []string{"old.partner.test"}})
	w.overdue = usersCA.Issue(lab.LeafOptions{Names: []string{"ee.test"}, UIDs: []string{"rick"}})
	w.hostile = self("x.partner.test", "\x1b[2Jx", strings.Repeat("y", 2000))
	n.World.Zone("partner.test").Add("_smtp-client.old " + lab.TLSA(2, 0, 1, oldCA.Certificate))
	w.verifier = newVerifier(t, n, n.DNS.Addr(), 0)

	hole, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hole.Close() })
	w.dead = newVerifier(t, n, hole.LocalAddr().String(), 200*time.Millisecond)
	return w
}

func newVerifier(t *testing.T, n *lab.Internet, upstream string, timeout time.Duration) *daneclient.Verifier {
	t.Helper()
	anchors, err := dnssec.ParseAnchors(n.World.Anchor())
	if err != nil {
		t.Fatal(err)
	}
	r, err := dnssec.New(dnssec.Options{Upstreams: []string{upstream}, Anchors: anchors, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	v, err := daneclient.New(daneclient.Options{Resolver: r})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// explainer is that of a relay listener, whose replies are those of smtpd.
func (w *world) explainer() *explain.Explainer {
	l := smtpd.Listener{Name: "mx", Names: daneclient.Sources{Extension: 65500, Certificate: true}}
	return &explain.Explainer{
		Verifier: w.verifier, Rules: w.rules, Listener: policy.Listener{Name: "mx", TakesClients: true},
		ClientReply: l.ClientReply, LoginReply: smtpd.LoginReply,
	}
}

func shown(c lab.Credential) daneclient.Credential {
	cred, _ := daneclient.FromState(tls.ConnectionState{HandshakeComplete: true, Version: tls.VersionTLS13, PeerCertificates: c.Chain}, netip.Addr{})
	return cred
}

func told(name string, c lab.Credential) daneclient.Credential {
	cred := shown(c)
	cred.Named, cred.Name = true, dnsname.MustParse(name)
	return cred
}

const (
	denied      = "550 5.7.1 Relaying denied [session id]"
	later       = "451 4.7.5 Cannot verify your certificate now, try again later [session id]"
	loginFailed = "535 5.7.8 Authentication failed [session id]"
	loginLater  = "454 4.7.0 Temporary authentication failure [session id]"
	noRule      = `add a rule: [[rule]] who = "_smtp-client.mx.stranger.test", action = "allow", and from, the senders that it may use`
)

// The table: verdict, reason and reply are those of a session, and the hint says
// what would mend it.
func TestCases(t *testing.T) {
	w := newWorld(t)
	rick, err := saslext.ParseIdentity("rick@partner.test")
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := saslext.ParseIdentity("x@example.test")
	if err != nil {
		t.Fatal(err)
	}
	e, dead := w.explainer(), w.explainer()
	dead.Verifier = w.dead
	deaf := w.explainer()
	deaf.Deaf = true
	client := func(c lab.Credential) func() *explain.Report {
		return func() *explain.Report { return e.Client(t.Context(), shown(c)) }
	}
	user := func(c lab.Credential) func() *explain.Report {
		return func() *explain.Report { return e.User(t.Context(), shown(c)) }
	}
	name := func(s string) func() *explain.Report {
		return func() *explain.Report { return e.ClientName(t.Context(), dnsname.MustParse(s)) }
	}
	const device = "sensor7._device.partner.test"
	for _, c := range []struct {
		file                   string
		ask                    func() *explain.Report
		verdict, reason, reply string
		hint                   string // contained in one of them; "" where there is nothing to do
	}{
		{"right-key", client(w.Device.Credential), explain.Accepted, "", "", ""},
		{"right-ca", client(w.MTA.Credential), explain.Accepted, "", "", ""},
		{"wrong-key", client(w.Wrong.Credential), explain.Refused, "no-match", denied, "publish: " + device + ". 3600 IN " + lab.TLSA(3, 1, 1, w.Wrong.Leaf())},
		{"unsigned", client(w.Unsigned.Credential), explain.Refused, "insecure", denied, "sign the zone unsigned.test., and have its DS published in the zone test."},
		{"bogus", client(w.Bogus.Credential), explain.Temporary, "bogus-dns", later, "mend the signatures"},
		{"no-rule", client(w.stranger), explain.Refused, "not-allowed", denied, noRule},
		{"deny-rule", client(w.denied), explain.Refused, "not-allowed", denied, `rule "_smtp-client.bad.partner.test" (line 5) denies _smtp-client.bad.partner.test`},
		{"no-record", client(w.fresh), explain.Refused, "no-record", denied, "publish: _smtp-client.new.partner.test. 3600 IN " + lab.TLSA(3, 1, 1, w.fresh.Leaf())},
		{"expired-ca", client(w.old), explain.Refused, "no-match", denied, `replace the certificate of "CN=old CA": it is valid from `},
		{"ca-not-sent", client(w.bare), explain.Refused, "no-match", denied, "send the CA in the chain"},
		{"two-names", client(w.twoNames), explain.Refused, "ambiguous-name", denied, "let the rules allow one of these names only: _smtp-client.a.partner.test, _smtp-client.b.partner.test"},
		{"dead-dns", func() *explain.Report { return dead.Client(t.Context(), shown(w.Device.Credential)) }, explain.Temporary, "failed-dns", later, `"dancemta check"`},
		{"user-as-client", client(w.Rick.Credential), explain.Refused, "forbidden-name", denied, `"dancemta explain user"`},
		{"deaf-listener", func() *explain.Report { return deaf.Client(t.Context(), shown(w.Device.Credential)) }, explain.Refused, "no-certificate", denied, `client_certificates = "ask"`},
		{"hostile-text", client(w.hostile), explain.Refused, "no-record", denied, "publish: _smtp-client.x.partner.test. 3600 IN TLSA 3 1 1 "},

		{"told-right", func() *explain.Report { return e.Client(t.Context(), told(device, w.Device.Credential)) }, explain.Accepted, "", "", ""},
		{"told-another", func() *explain.Report {
			return e.Client(t.Context(), told("_smtp-client.mta.partner.test", w.MTA.Credential))
		},
			explain.Refused, "name-mismatch", "TLS alert 40 (handshake failure)", "issue a certificate whose dNSName is _smtp-client.mta.partner.test"},

		{"user", user(w.Rick.Credential), explain.Accepted, "", "", ""},
		{"user-usage-3", user(w.Eve.Credential), explain.Refused, "unusable", loginFailed, "publish: _user.ee.test. 3600 IN " + lab.TLSA(2, 0, 1, w.Eve.Chain[1])},
		{"user-foreign-ca", user(w.foreign), explain.Refused, "no-match", loginFailed, "publish: _user.partner.test. 3600 IN " + lab.TLSA(2, 0, 1, w.foreign.Chain[1])},
		{"user-expired-ca", user(w.overdue), explain.Refused, "unusable", loginFailed, `replace the certificate of "CN=old CA of users"`},
		{"user-dead-dns", func() *explain.Report { return dead.User(t.Context(), shown(w.Rick.Credential)) }, explain.Temporary, "failed-dns", loginLater, `"dancemta check"`},
		{"device-as-user", user(w.Device.Credential), explain.Refused, "no-user", loginFailed, `"dancemta usercert issue"`},

		{"name-with-records", name(device), explain.Open, "", "", "explain it once more with the certificate"},
		{"name-without-records", name("_smtp-client.new.partner.test"), explain.Refused, "no-record", denied, `publish a TLSA record at _smtp-client.new.partner.test: "dancemta tlsa" prints it`},
		{"name-without-rule", name("_smtp-client.mx.stranger.test"), explain.Refused, "not-allowed", denied, noRule},
		{"name-of-a-server", name("_25._tcp.mx.partner.test"), explain.Refused, "forbidden-name", denied, "without labels such as _user or _tcp"},
		{"name-of-users", name("_user.partner.test"), explain.Refused, "forbidden-name", denied, `"dancemta explain user"`},
		{"identity", func() *explain.Report { return e.UserName(t.Context(), rick) }, explain.Open, "", "", "explain it once more with the certificate"},
		{"identity-without-rule", func() *explain.Report { return e.UserName(t.Context(), nobody) }, explain.Refused, "not-allowed", loginFailed, `who = "x@example.test" (or for all users of the domain: "*@example.test")`},
	} {
		r := c.ask()
		if r.Verdict != c.verdict || r.Reason != c.reason || r.Reply != c.reply {
			t.Errorf("%s: %s, %q, %q; want %s, %q, %q", c.file, r.Verdict, r.Reason, r.Reply, c.verdict, c.reason, c.reply)
		}
		if hints := strings.Join(r.Hints, "\n"); !strings.Contains(hints, c.hint) || (hints == "") != (c.hint == "") {
			t.Errorf("%s: hints %q, want %q", c.file, hints, c.hint)
		}
		golden(t, c.file, r)
	}
}

// unstable are the parts of a report that differ from run to run.
var unstable = []struct {
	pattern *regexp.Regexp
	word    string
}{
	{regexp.MustCompile(`[0-9a-f]{16,}`), "HEX"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ?`), "DATE"},
	{regexp.MustCompile(`\bkey \d+(, \d+)*`), "key TAG"},
	{regexp.MustCompile(`(no answer (from|in time)|given up waiting: context deadline)[^\n]*`), "no answer …"},
}

// golden compares the printed report with its file.
func golden(t *testing.T, file string, r *explain.Report) {
	t.Helper()
	var b bytes.Buffer
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, u := range unstable {
		got = u.pattern.ReplaceAllString(got, u.word)
	}
	path := filepath.Join("testdata", file+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// Whatever a stranger wrote, nothing but printable text comes out, and not much
// of it.
func TestHostileText(t *testing.T) {
	w := newWorld(t)
	for what, r := range map[string]*explain.Report{
		"client": w.explainer().Client(t.Context(), shown(w.hostile)),
		"user":   w.explainer().User(t.Context(), shown(w.hostile)),
		"names": w.explainer().Client(t.Context(), shown(lab.SelfSigned(lab.LeafOptions{
			Names: strings.Split(strings.Repeat("z.\x07.partner.test ", 99)+"z.partner.test", " "), CommonName: "\x1b]0;title\x07 \u202eabc" + strings.Repeat("n", 5000),
		}))),
		"uid": w.explainer().User(t.Context(), shown(lab.SelfSigned(lab.LeafOptions{Names: []string{"partner.test"}, UIDs: []string{"r\x1b[31m"}}))),
	} {
		var b bytes.Buffer
		if err := r.Print(&b); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{b.String(), string(text)} {
			if strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\n' || c == 0x7f || c == 0x202e }) || len(s) > 20000 {
				t.Errorf("%s: %d octets: %.2000q", what, len(s), s)
			}
		}
		if strings.Contains(string(text), `\u001b`) || strings.Contains(string(text), `\u202e`) {
			t.Errorf("%s: not clean: %.2000s", what, text)
		}
	}
}

// A rule that is changed changes both: what is explained follows the rules that
// it is given, also where they say otherwise than the evidence.
func TestRulesDecide(t *testing.T) {
	w := newWorld(t)
	e := w.explainer()
	if r := e.Client(t.Context(), shown(w.Device.Credential)); r.Verdict != explain.Accepted {
		t.Errorf("%s: %s", r.Verdict, r.Detail)
	}
	before := len(w.DNS.Queries())
	e.Rules = newRules(t, strings.Replace(policyText, "allow *._device.partner.test", "deny *._device.partner.test", 1))
	r := e.Client(t.Context(), shown(w.Device.Credential))
	if r.Verdict != explain.Refused || r.Reason != "not-allowed" || r.DNS != nil || r.Names[0].Reason != "denied" {
		t.Errorf("%+v", r)
	}
	if asked := len(w.DNS.Queries()) - before; asked != 0 {
		t.Errorf("%d queries for a name that a rule denies", asked)
	}
}

// TestProofs: a rule that wants another proof lets nobody in, here as in a session.
func TestProofs(t *testing.T) {
	w := newWorld(t)
	rick, err := saslext.ParseIdentity("rick@partner.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		proof   policy.Proof
		chain   bool
		verdict string
	}{
		{policy.ByCertificate, true, explain.Accepted}, {policy.ByExtension, true, explain.Refused}, {policy.ByPassword, true, explain.Refused},
		{policy.ByCertificate, false, explain.Open}, {policy.ByExtension, false, explain.Open}, {policy.ByPassword, false, explain.Refused},
	} {
		rules, err := policy.New(policy.Options{Rules: []policy.Rule{{Who: pattern.MustParse("*@partner.test"), Allow: true, Proved: []policy.Proof{c.proof}, Line: 7}}})
		if err != nil {
			t.Fatal(err)
		}
		e := w.explainer()
		e.Rules = rules
		r := e.UserName(t.Context(), rick)
		if c.chain {
			r = e.User(t.Context(), shown(w.Rick.Credential))
		}
		if r.Verdict != c.verdict || r.Verdict == explain.Refused && (r.Reason != "not-allowed" || !strings.Contains(r.Hints[0], `rule "*@partner.test" (line 7) lets rick@partner.test in, but not when it is proved in this way`)) {
			t.Errorf("proved %v, with a certificate %v: %s %s %q", c.proof, c.chain, r.Verdict, r.Reason, r.Hints)
		}
	}
}
