package tlsa_test

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/lab"
)

const name = "sensor7._device.example.org"

// record makes a record by code that is not ours.
func record(t testing.TB, usage, selector, matching uint8, cert *x509.Certificate) tlsa.Record {
	t.Helper()
	return parse(t, lab.TLSA(usage, selector, matching, cert))
}

func parse(t testing.TB, text string) tlsa.Record {
	t.Helper()
	var r tlsa.Record
	var data string
	if _, err := fmt.Sscanf(text, "TLSA %d %d %d %s", &r.Usage, &r.Selector, &r.Matching, &data); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.Data, err = hex.DecodeString(data); err != nil {
		t.Fatal(err)
	}
	return r
}

// decide runs both stages: "unusable", "match" or "mismatch".
func decide(r tlsa.Record, chain []*x509.Certificate, o tlsa.Options) string {
	usable := tlsa.Usable([]tlsa.Record{r}, nil)
	if len(usable) == 0 {
		return "unusable"
	}
	if _, err := tlsa.Match(usable, chain, o); err != nil {
		return "mismatch"
	}
	return "match"
}

// Every usage, selector and matching type, each with the right data, with the
// data of another certificate, and with data of the wrong size, for a client
// and for a user.
func TestEveryKindOfRecord(t *testing.T) {
	ca, other := lab.NewCA("ours", lab.CAOptions{}), lab.NewCA("other", lab.CAOptions{})
	cred := ca.Issue(lab.LeafOptions{Names: []string{name}})
	strange := other.Issue(lab.LeafOptions{Names: []string{name}})
	tests := []struct {
		usage, selector, matching uint8
		clientRight, userRight    string
		clientOther, userOther    string
		cut                       string
	}{
		{0, 0, 0, "unusable", "unusable", "unusable", "unusable", "unusable"},
		{0, 0, 1, "unusable", "unusable", "unusable", "unusable", "unusable"},
		{0, 0, 2, "unusable", "unusable", "unusable", "unusable", "unusable"},
		{0, 1, 0, "unusable", "unusable", "unusable", "unusable", "unusable"},
		{0, 1, 1, "unusable", "unusable", "unusable", "unusable", "unusable"},
		{0, 1, 2, "unusable", "unusable", "unusable", "unusable", "unusable"},
		{1, 0, 0, "unusable", "unusable", "unusable", "unusable", "unusable"},
		{1, 0, 1, "unusable", "unusable", "unusable", "unusable", "unusable"},
		{1, 0, 2, "unusable", "unusable", "unusable", "unusable", "unusable"},
		{1, 1, 0, "unusable", "unusable", "unusable", "unusable", "unusable"},
		{1, 1, 1, "unusable", "unusable", "unusable", "unusable", "unusable"},
		{1, 1, 2, "unusable", "unusable", "unusable", "unusable", "unusable"},
		{2, 0, 0, "match", "match", "mismatch", "mismatch", "unusable"},
		{2, 0, 1, "match", "match", "mismatch", "mismatch", "unusable"},
		{2, 0, 2, "match", "match", "mismatch", "mismatch", "unusable"},
		{2, 1, 0, "match", "match", "mismatch", "mismatch", "unusable"},
		{2, 1, 1, "match", "match", "mismatch", "mismatch", "unusable"},
		{2, 1, 2, "match", "match", "mismatch", "mismatch", "unusable"},
		{3, 0, 0, "match", "mismatch", "mismatch", "mismatch", "unusable"},
		{3, 0, 1, "match", "mismatch", "mismatch", "mismatch", "unusable"},
		{3, 0, 2, "match", "mismatch", "mismatch", "mismatch", "unusable"},
		{3, 1, 0, "match", "mismatch", "mismatch", "mismatch", "unusable"},
		{3, 1, 1, "match", "mismatch", "mismatch", "mismatch", "unusable"},
		{3, 1, 2, "match", "mismatch", "mismatch", "mismatch", "unusable"},
	}
	client := tlsa.Options{Name: name, Now: time.Now()}
	user := tlsa.Options{Name: name, Now: time.Now(), AnchorsOnly: true}
	for _, test := range tests {
		right, wrong := ca.Certificate, other.Certificate
		if test.usage == 1 || test.usage == 3 {
			right, wrong = cred.Leaf(), strange.Leaf()
		}
		r := record(t, test.usage, test.selector, test.matching, right)
		w := record(t, test.usage, test.selector, test.matching, wrong)
		cut := r
		cut.Data = r.Data[1:]
		check := func(what, got, want string) {
			if got != want {
				t.Errorf("%s, %s: %s, want %s", r.Short(), what, got, want)
			}
		}
		check("client", decide(r, cred.Chain, client), test.clientRight)
		check("user", decide(r, cred.Chain, user), test.userRight)
		check("client, other certificate", decide(w, cred.Chain, client), test.clientOther)
		check("user, other certificate", decide(w, cred.Chain, user), test.userOther)
		check("client, cut", decide(cut, cred.Chain, client), test.cut)
		check("user, cut", decide(cut, cred.Chain, user), test.cut)
	}
}

