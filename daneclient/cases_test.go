package daneclient_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/lab"
	"dancemta/saslext"
)

const (
	caseDevice = "sensor7._device.example.test"
	caseUsers  = "_user.example.test"
)

// presenter brings a chain to the verifier: by hand, or through a handshake.
// told is the name by dane_clientid; "" for none.
type presenter func(t *testing.T, cred lab.Credential, told string) daneclient.Credential

// TestCases: testdata/tlsa/cases.txt, judged in memory.
func TestCases(t *testing.T) {
	runCases(t, []bool{true, false}, func(_ *testing.T, cred lab.Credential, told string) daneclient.Credential {
		c := credential(cred.Chain...)
		if told != "" {
			c = named(told, c)
		}
		return c
	})
}

// runCases judges all lines, by the extension, by the certificate, or both.
func runCases(t *testing.T, byExtension []bool, present presenter) {
	t.Helper()
	pki := newCasePKI()
	for _, c := range readCases(t) {
		for _, ext := range byExtension {
			for _, user := range []bool{false, true} {
				want := c.want[column(ext, user)]
				if got := pki.judge(t, c, ext, user, present); got != want {
					t.Errorf("line %d: %s, extension %v, user %v: %s, want %s", c.line, c.text, ext, user, got, want)
				}
			}
		}
	}
}

func column(ext, user bool) (i int) {
	if !ext {
		i++
	}
	if user {
		i += 2
	}
	return i
}

// tlsaCase is one line of the table.
type tlsaCase struct {
	line                          int
	text                          string // for messages
	roots, publishes, shown, leaf string
	usage, selector, matching     uint8
	want                          [4]string // client ext, client cert, user ext, user cert
}

func readCases(t *testing.T) []tlsaCase {
	t.Helper()
	text, err := os.ReadFile("../testdata/tlsa/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	var cases []tlsaCase
	for n, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if len(words) != 11 {
			t.Fatalf("line %d: %d words, want 11", n+1, len(words))
		}
		c := tlsaCase{
			line: n + 1, text: strings.Join(words[:7], " "),
			roots: words[0], publishes: words[4], shown: words[5], leaf: words[6], want: [4]string(words[7:]),
		}
		if _, err := fmt.Sscan(strings.Join(words[1:4], " "), &c.usage, &c.selector, &c.matching); err != nil {
			t.Fatalf("line %d: %v", n+1, err)
		}
		cases = append(cases, c)
	}
	return cases
}

// TestCasesAreComplete: every cell of the table has its line.
func TestCasesAreComplete(t *testing.T) {
	have := map[string]bool{}
	for _, c := range readCases(t) {
		kind := "match"
		switch c.publishes {
		case "other":
			kind = "mismatch"
		case "cut":
			kind = "unusable"
		}
		have[fmt.Sprintf("%s roots, %d %d %d %s", c.roots, c.usage, c.selector, c.matching, kind)] = true
	}
	for usage := range 4 {
		roots := "none"
		if usage < 2 {
			roots = "root"
		}
		for selector := range 2 {
			for matching := range 3 {
				for _, kind := range []string{"match", "mismatch", "unusable"} {
					if cell := fmt.Sprintf("%s roots, %d %d %d %s", roots, usage, selector, matching, kind); !have[cell] {
						t.Errorf("no line for %s", cell)
					}
				}
			}
		}
	}
}

// casePKI holds the certificates that the lines speak of.
type casePKI struct {
	root, sub, otherRoot *lab.CA
	client, user         map[string]lab.Credential // by form of the leaf
	otherLeaf            *x509.Certificate
}

func newCasePKI() *casePKI {
	p := &casePKI{root: lab.NewCA("root", lab.CAOptions{}), otherRoot: lab.NewCA("root", lab.CAOptions{})}
	p.sub = lab.NewCA("sub", lab.CAOptions{Parent: p.root})
	p.client = p.leaves(lab.LeafOptions{Names: []string{caseDevice}}, "pump8._device.example.test", "*._device.example.test")
	p.user = p.leaves(lab.LeafOptions{Names: []string{"example.test"}, UIDs: []string{"rick"}}, "example.net", "*.example.test")
	p.otherLeaf = p.sub.Issue(lab.LeafOptions{Names: []string{caseDevice}}).Leaf()
	return p
}

