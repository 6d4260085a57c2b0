package tlsa_test

import (
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/lab"
)

func TestFindings(t *testing.T) {
	ca, other := lab.NewCA("ours", lab.CAOptions{}), lab.NewCA("other", lab.CAOptions{})
	cred := ca.Issue(lab.LeafOptions{Names: []string{name}})
	strange := other.Issue(lab.LeafOptions{Names: []string{name}})
	dated := ca.Issue(lab.LeafOptions{Names: []string{name}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	for _, test := range []struct {
		name    string
		records []tlsa.Record
		cred    lab.Credential
		user    bool
		want    []string // "match", or what the reason begins with; "-" before it where the record is not usable
	}{
		{"one of three", []tlsa.Record{record(t, 3, 1, 1, strange.Leaf()), record(t, 3, 1, 1, cred.Leaf()), record(t, 2, 0, 1, other.Certificate)}, cred, false,
			[]string{"not the leaf that was shown", "match", "no issuer shown is the one published"}},
		{"a weaker digest", []tlsa.Record{record(t, 3, 1, 1, cred.Leaf()), record(t, 3, 1, 2, strange.Leaf())}, cred, false,
			[]string{"-a record with a stronger digest stands beside it", "not the leaf that was shown"}},
		{"usage 1 without roots", []tlsa.Record{record(t, 1, 1, 1, cred.Leaf())}, cred, false, []string{"-usage 1 would need public roots"}},
		{"a key for a user", []tlsa.Record{record(t, 3, 1, 1, cred.Leaf()), record(t, 2, 0, 1, ca.Certificate)}, cred, true,
			[]string{"-only a CA counts here", "match"}},
		{"an expired leaf", []tlsa.Record{record(t, 2, 0, 1, ca.Certificate)}, dated, false, []string{"x509: certificate has expired"}},
		{"no chain", []tlsa.Record{record(t, 2, 0, 1, ca.Certificate), record(t, 3, 1, 1, cred.Leaf())}, lab.Credential{}, false,
			[]string{"no certificate was shown", "not the leaf that was shown"}},
		{"no records", nil, cred, false, nil},
	} {
		o := tlsa.Options{Name: name, Now: time.Now(), AnchorsOnly: test.user}
		got := tlsa.Findings(test.records, test.cred.Chain, o)
		if len(got) != len(test.want) {
			t.Fatalf("%s: %d findings", test.name, len(got))
		}
		some := false
		for i, f := range got {
			want, unusable := strings.CutPrefix(test.want[i], "-")
			some = some || f.Matches
			if f.Record.String() != test.records[i].String() || f.Usable == unusable || f.Matches != (want == "match") ||
				!f.Matches && !strings.HasPrefix(f.Why, want) || f.Matches && f.Why != "" {
				t.Errorf("%s: %d: %+v, want %q", test.name, i, f, test.want[i])
			}
		}
		_, err := tlsa.Match(tlsa.Usable(test.records, nil), test.cred.Chain, o)
		if some != (err == nil) {
			t.Errorf("%s: findings say %v, Match says %v", test.name, some, err)
		}
	}
}

// An RRset that is too large to be honest is shown in part, as worth nothing.
func TestFindingsAreBounded(t *testing.T) {
	cred := lab.SelfSigned(lab.LeafOptions{Names: []string{name}})
	records := make([]tlsa.Record, 101)
	for i := range records {
		records[i] = record(t, 3, 1, 1, cred.Leaf())
	}
	got := tlsa.Findings(records, cred.Chain, tlsa.Options{Name: name, Now: time.Now()})
	if len(got) != 100 || got[0].Matches || got[99].Usable || !strings.HasPrefix(got[0].Why, "one of 101 records, over 100") {
		t.Errorf("%d findings, %+v", len(got), got[0])
	}
}
