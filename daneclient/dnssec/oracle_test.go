//go:build unix

package dnssec_test

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// The oracle: the lab's zones, served by nsd. Two strangers judge each name,
// unbound's library (unbound-host) and BIND's (delv), and so do we, by three
// upstreams: unbound, nsd itself, and the lab's own server. All verdicts must
// agree, and with the one written here by hand.

// oracleZones are made below test.; what is in each, see fill.
var oracleZones = []struct {
	name string
	o    lab.ZoneOptions
}{
	{"nsec", lab.ZoneOptions{}},
	{"nsec3", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{}}},
	{"salt10", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{Salt: "c0ffee", Iterations: 10}}},
	{"salt50", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{Salt: "c0ffee", Iterations: 50}}},
	{"optout", lab.ZoneOptions{OptOut: true}},
	{"split", lab.ZoneOptions{SplitKeys: true}},
	{"standby", lab.ZoneOptions{StandbyKey: true}},
	{"alg8", lab.ZoneOptions{Algorithm: 8}},
	{"alg10", lab.ZoneOptions{Algorithm: 10}},
	{"alg14", lab.ZoneOptions{Algorithm: 14}},
	{"alg15", lab.ZoneOptions{Algorithm: 15}},
	{"alg200", lab.ZoneOptions{Algorithm: 200}},
	{"sha384", lab.ZoneOptions{DSDigest: 4}},
	{"digest99", lab.ZoneOptions{DSDigest: 99}},
	{"unsigned", lab.ZoneOptions{Unsigned: true}},
	{"nods", lab.ZoneOptions{NoDS: true}},
	{"expired", lab.ZoneOptions{Fault: lab.Expired}},
	{"early", lab.ZoneOptions{Fault: lab.NotYetValid}},
	{"broken", lab.ZoneOptions{Fault: lab.BrokenSignatures}},
	{"broken3", lab.ZoneOptions{Fault: lab.BrokenSignatures, NSEC3: &lab.NSEC3Options{}}},
	{"wrongkey", lab.ZoneOptions{Fault: lab.WrongKey}},
	{"nosigs", lab.ZoneOptions{Fault: lab.NoSignatures}},
	{"nokeysig", lab.ZoneOptions{Fault: lab.NoKeySignature}},
	{"nodnskey", lab.ZoneOptions{Fault: lab.NoDNSKEY}},
	{"strayds", lab.ZoneOptions{Fault: lab.StrayDS}},
	{"nozonebit", lab.ZoneOptions{Fault: lab.NoZoneBit}},
	{"revoked", lab.ZoneOptions{Fault: lab.RevokedKey}},
	{"evilnsec", lab.ZoneOptions{SignedBy: "nsec.test."}},
	{"sibling", lab.ZoneOptions{SignedBy: "split.test."}},
	{"gost", lab.ZoneOptions{Algorithm: 12}},
}

// oracleCase is a question and the verdict on it.
type oracleCase struct {
	name string
	typ  string
	want dnssec.State
	but  string // a judge who is known to say something else, see known
}

// known are the differences between the strangers and the RFCs.
var known = map[string]string{
	"delv":         "calls the denial of an opt-out zone validated, although RFC 5155 9.2 wants no AD there",
	"unbound-host": "takes a key with the REVOKE flag when the DS names it, against RFC 5011 2.1",
}

const (
	secure   = dnssec.Secure
	insecure = dnssec.Insecure
	bogus    = dnssec.Bogus
)