// Match itself never takes a record that Usable would have dropped.
func TestMatchWithoutUsable(t *testing.T) {
	cred := lab.SelfSigned(lab.LeafOptions{Names: []string{name}})
	for _, r := range []tlsa.Record{
		{}, {Usage: 3}, {Usage: 3, Selector: 1}, {Usage: 3, Selector: 2}, {Usage: 3, Selector: 255, Matching: 255}, {Usage: 3, Matching: 3},
		{Usage: 2, Selector: 9}, {Usage: 2, Matching: 9}, {Usage: 2}, {Usage: 4, Data: cred.Leaf().Raw},
		{Usage: 1, Data: cred.Leaf().Raw}, {Usage: 2, Data: []byte("no certificate")},
	} {
		for _, chain := range [][]*x509.Certificate{cred.Chain, append(cred.Chain, cred.Chain...), {{}}, {nil}, nil, {{Raw: []byte("no key")}}} {
			if got, err := tlsa.Match([]tlsa.Record{r}, chain, tlsa.Options{Name: name, Now: time.Now()}); err == nil {
				t.Errorf("%s matched %s", r.Short(), got.Record.Short())
			}
		}
	}
}

// RFC 7671 5.1: a usage 3 record decides although a usage 2 record before it
// has a chain that is wrong in every respect.
func TestUsage3First(t *testing.T) {
	ca := lab.NewCA("ours", lab.CAOptions{})
	cred := ca.Issue(lab.LeafOptions{Names: []string{"another.example"}})
	records := []tlsa.Record{record(t, 2, 0, 1, ca.Certificate), record(t, 3, 1, 1, cred.Leaf())}
	got, err := tlsa.Match(records, cred.Chain, tlsa.Options{Name: name, Now: time.Now()})
	if err != nil || got.Record.Usage != 3 || !got.NotAfter.IsZero() {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestNotAfterOfThePath(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	day := func(n int) time.Time { return now.Add(time.Duration(n) * 24 * time.Hour) }
	root := lab.NewCA("root", lab.CAOptions{NotAfter: day(9)})
	tests := []struct {
		name            string
		between, leaf   int
		want            int
		publishedBefore bool
	}{
		{"the leaf ends first", 5, 3, 3, false},
		{"the CA between ends first", 2, 3, 2, false},
		{"the anchor ends first", 12, 11, 9, false},
		{"what lies above the anchor does not count", 12, 11, 11, true},
	}
	for _, test := range tests {
		between := lab.NewCA("between", lab.CAOptions{Parent: root, NotAfter: day(test.between)})
		cred := between.Issue(lab.LeafOptions{Names: []string{name}, NotAfter: day(test.leaf)})
		r := record(t, 2, 0, 1, root.Certificate)
		if test.publishedBefore {
			r = record(t, 2, 0, 1, between.Certificate)
		}
		got, err := tlsa.Match([]tlsa.Record{r}, cred.Chain, tlsa.Options{Name: name, Now: now})
		if err != nil || !got.NotAfter.Equal(day(test.want)) || got.Record.String() != r.String() {
			t.Errorf("%s: %v %s, %v", test.name, got.NotAfter, got.Record.Short(), err)
		}
	}
}

// Of two paths the one that lasts longest counts.
func TestLongestPath(t *testing.T) {
	key := lab.NewKey()
	now := time.Now().Truncate(time.Second)
	short := lab.NewCA("ca", lab.CAOptions{Key: key, NotAfter: now.Add(time.Hour)})
	long := lab.NewCA("ca", lab.CAOptions{Key: key, NotAfter: now.Add(24 * time.Hour)})
	cred := short.Issue(lab.LeafOptions{Names: []string{name}})
	for _, chain := range [][]*x509.Certificate{
		{cred.Leaf(), short.Certificate, long.Certificate}, {cred.Leaf(), long.Certificate, short.Certificate},
	} {
		records := []tlsa.Record{record(t, 2, 0, 1, short.Certificate), record(t, 2, 0, 1, long.Certificate)}
		got, err := tlsa.Match(records, chain, tlsa.Options{Name: name, Now: now})
		if err != nil || !got.NotAfter.Equal(long.Certificate.NotAfter) || got.Record.String() != records[1].String() {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

func TestMismatchSaysWhatWasTried(t *testing.T) {
	ca := lab.NewCA("ours\n\x1b[31m", lab.CAOptions{})
	cred := ca.Issue(lab.LeafOptions{Names: []string{name}})
	cred.Chain[1] = lab.NewCA("ours\n\x1b[31m", lab.CAOptions{}).Certificate // of the same name
	records := []tlsa.Record{
		record(t, 3, 1, 1, ca.Certificate), record(t, 2, 0, 1, cred.Chain[1]), record(t, 2, 1, 0, ca.Certificate),
	}
	_, err := tlsa.Match(records, cred.Chain, tlsa.Options{Name: name, Now: time.Now()})
	var miss *tlsa.MismatchError
	if !errors.As(err, &miss) || len(miss.Tried) != 3 {
		t.Fatalf("got %v", err)
	}
	for i, want := range []struct{ record, why string }{
		{records[0].Short(), "not the leaf that was shown"},
		{records[2].Short(), "no issuer shown is the one published"},
		{records[1].Short(), "x509: certificate signed by unknown authority"},
	} {
		if got := miss.Tried[i]; got.Record != want.record || !strings.HasPrefix(got.Why, want.why) {
			t.Errorf("tried %d: %+v, want %+v", i, got, want)
		}
	}
	if text := err.Error(); strings.ContainsAny(text, "\n\x1b") || len(text) > 1000 {
		t.Errorf("text for the log: %q", text)
	}
}
