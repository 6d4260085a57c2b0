package tlsa_test

import (
	"bytes"
	"crypto/x509"
	"testing"
	"time"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/lab"
)

// FuzzMatch feeds any record beside a good chain. What matches must be one of
// the few records that publish it.
func FuzzMatch(f *testing.F) {
	root := lab.NewCA("root", lab.CAOptions{})
	cred := root.Issue(lab.LeafOptions{Names: []string{name}})
	var good []tlsa.Record
	for selector := range uint8(2) {
		for matching := range uint8(3) {
			for _, r := range []tlsa.Record{
				record(f, 2, selector, matching, root.Certificate), record(f, 3, selector, matching, cred.Leaf()),
				record(f, 0, selector, matching, root.Certificate), record(f, 1, selector, matching, cred.Leaf()),
			} {
				good = append(good, r)
				f.Add(r.Usage, r.Selector, r.Matching, r.Data)
				f.Add(r.Usage^1, r.Selector, r.Matching, r.Data)
				f.Add(r.Usage, r.Selector, r.Matching, r.Data[:len(r.Data)-1])
			}
		}
	}
	f.Add(uint8(2), uint8(0), uint8(0), bytes.Repeat([]byte{0x30, 0x80}, 100))
	o := tlsa.Options{Name: name, Now: time.Now(), Roots: pool(root.Certificate)}
	f.Fuzz(func(t *testing.T, usage, selector, matching uint8, data []byte) {
		r := tlsa.Record{Usage: usage, Selector: selector, Matching: matching, Data: data}
		for _, records := range [][]tlsa.Record{{r}, tlsa.Usable([]tlsa.Record{r}, o.Roots)} {
			if _, err := tlsa.Match(records, cred.Chain, o); err == nil && !publishes(good, r, root.Certificate) {
				t.Fatalf("%s matched", r)
			}
		}
	})
}

// publishes reports whether r is one of the good records. A 2 0 0 record may
// also hold any certificate with the root's key and name: an anchor's own
// signature is nobody's business.
func publishes(good []tlsa.Record, r tlsa.Record, root *x509.Certificate) bool {
	for _, g := range good {
		if g.String() == r.String() {
			return true
		}
	}
	if r.Usage != 2 || r.Selector != 0 || r.Matching != 0 {
		return false
	}
	cert, err := x509.ParseCertificate(r.Data)
	return err == nil && cert.IsCA && bytes.Equal(cert.RawSubject, root.RawSubject) &&
		bytes.Equal(cert.RawSubjectPublicKeyInfo, root.RawSubjectPublicKeyInfo)
}

func BenchmarkMatch(b *testing.B) {
	root := lab.NewCA("root", lab.CAOptions{})
	cred := root.Issue(lab.LeafOptions{Names: []string{name}})
	for _, r := range []tlsa.Record{
		record(b, 3, 1, 1, cred.Leaf()), record(b, 2, 0, 1, root.Certificate), record(b, 2, 0, 0, root.Certificate),
	} {
		b.Run(r.String()[:5], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tlsa.Match(tlsa.Usable([]tlsa.Record{r}, nil), cred.Chain, tlsa.Options{Name: name, Now: cred.Leaf().NotBefore}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