// oracleCases lists what every zone is asked and the special names.
func oracleCases() []oracleCase {
	verdicts := map[string]dnssec.State{
		"alg200": insecure, "gost": insecure, "digest99": insecure, "unsigned": insecure, "nods": insecure,
		"expired": bogus, "early": bogus, "broken": bogus, "broken3": bogus, "wrongkey": bogus, "nosigs": bogus,
		"nokeysig": bogus, "nodnskey": bogus, "strayds": bogus, "nozonebit": bogus, "revoked": bogus,
		"evilnsec": bogus, "sibling": bogus,
	}
	var cases []oracleCase
	for _, z := range oracleZones {
		want, special := verdicts[z.name]
		if !special {
			want = secure
		}
		// Opt-out never proves that a name does not exist. RFC 5155 9.2
		absent, butDenied, but := want, "", ""
		switch z.name {
		case "optout":
			absent, butDenied = insecure, "delv"
		case "revoked":
			butDenied, but = "unbound-host", "unbound-host"
		}
		cases = append(cases,
			oracleCase{"host." + z.name, "A", want, but},
			oracleCase{"_smtp-client.host." + z.name, "TLSA", want, but},
			oracleCase{"host." + z.name, "MX", want, but},            // no such type
			oracleCase{"b.c." + z.name, "TXT", want, but},            // empty non-terminal
			oracleCase{"none." + z.name, "TLSA", absent, butDenied},  // no such name
			oracleCase{"x.y.none." + z.name, "A", absent, butDenied}, // nor any above it
			oracleCase{"q.wild." + z.name, "TXT", absent, but},       // wildcard
			oracleCase{"q.r.wild." + z.name, "TXT", absent, but},     // wildcard, two labels
			oracleCase{"q.wild." + z.name, "A", absent, butDenied},   // wildcard without the type
			oracleCase{"alias." + z.name, "A", want, but},            // CNAME within the zone
			oracleCase{"host.moved." + z.name, "A", want, but},       // DNAME within the zone
			oracleCase{"_smtp-client.host.moved." + z.name, "TLSA", want, but},
			oracleCase{"none.moved." + z.name, "A", absent, butDenied}, // DNAME to no such name
			oracleCase{"moved." + z.name, "A", want, but},              // the owner of the DNAME, which has none
			oracleCase{"host.child." + z.name, "A", want, but},         // a signed child
			oracleCase{"none.child." + z.name, "TXT", want, but},       // denied by a signed child
			oracleCase{"host.plain." + z.name, "A", plain(want), but},  // an unsigned child
		)
	}
	return append(cases, specialCases()...)
}

// plain is the verdict on an unsigned child: whether it may be unsigned is for
// the parent to prove.
func plain(parent dnssec.State) dnssec.State {
	if parent == secure {
		return insecure
	}
	return parent
}

func specialCases() []oracleCase {
	return []oracleCase{
		{"secure-insecure.nsec", "A", insecure, ""},
		{"secure-bogus.nsec", "A", bogus, ""},
		{"secure-secure.nsec", "A", secure, ""},
		{"secure-none.nsec", "A", secure, ""}, // its target does not exist
		{"insecure-secure.unsigned", "A", insecure, ""},
		{"insecure-bogus.unsigned", "A", bogus, ""},
		{"bogus-secure.broken", "A", bogus, ""},
		{"host.dname-secure.nsec", "A", secure, ""},
		{"_smtp-client.host.dname-secure.nsec", "TLSA", secure, ""},
		{"host.dname-insecure.nsec", "A", insecure, ""},
		{"host.dname-bogus.nsec", "A", bogus, ""},
		{"none.dname-secure.nsec", "A", secure, ""}, // its target does not exist
		{"dname-secure.nsec", "A", secure, ""},      // the owner itself, which has none
		{"dname-secure.nsec", "TXT", secure, ""},
		{"host.dname-secure.unsigned", "A", insecure, ""},
		{"host.dname-bogus.unsigned", "A", bogus, ""},
		{"alias.dname-secure.nsec", "A", secure, ""},    // DNAME, then CNAME
		{"host.dname-twice.nsec3", "A", secure, ""},     // DNAME, then DNAME
		{"x.wild.dname-secure.nsec", "TXT", secure, ""}, // DNAME, then a wildcard
		{"moved.gaps", "TXT", secure, ""},
		{"host.moved.gaps", "A", secure, ""},
		{"host.spoilt.gaps", "A", bogus, ""}, // the DNAME does not verify
		{"host.nosig.gaps", "A", bogus, ""},  // nor is this one signed
		{"chain1.nsec", "A", secure, ""},
		{"x.wildalias.nsec", "A", secure, ""},
		{"large.nsec", "TXT", secure, ""},
		{"nsec", "MX", secure, ""},
		{"nsec", "TXT", secure, ""},
		{"broken.gaps", "A", bogus, ""},
		{"bare.gaps", "A", bogus, ""},
		{"old.gaps", "A", bogus, ""},
		{"whole.gaps", "A", secure, ""},
		{"whole.gaps", "TXT", bogus, ""},     // the NSEC at the name does not verify
		{"zz.gaps", "A", bogus, ""},          // its NSEC is good, that of the wildcard is not
		{"x.wild.gaps", "TXT", bogus, ""},    // a good wildcard, but the proof that x is not there is broken
		{"deep.in.nowhere", "A", secure, ""}, // below a name that test. denies
	}
}

