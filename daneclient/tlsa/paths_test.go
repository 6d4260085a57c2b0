package tlsa_test

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/lab"
)

// What was proved once may be taken from memory, and nothing else: each row is asked
// after a match of the good chain, and once more after itself.
func TestPaths(t *testing.T) {
	now := time.Now()
	root := grow(t, nil, ca("root"))
	between := grow(t, root, ca("between", func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-10*time.Minute), now.Add(time.Hour) }))
	end := grow(t, between, leaf())
	forged := grow(t, grow(t, nil, ca("between")), leaf())
	spoiled := func() *x509.Certificate { // the leaf, but for one bit of its signature
		c := *end.cert
		c.Raw, c.Signature = append([]byte{}, c.Raw...), append([]byte{}, c.Signature...)
		c.Raw[len(c.Raw)-1] ^= 1
		c.Signature[len(c.Signature)-1] ^= 1
		return &c
	}()
	good := []*x509.Certificate{end.cert, between.cert, root.cert}
	ofRoot, ofBetween := record(t, 2, 0, 1, root.cert), record(t, 2, 1, 1, between.cert)
	paths := tlsa.NewPaths(100)
	decide := func(r tlsa.Record, o tlsa.Options, chain ...*x509.Certificate) error {
		o.Paths = paths
		_, err := tlsa.Match([]tlsa.Record{r}, chain, o)
		return err
	}
	o := tlsa.Options{Name: name, Now: now}
	for _, test := range []struct {
		what  string
		r     tlsa.Record
		o     tlsa.Options
		chain []*x509.Certificate
		want  string
	}{
		{"again", ofRoot, o, good, ""},
		{"another anchor of the path", ofBetween, o, good, ""},
		{"another leaf of the same names", ofRoot, o, []*x509.Certificate{forged.cert, between.cert, root.cert}, "unknown authority"},
		{"another signature", ofRoot, o, []*x509.Certificate{spoiled, between.cert, root.cert}, "unknown authority"},
		{"without the CA between", ofRoot, o, []*x509.Certificate{end.cert, root.cert}, "unknown authority"},
		{"the CA between has expired", ofRoot, tlsa.Options{Name: name, Now: now.Add(61 * time.Minute)}, good, "expired"},
		{"the CA between is not valid yet", ofRoot, tlsa.Options{Name: name, Now: now.Add(-20 * time.Minute)}, good, "expired or is not yet valid"},
		{"another name", ofRoot, tlsa.Options{Name: "other.test", Now: now}, good, "does not hold"},
		{"for servers", ofRoot, tlsa.Options{Hosts: []string{name}, Now: now}, good, ""},
	} {
		if err := decide(ofRoot, o, good...); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			expect(t, test.r, decide(test.r, test.o, test.chain...), test.want)
		}
	}
}

// A leaf for clients alone is none for servers, whatever is remembered.
func TestPathsPurpose(t *testing.T) {
	root := grow(t, nil, ca("root"))
	end := grow(t, root, leaf(eku(x509.ExtKeyUsageClientAuth)))
	r, chain := record(t, 2, 0, 1, root.cert), []*x509.Certificate{end.cert, root.cert}
	paths := tlsa.NewPaths(100)
	_, err := tlsa.Match([]tlsa.Record{r}, chain, tlsa.Options{Name: name, Now: time.Now(), Paths: paths})
	expect(t, r, err, "")
	_, err = tlsa.Match([]tlsa.Record{r}, chain, tlsa.Options{Hosts: []string{name}, Now: time.Now(), Paths: paths})
	expect(t, r, err, "usage")
}

// The result is the same with memory and without, also when it is full.
func TestPathsResult(t *testing.T) {
	authority := lab.NewCA("root", lab.CAOptions{})
	r := record(t, 2, 1, 1, authority.Certificate)
	paths := tlsa.NewPaths(4)
	for round := range 3 {
		for i := range 10 {
			chain := authority.Issue(lab.LeafOptions{Names: []string{name, fmt.Sprint("h", i, ".test")}}).Chain
			for range 2 {
				with, err1 := tlsa.Match([]tlsa.Record{r}, chain, tlsa.Options{Name: name, Now: time.Now(), Paths: paths})
				without, err2 := tlsa.Match([]tlsa.Record{r}, chain, tlsa.Options{Name: name, Now: time.Now()})
				if err1 != nil || err2 != nil || !with.NotAfter.Equal(without.NotAfter) || with.Record.String() != without.Record.String() {
					t.Errorf("%d, %d: %v %v, %v %v", round, i, with, err1, without, err2)
				}
			}
		}
	}
}