// leaves makes one certificate of each form.
func (p *casePKI) leaves(good lab.LeafOptions, renamed, starred string) map[string]lab.Credential {
	now := time.Now()
	forms := map[string]func(*lab.LeafOptions){
		"good":     func(*lab.LeafOptions) {},
		"expired":  func(o *lab.LeafOptions) { o.NotAfter = now.Add(-time.Minute) },
		"future":   func(o *lab.LeafOptions) { o.NotBefore = now.Add(time.Hour) },
		"nameless": func(o *lab.LeafOptions) { o.Names = nil },
		"renamed":  func(o *lab.LeafOptions) { o.Names = []string{renamed} },
		"starred":  func(o *lab.LeafOptions) { o.Names = []string{starred} },
		"server":   func(o *lab.LeafOptions) { o.EKU = serverAuth },
		"code":     func(o *lab.LeafOptions) { o.EKU = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} },
		"both":     func(o *lab.LeafOptions) { o.EKU = append(serverAuth, x509.ExtKeyUsageClientAuth) },
	}
	made := map[string]lab.Credential{}
	for form, change := range forms {
		o := good
		change(&o)
		made[form] = p.sub.Issue(o)
	}
	return made
}

// judge publishes the record of a line, presents its chain, and returns the word.
func (p *casePKI) judge(t *testing.T, c tlsaCase, ext, user bool, present presenter) string {
	t.Helper()
	owner, leaves := caseDevice, p.client
	if user {
		owner, leaves = caseUsers, p.user
	}
	cred, ok := leaves[c.leaf]
	if !ok {
		t.Fatalf("line %d: no leaf called %q", c.line, c.leaf)
	}
	dns := &answers{}
	dns.set(owner, secure(p.record(t, c, cred.Leaf())))
	v := verifier(t, daneclient.Options{Resolver: dns, Roots: p.roots(t, c)})
	told := ""
	if ext {
		told = owner
	}
	cred.Chain = p.shown(t, c, cred.Leaf())
	shown := present(t, cred, told)
	var err error
	if user {
		_, err = (&saslext.Authenticator{Verifier: v, Rules: caseRules{}}).Login(t.Context(), shown, "")
	} else {
		_, err = v.Client(t.Context(), shown, allow(caseDevice))
	}
	return wordOf(t, err)
}

// caseRules allow the users of example.test.
type caseRules struct{}

func (caseRules) AllowsUser(id saslext.Identity) bool { return id.Domain.String() == "example.test" }
func (caseRules) MayActAs(_, _ saslext.Identity) bool { return false }

// wordOf returns the reason: that of the verifier where there is one.
func wordOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return "ok"
	}
	if e, ok := errors.AsType[*daneclient.Error](err); ok {
		return e.Reason.String()
	}
	e, ok := errors.AsType[*saslext.Error](err)
	if !ok {
		t.Fatalf("no reason in %v", err)
	}
	return e.Reason.String()
}

// record makes the record by code that is not ours.
func (p *casePKI) record(t *testing.T, c tlsaCase, leaf *x509.Certificate) dnssec.TLSA {
	t.Helper()
	pinsLeaf := c.usage%2 == 1
	var cert *x509.Certificate
	switch {
	case c.publishes == "root", c.publishes == "cut" && !pinsLeaf:
		cert = p.root.Certificate
	case c.publishes == "sub":
		cert = p.sub.Certificate
	case c.publishes == "leaf", c.publishes == "cut":
		cert = leaf
	case c.publishes == "other" && pinsLeaf:
		cert = p.otherLeaf
	case c.publishes == "other":
		cert = p.otherRoot.Certificate
	default:
		t.Fatalf("line %d: nothing called %q to publish", c.line, c.publishes)
	}
	r := dnssec.TLSA{Usage: c.usage, Selector: c.selector, Matching: c.matching}
	var hex string
	if _, err := fmt.Sscanf(lab.TLSA(0, c.selector, c.matching, cert), "TLSA 0 %d %d %s", new(int), new(int), &hex); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(hex, "%x", &r.Data); err != nil {
		t.Fatal(err)
	}
	if c.publishes == "cut" {
		r.Data = r.Data[:len(r.Data)-1]
	}
	return r
}

func (p *casePKI) roots(t *testing.T, c tlsaCase) *x509.CertPool {
	t.Helper()
	switch c.roots {
	case "none":
		return nil
	case "root":
		return poolOf(p.root)
	case "other":
		return poolOf(p.otherRoot)
	}
	t.Fatalf("line %d: no roots called %q", c.line, c.roots)
	return nil
}

func (p *casePKI) shown(t *testing.T, c tlsaCase, leaf *x509.Certificate) []*x509.Certificate {
	t.Helper()
	switch c.shown {
	case "all":
		return []*x509.Certificate{leaf, p.sub.Certificate, p.root.Certificate}
	case "top":
		return []*x509.Certificate{leaf, p.root.Certificate}
	case "bare":
		return []*x509.Certificate{leaf, p.sub.Certificate}
	case "leaf":
		return []*x509.Certificate{leaf}
	}
	t.Fatalf("line %d: no chain called %q", c.line, c.shown)
	return nil
}