// decided are zones on which we decide otherwise than the strangers, on purpose.
var decided = []struct {
	name         string
	o            lab.ZoneOptions
	ours, theirs dnssec.State
	ask          string // below the zone; "": host
}{
	// RFC 9905 lets validators go on with SHA-1, and wants operators to treat such zones as unsigned.
	{"rsasha1", lab.ZoneOptions{Algorithm: 5}, insecure, secure, ""},
	{"nsec3rsasha1", lab.ZoneOptions{Algorithm: 7, NSEC3: &lab.NSEC3Options{}}, insecure, secure, ""},
	// SHA-1 in a DS proves no more than SHA-1 in a signature.
	{"digest1", lab.ZoneOptions{DSDigest: 1}, insecure, secure, ""},
	// RFC 9276 3.2 leaves the number to the validator; a positive answer needs no hash.
	{"iter51", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{Iterations: 51}}, dnssec.Failed, secure, "none"},
	{"iter51b", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{Iterations: 51}}, secure, secure, ""},
	{"iter2500", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{Iterations: 2500}}, dnssec.Failed, insecure, "none"},
}

// oracleWorld makes the zones, and the children of each.
func oracleWorld(now time.Time) *lab.World {
	w := lab.NewWorld(now)
	w.AddZone("test.", lab.ZoneOptions{})
	for _, z := range oracleZones {
		fill(w.AddZone(z.name+".test.", z.o))
		w.AddZone("child."+z.name+".test.", lab.ZoneOptions{}).Add("host A 192.0.2.1")
		w.AddZone("plain."+z.name+".test.", lab.ZoneOptions{Unsigned: true}).Add("host A 192.0.2.1")
	}
	for _, z := range decided {
		fill(w.AddZone(z.name+".test.", z.o))
	}
	w.Zone("nsec.test").Add(
		"secure-insecure CNAME host.unsigned.test.",
		"secure-bogus CNAME host.broken.test.",
		"secure-secure CNAME host.nsec3.test.",
		"secure-none CNAME none.nsec3.test.",
		"chain1 CNAME chain2.nsec3.test.",
		"chain3 CNAME chain4.nsec3.test.",
		"*.wildalias CNAME host.nsec3.test.",
		"@ MX 10 host",
		"dname-secure DNAME nsec3.test.",
		"dname-secure TXT owner",
		"dname-insecure DNAME unsigned.test.",
		"dname-bogus DNAME broken.test.",
	)
	w.Zone("unsigned.test").Add("dname-secure DNAME nsec.test.", "dname-bogus DNAME broken.test.")
	w.Zone("nsec3.test").Add("dname-twice DNAME dname-secure.nsec.test.", "chain2 CNAME chain3.nsec.test.", "chain4 CNAME host.alg15.test.")
	w.Zone("unsigned.test").Add("insecure-secure CNAME host.nsec.test.", "insecure-bogus CNAME host.broken.test.")
	w.Zone("broken.test").Add("bogus-secure CNAME host.nsec.test.")
	for i := range 40 {
		w.Zone("nsec.test").Add(fmt.Sprintf("large TXT %d%s", i, strings.Repeat("x", 60)))
	}
	breakGaps(w.AddZone("gaps.test", lab.ZoneOptions{}))
	return w
}

