package dnssec

import (
	"fmt"
	"testing"

	"github.com/miekg/dns"
)

// TestCanonicalOrder is the list of RFC 4034 6.1, and neighbours that an order
// of text would turn round.
func TestCanonicalOrder(t *testing.T) {
	for _, list := range [][]string{
		{"example.", "a.example.", "yljkjljk.a.example.", "Z.a.example.", "zABC.a.EXAMPLE.", "z.example.", `\001.z.example.`, "*.z.example.", `\200.z.example.`},
		{".", "a.", "b.a.", "a.b."},
		{"a.example.", `a\000.example.`, "aa.example.", "b.example."},
		{"a.test.", "b.a.test.", "a-b.test.", "a0.test."}, // by labels, not by the octets of "."
	} {
		for i, a := range list {
			for j, b := range list {
				c, err := compareNames(a, b)
				if err != nil || sign(c) != sign(i-j) {
					t.Errorf("%s and %s: %d %v, want %d", a, b, c, err, sign(i-j))
				}
			}
		}
	}
	for _, bad := range []string{"", "a..b."} {
		if _, err := compareNames(bad, "b."); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

const (
	tNS, tSOA, tDS, tCNAME, tDNAME, tTLSA = dns.TypeNS, dns.TypeSOA, dns.TypeDS, dns.TypeCNAME, dns.TypeDNAME, dns.TypeTLSA
)

func TestDenyNSEC(t *testing.T) {
	apex := nsec{"z.", "b.z.", types{tNS, tSOA}}
	first := nsec{"z.", "a.z.", types{tNS, tSOA}}
	last := nsec{"w.z.", "z.", types{tTLSA}}
	for name, c := range map[string]struct {
		records []nsec
		name    string
		typ     uint16
		want    denial
	}{
		"no records":                          {nil, "a.z.", tTLSA, notDenied},
		"the type is not there":               {[]nsec{{"a.z.", "b.z.", types{1}}}, "a.z.", tTLSA, noType},
		"the type is there":                   {[]nsec{{"a.z.", "b.z.", types{tTLSA}}}, "a.z.", tTLSA, notDenied},
		"a CNAME is there":                    {[]nsec{{"a.z.", "b.z.", types{tCNAME}}}, "a.z.", tTLSA, notDenied},
		"a cut, asked for DS":                 {[]nsec{{"a.z.", "b.z.", types{tNS}}}, "a.z.", tDS, insecureCut},
		"a signed cut, asked for DS":          {[]nsec{{"a.z.", "b.z.", types{tNS, tDS}}}, "a.z.", tDS, notDenied},
		"no cut, asked for DS":                {[]nsec{{"a.z.", "b.z.", types{1}}}, "a.z.", tDS, noType},
		"the child's apex, asked for DS":      {[]nsec{{"a.z.", "b.a.z.", types{tNS, tSOA}}}, "a.z.", tDS, notDenied},
		"the parent's side, asked for a type": {[]nsec{{"a.z.", "b.z.", types{tNS}}}, "a.z.", tTLSA, notDenied},
		"the apex, asked for a type":          {[]nsec{apex}, "z.", tTLSA, noType},
		"an empty non-terminal":               {[]nsec{{"a.z.", "x.b.z.", nil}}, "b.z.", tTLSA, noType},
		"name and wildcard in one":            {[]nsec{apex}, "a.z.", tTLSA, noName},
		"name and wildcard in two":            {[]nsec{{"m.z.", "p.z.", nil}, apex}, "n.z.", tTLSA, noName},
		"the wildcard not denied":             {[]nsec{{"m.z.", "p.z.", nil}}, "n.z.", tTLSA, notDenied},
		"the name not denied":                 {[]nsec{apex}, "n.z.", tTLSA, notDenied},
		"the last wraps":                      {[]nsec{last, apex}, "x.z.", tTLSA, noName},
		"the owner is not covered":            {[]nsec{{"m.z.", "p.z.", nil}, apex}, "m.z.", tNS, noType},
		"next is not covered":                 {[]nsec{{"m.z.", "p.z.", nil}, apex}, "p.z.", tTLSA, notDenied},
		"the wildcard has the type":           {[]nsec{{"m.z.", "p.z.", nil}, {"*.z.", "b.z.", types{tTLSA}}}, "n.z.", tTLSA, notDenied},
		"the wildcard lacks the type":         {[]nsec{{"m.z.", "p.z.", nil}, {"*.z.", "b.z.", types{1}}}, "n.z.", tTLSA, noType},
		"the wildcard has a CNAME":            {[]nsec{{"m.z.", "p.z.", nil}, {"*.z.", "b.z.", types{tCNAME}}}, "n.z.", tTLSA, notDenied},
		"the wildcard has NS":                 {[]nsec{{"m.z.", "p.z.", nil}, {"*.z.", "b.z.", types{tNS}}}, "n.z.", tDS, notDenied},
		"the wildcard is an empty one":        {[]nsec{{"m.z.", "p.z.", nil}, {"z.", "a.*.z.", types{tNS, tSOA}}}, "n.z.", tTLSA, noType},
		"below a cut":                         {[]nsec{{"a.z.", "b.z.", types{tNS}}, first}, "x.a.z.", tTLSA, notDenied},
		"below a cut, asked for DS":           {[]nsec{{"a.z.", "b.z.", types{tNS, tDS}}, first}, "x.a.z.", tDS, notDenied},
		"below a DNAME":                       {[]nsec{{"a.z.", "b.z.", types{tDNAME}}, first}, "x.a.z.", tTLSA, notDenied},
		"beside a cut":                        {[]nsec{{"a.z.", "c.z.", types{tNS}}, {"z.", "a.z.", types{tNS, tSOA}}}, "b.z.", tTLSA, noName},
		"the wildcard of a closer name":       {[]nsec{{"a.b.z.", "p.b.z.", nil}, apex}, "n.b.z.", tTLSA, notDenied},
		"the root's":                          {[]nsec{{".", "a.", types{tNS, tSOA}}, {"a.", ".", types{tNS}}}, "b.", tTLSA, noName},
	} {
		zone := "z."
		if name == "the root's" {
			zone = "."
		}
		if got := denyNSEC(zone, c.records, c.name, c.typ); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestExpandedNSEC(t *testing.T) {
	for _, c := range []struct {
		record         nsec
		name, encloser string
		want           bool
	}{
		{nsec{"z.", "m.z.", nil}, "a.z.", "z.", true},
		{nsec{"z.", "m.z.", nil}, "b.a.z.", "z.", true},
		{nsec{"a.z.", "m.z.", nil}, "a.z.", "z.", false},         // it exists
		{nsec{"a.z.", "m.z.", nil}, "b.a.z.", "z.", false},       // a.z exists and is closer
		{nsec{"a.z.", "x.b.a.z.", nil}, "b.a.z.", "a.z.", false}, // an empty non-terminal
		{nsec{"a.z.", "x.b.a.z.", nil}, "0.b.a.z.", "a.z.", false},
		{nsec{"a.z.", "m.z.", types{tNS}}, "b.a.z.", "a.z.", false}, // not the parent's to say
		{nsec{"a.z.", "m.z.", types{tDNAME}}, "b.a.z.", "a.z.", false},
		{nsec{"a.z.", "m.z.", nil}, "x.z.", "z.", false}, // not covered
	} {
		if got := expandedNSEC("z.", []nsec{c.record}, c.name, c.encloser); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func h(b byte) (h hash) { h[0] = b; return h }

// TestNSEC3Covers: a name that the record matches is never covered, which the
// library's Cover gets wrong.
func TestNSEC3Covers(t *testing.T) {
	for _, c := range []struct {
		owner, next, name byte
		want              bool
	}{
		{2, 6, 4, true}, {2, 6, 2, false}, {2, 6, 6, false}, {2, 6, 1, false}, {2, 6, 7, false},
		{6, 2, 7, true}, {6, 2, 1, true}, {6, 2, 6, false}, {6, 2, 2, false}, {6, 2, 4, false},
		{3, 3, 4, true}, {3, 3, 2, true}, {3, 3, 3, false},
	} {
		if got := (nsec3{owner: h(c.owner), next: h(c.next)}).covers(h(c.name)); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

// fakeHashes is NSEC3 records over hashes that the test chooses.
func fakeHashes(names map[string]byte, records ...nsec3) *hashed {
	s := &hashed{apex: "z.", records: records, known: map[string]hash{}, spend: func(int) error { return nil }}
	for n, b := range names {
		s.known[n] = h(b)
	}
	return s
}

func TestDenyNSEC3(t *testing.T) {
	names := map[string]byte{"z.": 10, "a.z.": 20, "b.a.z.": 30, "*.z.": 40, "*.a.z.": 50, "c.b.a.z.": 60}
	rec := func(owner, next byte, t ...uint16) nsec3 { return nsec3{h(owner), h(next), t, false} }
	opt := func(owner, next byte) nsec3 { return nsec3{h(owner), h(next), nil, true} }
	apex := rec(10, 11, tNS, tSOA)
	for name, c := range map[string]struct {
		records []nsec3
		name    string
		typ     uint16
		want    denial
	}{
		"the type is not there":          {[]nsec3{rec(20, 21, 1)}, "a.z.", tTLSA, noType},
		"an empty non-terminal":          {[]nsec3{rec(20, 21)}, "a.z.", tTLSA, noType},
		"the type is there":              {[]nsec3{rec(20, 21, tTLSA)}, "a.z.", tTLSA, notDenied},
		"a CNAME is there":               {[]nsec3{rec(20, 21, tCNAME)}, "a.z.", tTLSA, notDenied},
		"a cut, asked for DS":            {[]nsec3{rec(20, 21, tNS)}, "a.z.", tDS, insecureCut},
		"the child's apex, asked for DS": {[]nsec3{rec(20, 21, tNS, tSOA)}, "a.z.", tDS, notDenied},
		"the parent's side":              {[]nsec3{rec(20, 21, tNS)}, "a.z.", tTLSA, notDenied},
		"no such name":                   {[]nsec3{apex, rec(19, 21), rec(39, 41)}, "a.z.", tTLSA, noName},
		"no such name, deeper":           {[]nsec3{apex, rec(19, 21), rec(39, 41)}, "b.a.z.", tTLSA, noName},
		"without the encloser":           {[]nsec3{rec(19, 21), rec(39, 41)}, "a.z.", tTLSA, notDenied},
		"without the next closer":        {[]nsec3{apex, rec(39, 41)}, "a.z.", tTLSA, notDenied},
		"without the wildcard":           {[]nsec3{apex, rec(19, 21)}, "a.z.", tTLSA, notDenied},
		"the wildcard of the apex":       {[]nsec3{rec(20, 21, 1), rec(29, 31), rec(39, 41)}, "b.a.z.", tTLSA, notDenied},
		"the wildcard lacks the type":    {[]nsec3{apex, rec(19, 21), rec(40, 41, 1)}, "a.z.", tTLSA, noType},
		"the wildcard has the type":      {[]nsec3{apex, rec(19, 21), rec(40, 41, tTLSA)}, "a.z.", tTLSA, notDenied},
		"the wildcard has a CNAME":       {[]nsec3{apex, rec(19, 21), rec(40, 41, tCNAME)}, "a.z.", tTLSA, notDenied},
		"the wildcard has NS":            {[]nsec3{apex, rec(19, 21), rec(40, 41, tNS)}, "a.z.", tDS, notDenied},
		"the encloser is a cut":          {[]nsec3{rec(20, 21, tNS), rec(29, 31), rec(49, 51)}, "b.a.z.", tTLSA, notDenied},
		"the encloser has a DNAME":       {[]nsec3{rec(20, 21, tDNAME), rec(29, 31), rec(49, 51)}, "b.a.z.", tTLSA, notDenied},
		"opt-out, asked for DS":          {[]nsec3{apex, opt(19, 21)}, "a.z.", tDS, optedOut},
		"opt-out, asked for a type":      {[]nsec3{apex, opt(19, 21), rec(39, 41)}, "a.z.", tTLSA, optedOut},
		"opt-out of the wildcard alone":  {[]nsec3{apex, rec(19, 21), opt(39, 41)}, "a.z.", tTLSA, noName},
		"opt-out without the encloser":   {[]nsec3{opt(19, 21)}, "a.z.", tDS, notDenied},
		"opt-out matched":                {[]nsec3{apex, opt(20, 21)}, "a.z.", tDS, noType},
	} {
		got, err := fakeHashes(names, c.records...).deny(c.name, c.typ)
		if err != nil || got != c.want {
			t.Errorf("%s: got %d %v, want %d", name, got, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		record     nsec3
		ok, optOut bool
	}{
		"covered":          {rec(19, 21), true, false},
		"covered, opt-out": {opt(19, 21), true, true},
		"matched":          {rec(20, 21), false, false},
	} {
		ok, optOut, err := fakeHashes(names, c.record).expanded("b.a.z.", "z.")
		if ok != c.ok || optOut != c.optOut || err != nil {
			t.Errorf("%s: %v %v %v", name, ok, optOut, err)
		}
	}
}

// TestHash is from the example zone of RFC 5155 A.
func TestHash(t *testing.T) {
	for name, want := range map[string]string{
		"example.":       "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom",
		"a.example.":     "35mthgpgcu1qg68fab165klnsnk3dpvl",
		"x.y.w.example.": "2vptu5timamqttgl4luu9kg21e0aor3s",
		"X.Y.W.Example.": "2vptu5timamqttgl4luu9kg21e0aor3s",
		"*.w.example.":   "r53bq7cc2uvmubfu5ocmm6pers9tk9en",
		"ns1.example.":   "2t7b4g4vsa5smi47k61mv5bv1a22bojr",
		"ai.example.":    "gjeqe526plbf1g8mklp59enfd789njgi",
		"xx.example.":    "t644ebqk9bibcna874givr6joj62mlhv",
		"ns2.example.":   "q04jkcevqvmu85r014c7dkba38o0ji5r",
		"y.w.example.":   "ji6neoaepv8b5o6k4ev33abha8ht9fgc",
		"w.example.":     "k8udemvp1j2f7eg6jebps17vp3n8i58h",
		"x.w.example.":   "b4um86eghhds6nea196smvmlo4ors995",
	} {
		s := &hashed{iterations: 12, salt: []byte{0xaa, 0xbb, 0xcc, 0xdd}, known: map[string]hash{}, spend: func(int) error { return nil }}
		got, err := s.hash(name)
		expected, ok := decodeHash(want)
		if err != nil || !ok || got != expected {
			t.Errorf("%s: %x %v", name, got, err)
		}
	}
}

// TestNSEC3Parameters: RFC 5155 8.2.
func TestNSEC3Parameters(t *testing.T) {
	const owner = "0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM"
	for _, c := range []struct {
		text    string
		records int
		fault   bool
	}{
		{"z. NSEC3 1 0 1 aa " + owner + " A", 2, false},
		{"z. NSEC3 1 1 1 aa " + owner + " A", 2, false},
		{"z. NSEC3 1 2 1 aa " + owner + " A", 1, false}, // unknown flags
		{"z. NSEC3 1 3 1 aa " + owner + " A", 1, false},
		{"z. NSEC3 2 0 1 aa " + owner + " A", 1, false}, // unknown hash
		{"y.z. NSEC3 1 0 1 aa " + owner + " A", 1, false},
		{"z. NSEC3 1 0 2 aa " + owner + " A", 1, true},
		{"z. NSEC3 1 0 1 ab " + owner + " A", 1, true},
		{"z. NSEC3 1 0 1 - " + owner + " A", 1, true},
	} {
		s := &hashed{apex: "z."}
		if err := s.add(text(t, canonical(owner)+"z. NSEC3 1 0 1 aa "+owner+" A").(*dns.NSEC3)); err != nil {
			t.Fatal(err)
		}
		err := s.add(text(t, canonical(owner)+c.text).(*dns.NSEC3))
		if len(s.records) != c.records || (err != nil) != c.fault {
			t.Errorf("%s: %d records, %v", c.text, len(s.records), err)
		}
	}
	s := &hashed{apex: "z."}
	for _, label := range []string{"00", "short", fmt.Sprintf("%032d1", 0)} {
		if err := s.add(text(t, label+".z. NSEC3 1 0 1 aa "+owner+" A").(*dns.NSEC3)); err != nil || len(s.records) != 0 {
			t.Errorf("%s is taken: %v", label, err)
		}
	}
}

// The root may deny by NSEC3, too, under anchors of one's own.
func TestNSEC3OfTheRoot(t *testing.T) {
	for _, apex := range []string{".", "test."} {
		s := hashed{apex: apex, known: map[string]hash{}, spend: func(int) error { return nil }}
		owner := dns.HashName(apex, dns.SHA1, 0, "")
		rr := &dns.NSEC3{Hdr: dns.RR_Header{Name: canonical(owner + "." + apex)}, Hash: dns.SHA1, NextDomain: owner}
		if apex == "." {
			rr.Hdr.Name = canonical(owner + ".")
		}
		if err := s.add(rr); err != nil || len(s.records) != 1 {
			t.Fatalf("%s: %v, %d records", apex, err, len(s.records))
		}
		if found, err := s.deny(apex, dns.TypeTXT); found != noType || err != nil {
			t.Errorf("%s: %v, %v", apex, found, err)
		}
	}
}
