package tlsa_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/lab"
)

func TestProblem(t *testing.T) {
	cert := readCert(t, "testdata/leaf.pem")
	whole, key := cert.Raw, cert.RawSubjectPublicKeyInfo
	tests := []struct {
		usage, selector, matching uint8
		data                      []byte
		want                      string // what the problem begins with; "" for none
	}{
		{3, 0, 0, whole, ""},
		{3, 1, 0, key, ""},
		{2, 0, 0, whole, ""},
		{2, 1, 0, key, ""},
		{3, 0, 1, make([]byte, 32), ""},
		{2, 1, 2, make([]byte, 64), ""},
		{0, 0, 1, make([]byte, 32), "usage 0 would need public roots"},
		{1, 1, 1, make([]byte, 32), "usage 1 would need public roots"},
		{4, 0, 1, make([]byte, 32), "unknown usage"},
		{255, 0, 1, make([]byte, 32), "unknown usage"},
		{3, 2, 1, make([]byte, 32), "unknown selector"},
		{3, 255, 1, make([]byte, 32), "unknown selector"},
		{3, 1, 3, make([]byte, 64), "unknown matching type"},
		{3, 1, 255, make([]byte, 32), "unknown matching type"},
		{3, 1, 1, make([]byte, 31), "digest of 31 octets, not 32"},
		{3, 1, 1, make([]byte, 33), "digest of 33 octets, not 32"},
		{3, 1, 1, nil, "digest of 0 octets, not 32"},
		{3, 1, 2, make([]byte, 32), "digest of 32 octets, not 64"},
		{3, 0, 0, nil, "not a certificate: "},
		{3, 0, 0, key, "not a certificate: "},
		{3, 0, 0, whole[:len(whole)-1], "not a certificate: "},
		{3, 0, 0, append(bytes.Clone(whole), 0), "not a certificate: "},
		{3, 1, 0, nil, "not a public key: "},
		{3, 1, 0, whole, "not a public key: "},
		{3, 1, 0, key[:len(key)-1], "not a public key: "},
		{2, 0, 0, make([]byte, 60<<10), "61440 octets, over 16384"},
		{3, 1, 0, make([]byte, 60<<10), "61440 octets, over 16384"},
	}
	for _, test := range tests {
		r := tlsa.Record{Usage: test.usage, Selector: test.selector, Matching: test.matching, Data: test.data}
		got := r.Problem(nil)
		if test.want == "" && got != "" || !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %q, want %q", r.Short(), got, test.want)
		}
		if kept := len(tlsa.Usable([]tlsa.Record{r}, nil)) == 1; kept != (test.want == "") {
			t.Errorf("%s: kept is %v", r.Short(), kept)
		}
	}
}

func TestDigestAgility(t *testing.T) {
	cert := readCert(t, "testdata/leaf.pem")
	short := tlsa.Record{Usage: 3, Selector: 1, Matching: 2, Data: make([]byte, 63)}
	record := func(usage, selector, matching uint8) tlsa.Record {
		r, err := tlsa.Make(usage, selector, matching, cert)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	tests := []struct {
		name string
		give []tlsa.Record
		want []int // indices kept
	}{
		{"SHA-256 alone", []tlsa.Record{record(3, 1, 1), record(3, 1, 1)}, []int{0, 1}},
		{"SHA-512 outdoes SHA-256", []tlsa.Record{record(3, 1, 1), record(3, 1, 2)}, []int{1}},
		{"in either order", []tlsa.Record{record(3, 1, 2), record(3, 1, 1)}, []int{0}},
		{"full data stays and outdoes nothing", []tlsa.Record{record(3, 1, 0), record(3, 1, 1)}, []int{0, 1}},
		{"full data stays beside SHA-512", []tlsa.Record{record(3, 1, 0), record(3, 1, 1), record(3, 1, 2)}, []int{0, 2}},
		{"another selector", []tlsa.Record{record(3, 0, 2), record(3, 1, 1)}, []int{0, 1}},
		{"another usage", []tlsa.Record{record(2, 1, 2), record(3, 1, 1)}, []int{0, 1}},
		{"an unusable one outdoes nothing", []tlsa.Record{short, record(3, 1, 1)}, []int{1}},
		{"nothing", nil, nil},
	}
	for _, test := range tests {
		got := tlsa.Usable(test.give, nil)
		var want []tlsa.Record
		for _, i := range test.want {
			want = append(want, test.give[i])
		}
		if len(got) != len(want) {
			t.Errorf("%s: kept %v, want %v", test.name, got, want)
			continue
		}
		for i := range got {
			if got[i].String() != want[i].String() {
				t.Errorf("%s: kept %v, want %v", test.name, got[i].Short(), want[i].Short())
			}
		}
	}
}

// A weaker digest is dropped even when it alone would match.
func TestWeakerDigestDoesNotMatch(t *testing.T) {
	leaf := lab.SelfSigned(lab.LeafOptions{Names: []string{name}})
	other := lab.SelfSigned(lab.LeafOptions{Names: []string{name}})
	records := tlsa.Usable([]tlsa.Record{record(t, 3, 1, 1, leaf.Leaf()), record(t, 3, 1, 2, other.Leaf())}, nil)
	if r, err := tlsa.Match(records, leaf.Chain, tlsa.Options{}); err == nil {
		t.Errorf("matched %s", r.Record.Short())
	}
}

// Record bombs cost little and say nothing (a 64 KiB answer holds no more).
func TestRecordBombs(t *testing.T) {
	cred := lab.NewCA("bomb", lab.CAOptions{}).Issue(lab.LeafOptions{Names: []string{name}})
	good := record(t, 3, 1, 1, cred.Leaf())
	digests := make([]tlsa.Record, 100)
	for i := range digests {
		digests[i] = tlsa.Record{Usage: 2, Selector: uint8(i % 2), Matching: 2, Data: make([]byte, 64)}
	}
	tests := []struct {
		name    string
		records []tlsa.Record
		usable  int
	}{
		{"100 records", append(digests[:99:99], good), 100},
		{"101 records, a good one among them", append(digests[:100:100], good), 0},
		{"one of 60 KiB", []tlsa.Record{{Usage: 2, Data: make([]byte, 60<<10)}}, 0},
	}
	for _, test := range tests {
		start := time.Now()
		usable := tlsa.Usable(test.records, nil)
		if len(usable) != test.usable {
			t.Errorf("%s: %d usable, want %d", test.name, len(usable), test.usable)
		}
		_, err := tlsa.Match(usable, cred.Chain, tlsa.Options{Name: name, Now: time.Now()})
		if (err == nil) != (test.usable > 0) {
			t.Errorf("%s: %v", test.name, err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: %v", test.name, took)
		}
	}
	_, err := tlsa.Match(digests, cred.Chain, tlsa.Options{Name: name, Now: time.Now()})
	if err == nil || len(err.Error()) > 2000 || !strings.HasSuffix(err.Error(), "; and 94 more") {
		t.Errorf("error text: %v", err)
	}
}