// fill gives every zone the same content.
func fill(z *lab.Zone) {
	z.Add(
		"host A 192.0.2.1",
		"host A 192.0.2.2",
		"_smtp-client.host TLSA 3 1 1 "+strings.Repeat("ab", 32),
		"alias CNAME host",
		"moved DNAME @",
		"a.b.c TXT below",
		"*.wild TXT wild",
	)
}

// breakGaps breaks single sets of a good zone.
func breakGaps(z *lab.Zone) {
	const typeA, typeDNAME, typeNSEC = 1, 39, 47
	fill(z)
	z.Add("broken A 192.0.2.1", "bare A 192.0.2.1", "old A 192.0.2.1", "whole A 192.0.2.1", "yy A 192.0.2.1")
	z.Add("spoilt DNAME @", "nosig DNAME @", "moved TXT owner")
	z.Break("spoilt", typeDNAME, lab.BrokenSignatures)
	z.Break("nosig", typeDNAME, lab.NoSignatures)
	z.Break("broken", typeA, lab.BrokenSignatures)
	z.Break("bare", typeA, lab.NoSignatures)
	z.Break("old", typeA, lab.Expired)
	z.Break("whole", typeNSEC, lab.BrokenSignatures)
	z.Break("@", typeNSEC, lab.BrokenSignatures)
	z.Break("*.wild", typeNSEC, lab.BrokenSignatures)
}

func TestOracle(t *testing.T) {
	need(t, "nsd", "unbound", "unbound-host", "delv")
	w := oracleWorld(time.Now())
	servers, err := w.StartRealDNS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer closeOrFail(t, servers)
	own, err := w.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closeOrFail(t, own)
	judges := []judge{
		{"unbound-host", unboundHost(servers)},
		{"delv", delv(servers)},
	}
	judges = append(judges, judge{believed, theirWord(t, w, servers.Unbound)})
	strangers := len(judges)
	pool := x509.NewCertPool()
	pool.AddCert(servers.TLSCA.Certificate)
	for upstream, addr := range map[string]string{
		"unbound": servers.Unbound, "nsd": servers.NSD, "the lab": own.Addr(), "unbound over TLS": "tls://" + servers.TLS + "#" + lab.TLSName,
	} {
		judges = append(judges, judge{"we through " + upstream, ours(t, w, dnssec.Options{Upstreams: []string{addr}, TLSRoots: pool})})
	}
	t.Run("questions", func(t *testing.T) {
		for _, c := range oracleCases() {
			t.Run(c.typ+" "+c.name, func(t *testing.T) {
				t.Parallel()
				c.put(t, judges)
			})
		}
		for _, z := range decided {
			t.Run("decided "+z.name, func(t *testing.T) {
				t.Parallel()
				for i := range judges {
					want := z.ours
					if i < strangers {
						want = z.theirs
					}
					oracleCase{name: cmp.Or(z.ask, "host") + "." + z.name, typ: "A", want: want}.put(t, judges[i:i+1])
				}
			})
		}
	})
}

// put asks all judges.
func (c oracleCase) put(t *testing.T, judges []judge) {
	for _, j := range judges {
		got, why := j.ask(c.name+".test", c.typ)
		differs := j.name == c.but || j.name == believed && c.but == "unbound-host"
		switch {
		case !differs && got != c.want:
			t.Errorf("%s says %s, want %s: %s", j.name, got, c.want, why)
		case differs && got == c.want:
			t.Errorf("%s agrees now, though it is known that it %s", j.name, known[j.name])
		}
	}
}

