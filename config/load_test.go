package config

import (
	"bytes"
	"encoding"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/internal/pattern"
)

var update = flag.Bool("update", false, "write what is expected anew, to be read before it is committed")

const badDir = "../testdata/badconfig"

// TestBadConfigs: each folder has a broken file and the very words that are said
// about it.
func TestBadConfigs(t *testing.T) {
	folders, err := os.ReadDir(badDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(folders) < 20 {
		t.Errorf("only %d broken files", len(folders))
	}
	for _, f := range folders {
		t.Run(f.Name(), func(t *testing.T) {
			path := filepath.Join(badDir, f.Name(), "config.toml")
			cfg, err := Load(path)
			faults, ok := errors.AsType[Errors](err)
			if !ok || len(faults) == 0 || cfg != nil {
				t.Fatalf("got %v, want Errors", err)
			}
			got := strings.ReplaceAll(err.Error(), path+":", "config.toml:") + "\n"
			golden(t, filepath.Join(badDir, f.Name(), "expected"), []byte(got))
		})
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs:\n%s", path, got)
	}
}

// TestFull: every key of the example has arrived, and paths are absolute.
func TestFull(t *testing.T) {
	c, err := Load("../testdata/config/full.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.Abs("../testdata/config")
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) Path { return Path(filepath.Join(dir, name)) }
	name, addr, pat := dnsname.MustParse, mailaddr.MustParse, pattern.MustParse
	minutes := func(n int) Duration { return Duration{time.Duration(n) * time.Minute} }
	want := &Config{
		Hostname: name("mx.example.org"), Postmaster: addr("postmaster@example.org"), StateDir: "/var/lib/dancemta",
		Log: Log{"info", Text},
		TLS: TLS{in("mx.pem"), "/etc/dancemta/mx.key"},
		Listeners: []Listener{
			{"mx", Relay, ":25", CertificatesAsk, []ClientName{FromExtension, FromCertificate}, Abort, false},
			{"submission", Submission, "192.0.2.1:587", CertificatesAsk, nil, Unauthenticated, false},
			{"submissions", Submissions, "[2001:db8::1]:465", CertificatesRequire, nil, Unauthenticated, true},
			{"behind", Relay, "10.0.0.1:2525", CertificatesOff, nil, Unauthenticated, false},
		},
		Milters: []Milter{{"127.0.0.1:11332", []string{"mx"}, Duration{10 * time.Second}, minutes(2), FailureAccept}},
		Proxies: []Proxy{{[]Network{{netip.MustParsePrefix("10.0.0.0/24")}, {netip.MustParsePrefix("2001:db8::/64")}, {netip.MustParsePrefix("192.0.2.7/32")}},
			[]string{"behind"}, []pattern.Pattern{pat("_smtp-client.*.example.org"), pat("*@example.org")}}},
		DANE: DANE{65500, PKIXRoots(in("roots.pem")), true},
		DNS: DNS{[]Upstream{"127.0.0.1:53", "tls://192.0.2.53:853#dns.example.org", "tls://[2001:db8::53]:853#sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
			in("dns-roots.pem"), in("mx.pem"), in("mx.key"), OwnerName{name("_smtp-client.mx.example.org")}, Validate, in("root.key"), Duration{time.Minute}, Duration{5 * time.Second}},
		RelayDomains: []RelayDomain{
			{Domain: name("example.org"), Recipients: RecipientsFile, RecipientsFile: in("recipients.txt"), NextHop: []HostPort{"10.0.0.5:25", "backup.example.org:25"}},
			{Domain: name("xn--bcher-kva.example"), Recipients: RecipientsAny},
			{name("example.net"), RecipientsProbe, "", ProbeAccept, []HostPort{"mx.partner.example:25"},
				in("client.pem"), in("client.key"), OwnerName{name("_smtp-client.mx.example.org")}},
		},
		Routes: []Route{
			{Domain: "lists.example.org", NextHop: []Hop{"unix:/run/dovecot/lmtp", "10.0.0.6:24"}, Protocol: LMTP},
			{Domain: "*.partner.example", Protocol: SMTP, TLS: TLSDANEOnly},
			{Domain: "any", NextHop: []Hop{"smtp.provider.example:465", "smtp2.provider.example:465"}, Protocol: SMTP, TLS: TLSVerify, ImplicitTLS: true, Roots: SystemRoots,
				Auth: LoginPlain, User: "relay@example.org", PasswordFile: in("smarthost.password"), Rate: Rate{1000, time.Hour}, Connections: 4, Helo: name("out.example.org")},
			{Domain: "*.cluster.example", NextHop: []Hop{"in.cluster.example:587"}, Protocol: SMTP, Auth: LoginExternal,
				ClientCertificate: in("client.pem"), ClientKey: in("client.key"), ClientName: OwnerName{name("_smtp-client.mx.example.org")}},
		},
		Rules: []Rule{
			{Who: pat("*._device.example.org"), Action: Allow, From: []AddressPattern{"@example.org"}},
			{Who: pat("sensor7._device.example.org"), Action: Deny},
			{Who: pat("_smtp-client.*.partner.example"), Action: Allow, Listeners: []string{"mx"}, From: []AddressPattern{"*@*.partner.example", "rick@partner.example"}, To: []AddressPattern{"@example.org", "sales@example.net"}},
			{Who: pat("*@example.org"), Action: Allow, Listeners: []string{"submission", "submissions"}, From: []AddressPattern{Own}, To: []AddressPattern{"any"}},
			{Who: pat("*@example.org"), Group: "press", Action: Allow, From: []AddressPattern{"@example.org"}, HeaderFrom: []AddressPattern{"@example.org", "@news.example.org"},
				Messages: []Quota{{100, time.Hour}, {500, 24 * time.Hour}}, Recipients: []Quota{{2000, 24 * time.Hour}}},
			{Who: pat("*._device.alerts.example.org"), Action: Allow, Proved: []Proof{"certificate", "extension"}, From: []AddressPattern{"{label}@alerts.example.org"},
				Size: Size{1 << 20}, RecipientsPerDomain: []Quota{{500, time.Hour}}},
			{Who: pat("_smtp-client.gw.partner.example"), Action: Allow, As: addr("partner@example.org"), From: []AddressPattern{Own, "@partner.example"},
				Until: Date{time.Date(2027, 12, 31, 0, 0, 0, 0, time.UTC)}, MessagesPerDomain: []Quota{{50, time.Minute}},
				MessagesPerAddress: []Quota{{1000, time.Hour}}, RecipientsPerAddress: []Quota{{5000, 24 * time.Hour}}},
			{Network: []Network{{netip.MustParsePrefix("10.1.2.0/24")}, {netip.MustParsePrefix("2001:db8:1::/64")}}, Action: Allow,
				From: []AddressPattern{"@printers.example.org"}, To: []AddressPattern{"@example.org"}},
			{Who: pat("*@staff.example.org"), Action: Allow, Proved: []Proof{ProvedByPassword}, From: []AddressPattern{Own, InDirectory}},
		},
		Groups:       []Group{{"press", in("press.users"), "cn=press,ou=groups,dc=example,dc=org"}},
		QuotaClasses: []QuotaClass{{"small", []Quota{{20, time.Hour}}, []Quota{{100, 24 * time.Hour}}}},
		Directory: Directory{
			Servers: []DirectoryServer{"ldaps://ldap.example.org:636", "unix:/run/slapd/ldapi"}, Roots: in("ldap-roots.pem"),
			BindDN: "cn=dancemta,dc=example,dc=org", PasswordFile: in("ldap.password"),
			Base: "ou={domain},ou=people,dc=example,dc=org", Filter: "(&(objectClass=inetOrgPerson)(uid={uid}))",
			GroupAttribute: "memberOf", GroupFilter: "(member={dn})", GroupBase: "ou=groups,dc=example,dc=org",
			AddressAttributes: []string{"mail", "mailLocalAddress"}, QuotaAttribute: "businessCategory",
			RecipientFilter: "(|(mail={address})(mailLocalAddress={address}))", RecipientBase: "ou=people,dc=example,dc=org",
			Cache: minutes(10), NegativeCache: Duration{30 * time.Second}, Timeout: Duration{3 * time.Second}, Connections: 8,
			PasswordDomains: []dnsname.Name{name("staff.example.org")}, PasswordRatePerUser: Rate{10, time.Minute}, PasswordRatePerAddress: Rate{100, time.Minute},
		},
		Subaddresses: []Subaddress{{pat("*@example.org"), "+"}},
		Authzid:      []Authzid{{pat("rick@example.org"), pat("boss@example.org")}},
		LDAP: LDAP{Upstream: []DirectoryServer{"ldaps://ldap.example.org:636", "ldap://[2001:db8::389]:389", "unix:/run/slapd/ldapi"},
			Roots: in("ldap-roots.pem"), Certificate: in("bridge.pem"), Key: in("bridge.key"), Connections: 100, ConnectionWait: Duration{3 * time.Second},
			PerDomain: 12, IdleConnections: 4, ConnectTimeout: Duration{8 * time.Second}, ReplyTimeout: minutes(2), ReplySize: Size{4 << 20},
			NamingContexts: []string{"dc=example,dc=org"}, Clients: 2000, ClientsPerAddress: 200, ClientsPerNetwork: 400, Handshakes: 300, Outstanding: 32,
			RequestSize: Size{128 << 10}, SearchEntries: 50000, SearchTime: minutes(1), IdleTimeout: minutes(30), AnonymousTimeout: Duration{30 * time.Second},
			ConnectionTime: Duration{12 * time.Hour}, WriteTimeout: Duration{45 * time.Second}},
		LDAPListeners: []LDAPListener{
			{Name: "ldap", Address: ":389", TLS: LDAPStartTLS, ClientCertificates: CertificatesAsk, DANEFailure: Unauthenticated, Anonymous: LDAPRead},
			{Name: "ldaps", Address: "[2001:db8::1]:636", TLS: LDAPImplicit, ClientCertificates: CertificatesRequire, ClientNames: []ClientName{FromCertificate},
				DANEFailure: Abort, Anonymous: LDAPRootDSE},
		},
		LDAPRules: []LDAPRule{
			{Who: pat("*@example.org"), Action: Allow, DN: "uid={uid},ou={domain},ou=people,dc=example,dc=org",
				Operations: []LDAPOperation{"search", "compare", "whoami", "modify", "password_modify"}},
			{Who: pat("*@*.partner.example"), Action: Allow, DN: "uid={uid},ou={domain},ou=people,dc=example,dc=org"},
			{Who: pat("*@example.net"), Action: Allow, Authzid: "u:{uid}@{domain}"},
			{Who: pat("boss@example.org"), Action: Allow, SearchBase: "ou=people,dc=example,dc=org", SearchFilter: "(mail={uid}@{domain})",
				Controls: []LDAPControl{"manage_dsa_it"}},
			{Who: pat("*@old.partner.example"), Action: Deny},
		},
		Limits: Limits{MessageSize: Size{50 << 20}, Recipients: 100, Connections: 1000, ConnectionsPerAddress: 40, ConnectionsPerNetwork: 80,
			Handshakes: 200, Commands: 5000, Errors: 20, ConnectionBytes: Size{1 << 30}, ConnectionTime: minutes(30), DataRate: 256,
			Memory: Size{1 << 30}, FreeSpace: Size{128 << 20}, FreeInodes: 2000, Hops: 120,
			MessagesPerAddress: []Quota{{1000, time.Hour}}, RecipientsPerAddress: []Quota{{5000, time.Hour}, {20000, 24 * time.Hour}}, Lookups: 64, LookupsPerPeer: 4, LookupsPerZone: 8,
			LookupRate: Rate{3000, time.Minute}, LookupRatePerPeer: Rate{2, time.Second}, LookupRatePerZone: Rate{36000, time.Hour}},
		Queue:    Queue{[]Duration{minutes(5), minutes(10), minutes(20), minutes(40), minutes(60)}, Duration{120 * time.Hour}, Duration{48 * time.Hour}, Duration{4 * time.Hour}, Duration{36 * time.Hour}, 50, 5, Rate{600, time.Minute}},
		Delivery: Delivery{name("mx.example.org"), name("mx4.example.org"), name("mx6.example.org"), Address{netip.MustParseAddr("192.0.2.1")}, Address{netip.MustParseAddr("2001:db8::1")}, 25, false},
		MTASTS:   MTASTS{false, PKIXRoots(in("sts-roots.pem")), 443},
		DKIM: []DKIM{
			{name("example.org"), name("rsa2026"), in("rsa2026._domainkey.example.org.pem"), true},
			{name("example.org"), name("ed2026"), in("ed2026._domainkey.example.org.pem"), true},
		},
		Authentication: Authentication{DMARC: DMARCReject, Partners: true},

		TLSReports: TLSReports{"Example Org", addr("tls-reports@example.org")},
		Metrics:    Metrics{"127.0.0.1:9110"},
		index:      c.index,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	for path, line := range map[string]int{"hostname": 3, "rule[2]": 114, "rule[2].from": 118, "authzid[0].to": 205, "rule[9]": 1, "tls.certificate": 12} {
		if got := c.Line(path); got != line {
			t.Errorf("%s stands in line %d, not %d", path, got, line)
		}
	}
}

// TestSystemRoots: the word is no file name, but a path to a file of that name is.
func TestSystemRoots(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	for written, want := range map[string]PKIXRoots{
		"system": SystemRoots, "./system": PKIXRoots(filepath.Join(filepath.Dir(path), "system")), "/x/roots.pem": "/x/roots.pem",
	} {
		if err := os.WriteFile(path, []byte(minimal+"dane.pkix_roots = \""+written+"\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path)
		if err != nil || c.DANE.PKIXRoots != want {
			t.Errorf("%s: %v, %v", written, c, err)
		}
	}
}

const minimal = `
hostname = "mx.example.org"
postmaster = "postmaster@example.org"
state_dir = "state"
dns.upstreams = ["127.0.0.1:53"]
listener = [{ name = "mx", kind = "relay", address = "127.0.0.1:0" }]
`

// TestAbsentIsSafe: what nobody wrote is the strict choice.
func TestAbsentIsSafe(t *testing.T) {
	c, err := parse("config.toml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	l := c.Listeners[0]
	for what, ok := range map[string]bool{
		"nobody may relay":                    len(c.Rules) == 0 && len(c.Authzid) == 0 && len(c.RelayDomains) == 0,
		"no certificate":                      c.TLS == TLS{},
		"certificates are asked for":          l.ClientCertificates == CertificatesAsk,
		"names come from where the build can": l.ClientNames == nil && c.DANE.ExtensionType == 65500,
		"public CAs vouch for nobody":         c.DANE.PKIXRoots == "",
		"failures make nobody, not noise":     l.DANEFailure == Unauthenticated,
		"nobody logs in without AUTH":         !l.ImplicitLogin,
		"private targets are refused":         !c.Delivery.AllowPrivateTargets,
		"mail goes to port 25":                c.Delivery.MXPort == 25,
		"MTA-STS is obeyed":                   c.MTASTS == MTASTS{true, SystemRoots, 443},
		"mail is judged and delivered":        c.Authentication == Authentication{DMARC: DMARCMark},
		"we validate":                         c.DNS.Trust == Validate && c.DNS.ClockSkew.Duration == 0,
		"the system's CAs prove resolvers":    c.DNS.TLSRoots == "" && c.DNS.TLSCertificate == "",
		"built-in trust anchors":              c.DNS.TrustAnchors == "",
		"DNS has 5 seconds":                   c.DNS.Timeout.Duration == 5*time.Second,
		"messages are bounded":                c.Limits.MessageSize.Bytes == 50<<20,
		"recipients, connections are bounded": c.Limits.Recipients == 100 && c.Limits.Connections == 1000,
		"lookups are bounded":                 c.Limits.Lookups == 64 && c.Limits.LookupsPerPeer == 4 && c.Limits.LookupsPerZone == 8,
		"rates of lookups are bounded":        c.Limits.LookupRate == Rate{3000, time.Minute} && c.Limits.LookupRatePerPeer == Rate{120, time.Minute} && c.Limits.LookupRatePerZone == Rate{600, time.Minute},
		"delays are told after four hours":    c.Queue.DelayNotice.Duration == 4*time.Hour,
		"mail is tried for five days":         c.Queue.Expire.Duration == 120*time.Hour && c.Queue.BounceExpire.Duration == 48*time.Hour,
		"pauses grow to an hour":              len(c.Queue.Retry) == 5 && c.Queue.Retry[0].Duration == 5*time.Minute && c.Queue.Retry[4].Duration == time.Hour,
		"deliveries are bounded":              c.Queue.Concurrency == 50 && c.Queue.PerDestination == 20,
		"log":                                 c.Log == Log{"info", Text},
	} {
		if !ok {
			t.Errorf("not so: %s", what)
		}
	}
}

// TestNoFile: what cannot be read is no fault of the text.
func TestNoFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"))
	if _, ok := errors.AsType[Errors](err); ok || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestForms: values that are right and wrong beyond those in the broken files.
func TestForms(t *testing.T) {
	for _, c := range []struct {
		v         encoding.TextUnmarshaler
		good, bad string
	}{
		{new(Duration), "1s 1h30m 5d 1ms 65535d", "0 5 d 0d -1d 1.5d 65536d 99999999h 1y"},
		{new(Size), "1B 512KiB 2147483647GiB", "0B 1 1KB 1.5MiB -1B 2147483648B 1KiBB"},
		{new(Rate), "1/s 60/m 1000/h 1000000/s", "0/m 1000001/s 99999999999999999999/m 60 60/ /m 60/d 60/min 60/60s 60/M -1/s +1/s 1.5/s 60/m/m 0x10/m 1_0/m"},
		{new(ListenAddress), ":25 127.0.0.1:0 [::]:65535", "25 : :65536 :-1 :+1 :smtp mx.test:25 [::1] ::1:25"},
		{new(Upstream), "127.0.0.1:53 [::1]:5353 tls://127.0.0.1:853#dns.test tls://[::1]:853#DNS.test tls://[::1]:853#sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
			"127.0.0.1 :53 127.0.0.1:0 localhost:53 127.0.0.1:65536 127.0.0.1:53#dns.test tls://127.0.0.1:853 tls://127.0.0.1:853# tls://dns.test:853#dns.test tls://127.0.0.1:853#127.0.0.1 " +
				"tls://127.0.0.1:853#a..b tls://127.0.0.1:853#a#b tls://127.0.0.1:853#sha256/ tls://127.0.0.1:853#sha256/AAAA tls://127.0.0.1:0#dns.test TLS://127.0.0.1:853#dns.test"},
		{new(Trust), "validate ad", "AD none dnssec"},
		{new(HostPort), "a.test:25 [::1]:25 10.0.0.1:2525 bücher.test:25", "a.test :25 a_b.test:25 a.test:0 a.test:x"},
		{new(AddressPattern), `any own a@b.test @b.test *@b.test *@*.b.test @*.b.test "a"@b.test a@[192.0.2.1]`, `ANY b.test a*@b.test a@*.b.test @any *@any @ @* a@b@c.test @_x.test a@`},
		{new(Path), "a /a/b", "\x00"},
	} {
		for _, s := range strings.Fields(c.good) {
			if err := c.v.UnmarshalText([]byte(s)); err != nil {
				t.Errorf("%T %q: %v", c.v, s, err)
			}
		}
		for _, s := range strings.Fields(c.bad) {
			if err := c.v.UnmarshalText([]byte(s)); err == nil {
				t.Errorf("%T %q: accepted", c.v, s)
			}
		}
	}
}

// TestExamples: what the pages tell people to write is right.
func TestExamples(t *testing.T) {
	for _, page := range []string{"../README.md", "../docs/quickstart.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllSubmatch(text, -1)
		if len(blocks) == 0 {
			t.Errorf("%s: no example", page)
		}
		var whole []byte // later blocks add to the first
		for _, b := range blocks {
			whole = append(append(whole, '\n'), b[1]...)
		}
		if _, err := parse(page, whole); err != nil {
			t.Errorf("the example of %s:\n%v", page, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	full, err := os.ReadFile("../testdata/config/full.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	broken, err := filepath.Glob(badDir + "/*/config.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range broken {
		doc, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := parse("f", doc)
		if err == nil {
			if c.Hostname.IsZero() || c.Postmaster.IsNull() || c.StateDir == "" || len(c.Listeners) == 0 || len(c.DNS.Upstreams) == 0 {
				t.Errorf("accepted with holes: %+v", c)
			}
			return
		}
		faults, ok := errors.AsType[Errors](err)
		if !ok || len(faults) == 0 {
			t.Fatalf("error %#v", err)
		}
		lines := bytes.Count(doc, []byte("\n")) + 1
		for _, e := range faults {
			if e.Line < 1 || e.Line > lines || e.Column < 1 || e.Problem == "" || e.Right == "" {
				t.Errorf("fault %+v in %d lines", e, lines)
			}
		}
	})
}

// TestRates: they are written as they are read, and compared in the long run.
func TestRates(t *testing.T) {
	var sorted []Rate
	for _, text := range []string{"1/h", "1/m", "120/m", "7201/h", "3/s", "200/m"} {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); err != nil || r.String() != text {
			t.Errorf("%s: %v, %v", text, r, err)
		}
		sorted = append(sorted, r)
	}
	for i, r := range sorted {
		for j, s := range sorted {
			if r.Above(s) != (i > j) {
				t.Errorf("%v above %v: %v", r, s, r.Above(s))
			}
		}
	}
	if (Rate{60, time.Minute}).Above(Rate{1, time.Second}) {
		t.Error("60/m is not more than 1/s")
	}
}