// judge gives a verdict on a question, and says why.
type judge struct {
	name string
	ask  func(name, typ string) (verdict dnssec.State, why string)
}

var types = map[string]dnssec.Type{
	"A": dnssec.TypeA, "MX": dnssec.TypeMX, "TXT": dnssec.TypeTXT, "TLSA": dnssec.TypeTLSA,
}

func ours(t *testing.T, w *lab.World, o dnssec.Options) func(name, typ string) (dnssec.State, string) {
	var err error
	if o.Anchors, err = dnssec.ParseAnchors(w.Anchor()); err != nil {
		t.Fatal(err)
	}
	r, err := dnssec.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeOrFail(t, r) })
	return func(name, typ string) (dnssec.State, string) {
		a := r.Lookup(context.Background(), dnsname.MustParse(name), types[typ])
		return a.State, a.Reason
	}
}

// believed is the judge who takes unbound's word.
const believed = "we by unbound's word"

// theirWord judges by the AD bit of unbound, for which bogus is a failure.
func theirWord(t *testing.T, w *lab.World, upstream string) func(name, typ string) (dnssec.State, string) {
	ask := ours(t, w, dnssec.Options{Upstreams: []string{upstream}, Trust: dnssec.AD})
	return func(name, typ string) (dnssec.State, string) {
		state, why := ask(name, typ)
		if state == dnssec.Failed && strings.Contains(why, "SERVFAIL (extended error ") {
			state = bogus
		}
		return state, why
	}
}

// unboundHost judges by unbound's library, with unbound's settings.
func unboundHost(servers *lab.RealDNS) func(name, typ string) (dnssec.State, string) {
	conf := filepath.Join(servers.Dir, "unbound.conf")
	return func(name, typ string) (dnssec.State, string) {
		text := output("unbound-host", "-v", "-C", conf, "-t", typ, name+".")
		return read(text, "(BOGUS", "(insecure)", "(secure)"), text
	}
}

// delv judges by BIND's library what it gets from unbound, checking disabled.
func delv(servers *lab.RealDNS) func(name, typ string) (dnssec.State, string) {
	anchors := filepath.Join(servers.Dir, "root.anchors")
	host, port, _ := net.SplitHostPort(servers.Unbound)
	return func(name, typ string) (dnssec.State, string) {
		text := output("delv", "@"+host, "-p", port, "-a", anchors, "+root=.", name+".", typ)
		text = strings.ReplaceAll(text, "resolution failed: ncache", "ncache") // is how it calls a denial
		return read(text, "resolution failed", "unsigned", "fully validated"), text
	}
}

// read finds the worst of the three words in a text; Failed when there is none.
func read(text, bogusWord, insecureWord, secureWord string) dnssec.State {
	switch {
	case strings.Contains(text, bogusWord):
		return bogus
	case strings.Contains(text, insecureWord):
		return insecure
	case strings.Contains(text, secureWord):
		return secure
	}
	return dnssec.Failed
}

// output runs a program and returns all that it prints; a verdict is in there
// whatever the exit code is.
func output(program string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	text, _ := exec.CommandContext(ctx, program, args...).CombinedOutput()
	return strings.TrimSpace(string(text))
}

// need skips unless DANCEMTA_E2E is set, since this starts a thousand
// processes; DANCEMTA_E2E=required forbids to skip.
func need(t *testing.T, programs ...string) {
	t.Helper()
	mode, missing := os.Getenv("DANCEMTA_E2E"), lab.Missing(programs...)
	switch {
	case mode == "":
		t.Skip("needs real servers; set DANCEMTA_E2E=1 to run it")
	case missing != nil && mode == "required":
		t.Fatalf("not installed: %s", strings.Join(missing, " "))
	case missing != nil:
		t.Skipf("not installed: %s", strings.Join(missing, " "))
	}
}

func closeOrFail(t *testing.T, c interface{ Close() error }) {
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
