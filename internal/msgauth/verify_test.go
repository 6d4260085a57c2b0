package msgauth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

// zones answers as DNS does: "name TYPE" gives one record a string, "fail" no answer,
// "empty" none of the type; what is not there does not exist. It counts questions.
type zones struct {
	records map[string][]string
	asked   []string
}

func (z *zones) Lookup(ctx context.Context, name dnsname.Name, t Type) Answer {
	key := name.String() + " " + string(t)
	z.asked = append(z.asked, key)
	a := Answer{Known: true}
	records, ok := z.records[key]
	switch {
	case ctx.Err() != nil:
		return Answer{}
	case !ok:
		a.NXDomain = true
		return a
	case records[0] == "fail":
		return Answer{}
	case records[0] == "hang":
		<-ctx.Done()
		return Answer{}
	case records[0] == "empty":
		return a
	}
	for _, r := range records {
		switch t {
		case TypeTXT:
			a.TXT = append(a.TXT, r)
		case TypeA, TypeAAAA:
			a.Addrs = append(a.Addrs, netip.MustParseAddr(r))
		case TypeMX, TypePTR:
			a.Names = append(a.Names, dnsname.MustParse(r))
		}
	}
	return a
}

func (z zones) verifier(o VerifierOptions) *Verifier {
	o.Hostname = dnsname.MustParse("mx.example.test")
	if o.Resolver == nil {
		o.Resolver = &locked{zones: z}
	}
	if o.Now == nil {
		o.Now = func() time.Time { return time.Unix(1528637910, 0) } // a second after the RFC's message
	}
	return NewVerifier(o)
}

// judge checks a message that 192.0.2.7 sends as joe@football.example.com.
func judge(t *testing.T, v *Verifier, message string) Report {
	t.Helper()
	c, err := v.Check(t.Context(), Envelope{Peer: testPeer, Helo: "mta.football.example.com",
		Sender: testSender}, strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != message {
		t.Fatalf("the message came out as %q (%v)", got, err)
	}
	return c.Report
}

// supper is the message of RFC 8463 A.3, and its keys.
const (
	edSignature = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n" +
		" d=football.example.com; i=@football.example.com;\r\n" +
		" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n" +
		" subject : date : message-id : from : subject : date;\r\n" +
		" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n" +
		" b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n" +
		" Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n"
	rsaSignature = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n" +
		" d=football.example.com; i=@football.example.com;\r\n" +
		" q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n" +
		" date : message-id : from : subject : date;\r\n" +
		" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n" +
		" b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n" +
		" DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n" +
		" dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\n"
	supper = "From: Joe SixPack <joe@football.example.com>\r\n" +
		"To: Suzie Q <suzie@shopping.example.net>\r\n" +
		"Subject: Is dinner ready?\r\n" +
		"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n" +
		"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n" +
		"\r\n" +
		"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"

	edName   = "brisbane._domainkey.football.example.com TXT"
	edRecord = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	rsaName  = "test._domainkey.football.example.com TXT"
	rsaKey   = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/" +
		"byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)

// TestDKIM changes the RFC's message, one of its signatures or its records.
func TestDKIM(t *testing.T) {
	type change struct{ old, new string }
	for _, c := range []struct {
		name      string
		signature string
		change    change
		ed, rsa   string // records; "": the right ones
		want      Result
		why       string
	}{
		{"RFC 8463 Ed25519", edSignature, change{}, "", "", Pass, ""},
		{"RFC 8463 RSA", rsaSignature, change{}, "", "", Pass, ""},
		{"text of the body", edSignature, change{"hungry", "thirsty"}, "", "", Fail, "the body was changed"},
		{"more body", edSignature, change{"Joe.\r\n", "Joe.\r\nBuy this\r\n"}, "", "", Fail, "the body was changed"},
		{"empty lines behind the body", edSignature, change{"Joe.\r\n", "Joe.  \r\n\r\n\r\n"}, "", "", Pass, ""},
		{"Subject", edSignature, change{"dinner ready", "dinner READY"}, "", "", Fail, "the header was changed, or another key signed"},
		{"white space in Subject", edSignature, change{"Is dinner", "Is\r\n\t dinner "}, "", "", Pass, ""},
		{"a second Subject on top", edSignature, change{"From: Joe", "Subject: pay me\r\nFrom: Joe"}, "", "", Fail, "the header was changed, or another key signed"},
		{"a second From on top", rsaSignature, change{"From: Joe", "From: eve@evil.test\r\nFrom: Joe"}, "", "", Fail, "the header was changed, or another key signed"},
		{"a field that is not signed", edSignature, change{"From: Joe", "X-Spam: no\r\nFrom: Joe"}, "", "", Pass, ""},
		{"a tag of the signature", edSignature, change{"t=1528637909", "t=1528637908"}, "", "", Fail, "the header was changed, or another key signed"},
		{"another key", edSignature, change{}, "v=DKIM1; k=ed25519; p=12qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "", Fail, "the header was changed, or another key signed"},
		{"no key", edSignature, change{"s=brisbane", "s=sydney"}, "", "", PermError, "no key"},
		{"no record of the type", edSignature, change{}, "empty", "", PermError, "no key"},
		{"DNS is silent", edSignature, change{}, "fail", "", TempError, "DNS does not say what the key is"},
		{"revoked", edSignature, change{}, "v=DKIM1; k=ed25519; p=", "", PermError, "the record revokes the key: its p= is empty"},
		{"of another version", edSignature, change{}, "v=DKIM2; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "", PermError, "the record is of another version"},
		{"for another service", edSignature, change{}, edRecord + "; s=tlsrpt", "", PermError, "the record is for another service than email"},
		{"for another digest", edSignature, change{}, edRecord + "; h=sha1", "", PermError, "the record does not allow sha256"},
		{"tests", edSignature, change{}, edRecord + "; t=s:y", "", Policy, "the domain only tests"},
		{"strict i=", edSignature, change{"i=@football", "i=joe@mail.football"}, edRecord + "; t=s", "", PermError, "i= is below d=, which its record forbids"},
		{"i= elsewhere", edSignature, change{"i=@football", "i=@evilfootball"}, "", "", PermError, "i= is not of d="},
		{"RSA as Ed25519", edSignature, change{}, "v=DKIM1; p=" + rsaKey, "", PermError, "the record is for another kind of key"},
		{"no base64", edSignature, change{}, "v=DKIM1; k=ed25519; p=!", "", PermError, "the key cannot be read"},
		{"a short Ed25519 key", edSignature, change{}, "v=DKIM1; k=ed25519; p=11qY", "", PermError, "the key cannot be read"},
		{"a record that is none", edSignature, change{}, "p", "", PermError, "the record of the key cannot be read"},
		{"no k=", rsaSignature, change{}, "", "p=" + rsaKey, Pass, ""},
		{"RSA of 1016 bits", rsaSignature, change{}, "", "v=DKIM1; p=" + shortRSA(t, 1016), Policy, "the key is too short"},
		{"RSA of 8200 bits", rsaSignature, change{}, "", "v=DKIM1; p=" + longRSA(t, 8200), Policy, "the key is too long"},
		{"SHA-1", rsaSignature, change{"rsa-sha256", "rsa-sha1"}, "", "", Policy, "SHA-1"},
		{"unknown algorithm", rsaSignature, change{"rsa-sha256", "rsa-sha512"}, "", "", Neutral, "unknown algorithm"},
		{"l=", edSignature, change{"q=dns/txt;", "q=dns/txt; l=2;"}, "", "", Policy, "covers a part of the body only"},
		{"version", edSignature, change{"v=1", "v=2"}, "", "", Neutral, "another version"},
		{"From is not signed", edSignature, change{"h=from : to :\r\n subject : date : message-id : from", "h=to :\r\n subject : date : message-id"}, "", "", PermError, "From is not signed"},
		{"expired", edSignature, change{"t=1528637909;", "t=1528637900; x=1528637909;"}, "", "", Policy, "expired"},
		{"x= before t=", edSignature, change{"t=1528637909;", "t=1528637909; x=1528637908;"}, "", "", Neutral, "x= is no time, or before t="},
		{"t= of letters", edSignature, change{"t=1528637909;", "t=now;"}, "", "", Neutral, "t= is no time"},
		{"a tag twice", edSignature, change{"q=dns/txt;", "q=dns/txt; d=evil.test;"}, "", "", Neutral, "cannot be read"},
		{"no tags", edSignature, change{"v=1; a", "v 1; a"}, "", "", Neutral, "cannot be read"},
		{"no domain", edSignature, change{"d=football.example.com", "d=foot ball.example.com"}, "", "", Neutral, "d= is no domain"},
		{"no selector", edSignature, change{"s=brisbane", "s=bris/bane"}, "", "", Neutral, "s= is no selector"},
		{"canonical form", edSignature, change{"c=relaxed/relaxed", "c=relaxed/nofws"}, "", "", Neutral, "unknown canonical form"},
		{"key elsewhere", edSignature, change{"q=dns/txt", "q=https"}, "", "", Neutral, "the key is not in DNS"},
		{"b= of nothing", rsaSignature, change{"b=F45d", "b=;z=F45d"}, "", "", Neutral, "b= cannot be read"},
		{"bh= too short", rsaSignature, change{"bh=2jUS", "bh="}, "", "", Neutral, "bh= cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			z := zones{records: map[string][]string{edName: {edRecord}, rsaName: {"v=DKIM1; k=rsa; p=" + rsaKey}}}
			if c.ed != "" {
				z.records[edName] = []string{c.ed}
			}
			if c.rsa != "" {
				z.records[rsaName] = []string{c.rsa}
			}
			message := c.signature + supper
			if c.change.old != "" {
				if message = strings.Replace(message, c.change.old, c.change.new, 1); message == c.signature+supper {
					t.Fatal("nothing was changed")
				}
			}
			r := judge(t, z.verifier(VerifierOptions{}), message)
			if len(r.DKIM) != 1 || r.DKIM[0].Result != c.want || r.DKIM[0].Why != c.why {
				t.Errorf("got %+v, want %s %q", r.DKIM, c.want, c.why)
			}
		})
	}
}

func shortRSA(t *testing.T, bits int) string {
	t.Setenv("GODEBUG", "rsa1024min=0")
	return rsaText(t, bits)
}

func longRSA(t *testing.T, bits int) string { return rsaText(t, bits) }

// rsaText is an RSA key of a length that nobody has to compute with.
func rsaText(t *testing.T, bits int) string {
	t.Helper()
	n := make([]byte, bits/8)
	rand.Read(n)
	n[0] |= 0x80
	n[len(n)-1] |= 1
	k := rsa.PublicKey{N: bigInt(n), E: 65537}
	return base64PKCS1(&k)
}

// TestDKIMSeveral: all signatures are judged by themselves, up to a bound, and several
// keys under one name are none.
func TestDKIMSeveral(t *testing.T) {
	z := zones{records: map[string][]string{edName: {edRecord}, rsaName: {"v=DKIM1; p=" + rsaKey, "v=DKIM1; p="}}}
	r := judge(t, z.verifier(VerifierOptions{}), edSignature+rsaSignature+strings.Repeat(edSignature, 10)+supper)
	if len(r.DKIM) != maxSignatures || r.DKIM[0].Result != Pass || r.DKIM[7].Result != Pass {
		t.Errorf("got %+v", r.DKIM)
	}
	if r.DKIM[1].Result != PermError || r.DKIM[1].Why != "several keys under one name" {
		t.Errorf("got %+v", r.DKIM[1])
	}
	if r.DKIMResult() != Pass {
		t.Errorf("the best is %s", r.DKIMResult())
	}
}

// TestSecondOpinion: what go-msgauth signs in any form passes here, and what we sign
// passes there; what is changed passes nowhere.
func TestSecondOpinion(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	record, err := Record(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	z := zones{records: map[string][]string{rsaName: {record}}}
	v := z.verifier(VerifierOptions{Now: time.Now})
	lookup := func(string) ([]string, error) { return []string{record}, nil }
	for _, body := range []string{"", "\r\n", "\r\n\r\n\r\n", "x", "x\r\n", " x  y \r\n\t\r\n", "a\r\n\r\n\r\nb\r\n\r\n", "\r\n\r\nx\r\n", " \r\n", "a \t\r\n \r\n"} {
		for _, form := range []string{"simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"} {
			head, text, _ := strings.Cut(form, "/")
			message := "From:  Joe <joe@football.example.com>\r\nSubject: a\r\n  b \r\nSubject:c\r\nTo :x@y.test\r\n\r\n" + body
			var b strings.Builder
			err := dkim.Sign(&b, strings.NewReader(message), &dkim.SignOptions{Domain: "football.example.com", Selector: "test", Signer: key,
				HeaderCanonicalization: dkim.Canonicalization(head), BodyCanonicalization: dkim.Canonicalization(text),
				HeaderKeys: []string{"From", "Subject", "To", "Subject", "Subject", "Cc"}})
			if err != nil {
				t.Fatal(err)
			}
			if r := judge(t, v, b.String()); r.DKIM[0].Result != Pass {
				t.Errorf("%s of %q: %+v", form, body, r.DKIM)
			}
			other := strings.Replace(b.String(), "Subject:c", "Subject:d", 1)
			if r := judge(t, v, other); r.DKIM[0].Result != Fail {
				t.Errorf("%s of %q with another Subject: %+v", form, body, r.DKIM)
			}
			theirs, err := dkim.VerifyWithOptions(strings.NewReader(b.String()+"!"), &dkim.VerifyOptions{LookupTXT: lookup})
			if r := judge(t, v, b.String()+"!"); err != nil || (theirs[0].Err == nil) != (r.DKIM[0].Result == Pass) {
				t.Errorf("%s of %q and more: %+v, they say %v", form, body, r.DKIM, theirs[0].Err)
			}
		}
	}
}

// TestOurs: what our signer signs passes.
func TestOurs(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	s, err := New(Options{Keys: []Key{{Domain: dnsname.MustParse("football.example.com"), Selector: dnsname.MustParse("test"), Key: key}}})
	if err != nil {
		t.Fatal(err)
	}
	record, _ := Record(key.Public())
	z := zones{records: map[string][]string{rsaName: {record}}}
	for _, body := range []string{"", "x\r\n", strings.Repeat("All work and no play \r\n", 10000)} {
		signed, err := s.Own([]byte("From: joe@football.example.com\r\nSubject: x\r\n\r\n" + body))
		if err != nil {
			t.Fatal(err)
		}
		if r := judge(t, z.verifier(VerifierOptions{Now: time.Now}), string(signed)); r.DKIM[0].Result != Pass {
			t.Errorf("%.20q: %+v", body, r.DKIM)
		}
	}
}

// TestCheckFails: what ends a message, and that nobody is left over.
func TestCheckFails(t *testing.T) {
	z := zones{records: map[string][]string{}}
	v := z.verifier(VerifierOptions{})
	cut := iotest.ErrReader(io.ErrUnexpectedEOF)
	for name, c := range map[string]struct {
		message func() io.Reader
		check   error
		strip   error
	}{
		"cut off in the header": {func() io.Reader { return io.MultiReader(strings.NewReader("From: x"), cut) }, io.ErrUnexpectedEOF, io.ErrUnexpectedEOF},
		"cut off in the body":   {func() io.Reader { return io.MultiReader(strings.NewReader(edSignature+supper), cut) }, io.ErrUnexpectedEOF, nil},
		"a long line": {func() io.Reader {
			return strings.NewReader("From: x\r\nX: " + strings.Repeat("x", 300<<10) + "\r\n\r\n")
		}, ErrHeader, ErrHeader},
		"many fields": {func() io.Reader { return strings.NewReader(strings.Repeat("X: y\r\n", 1001) + "\r\n") }, ErrHeader, ErrHeader},
		"no end":      {func() io.Reader { return strings.NewReader(strings.Repeat("X: y\r\n ", 100000)) }, ErrHeader, ErrHeader},
	} {
		if _, err := v.Check(t.Context(), Envelope{}, c.message()); !errors.Is(err, c.check) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Strip(dnsname.MustParse("mx.example.test"), c.message()); !errors.Is(err, c.strip) {
			t.Errorf("%s: Strip says %v", name, err)
		}
	}
}

// TestSlowDNS: a resolver that never answers costs the time of all look-ups, once,
// and makes no pass.
func TestSlowDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := zones{records: map[string][]string{edName: {"hang"}, rsaName: {"hang"},
			"football.example.com TXT": {"hang"}, "_dmarc.football.example.com TXT": {"hang"}}}
		begin := time.Now()
		r := judge(t, z.verifier(VerifierOptions{Timeout: 20 * time.Second}), edSignature+rsaSignature+supper)
		if took := time.Since(begin); took != 20*time.Second {
			t.Errorf("it took %v", took)
		}
		if r.SPF.Result != TempError || r.DKIMResult() != TempError || r.DMARC.Result != TempError || r.DMARC.Verdict != Later {
			t.Errorf("got %+v", r)
		}
	})
}

// TestTooMany: who gets no turn to ask is told a temporary error.
func TestTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := zones{records: map[string][]string{"football.example.com TXT": {"v=spf1 +all"}}}
		v := z.verifier(VerifierOptions{Checks: 1})
		v.slots <- struct{}{}
		r := judge(t, v, edSignature+supper)
		if r.SPF.Result != TempError || r.DKIM[0].Result != TempError || r.DMARC.Verdict != Later {
			t.Errorf("got %+v", r)
		}
		<-v.slots
		if r := judge(t, v, edSignature+supper); r.SPF.Result != Pass {
			t.Errorf("got %+v", r)
		}
	})
}

// TestNoResolver: a verifier that can ask nobody passes nothing.
func TestNoResolver(t *testing.T) {
	v := NewVerifier(VerifierOptions{Hostname: dnsname.MustParse("mx.example.test")})
	if r := judge(t, v, supper); r.SPF.Result != TempError || r.DMARC.Verdict != Later {
		t.Errorf("got %+v", r)
	}
	if (DMARC{}).Verdict != Later {
		t.Error("the zero verdict takes mail")
	}
}

// broken panics at one name.
type broken struct{ name string }

func (b broken) Lookup(_ context.Context, name dnsname.Name, _ Type) Answer {
	if name.String() == b.name {
		panic("records of strangers")
	}
	return Answer{Known: true, NXDomain: true}
}

// TestPanic: a fault of ours in a check is an error of that message, and no more.
func TestPanic(t *testing.T) {
	for _, name := range []string{"football.example.com", "brisbane._domainkey.football.example.com", "_dmarc.example.com"} {
		v := NewVerifier(VerifierOptions{Hostname: dnsname.MustParse("mx.example.test"), Resolver: broken{name}})
		_, err := v.Check(t.Context(), Envelope{Peer: testPeer, Helo: "h.test", Sender: testSender}, strings.NewReader(edSignature+supper))
		if err == nil || !strings.HasPrefix(err.Error(), "panic in a check: records of strangers\n") {
			t.Errorf("%s: %v", name, err)
		}
		if len(v.slots) != 0 {
			t.Errorf("%s: its turn has not ended", name)
		}
	}
}

// TestLargeBody: a body over what is kept in memory goes through a file that nobody
// sees, and out as it came.
func TestLargeBody(t *testing.T) {
	dir := t.TempDir()
	z := zones{records: map[string][]string{}}
	judge(t, z.verifier(VerifierOptions{Dir: dir}), supper+strings.Repeat("x\r\n", 100000))
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left over: %v %v", left, err)
	}
}

// BenchmarkCheck judges a message of 4 KiB with an RSA-2048 and an Ed25519 signature,
// SPF with two includes, and DMARC, its DNS at hand.
func BenchmarkCheck(b *testing.B) {
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	domain := dnsname.MustParse("football.example.com")
	ed := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	s, err := New(Options{Keys: []Key{{Domain: domain, Selector: dnsname.MustParse("test"), Key: long}, {Domain: domain, Selector: dnsname.MustParse("brisbane"), Key: ed}}})
	if err != nil {
		b.Fatal(err)
	}
	rsaRecord, _ := Record(long.Public())
	edRecord, _ := Record(ed.Public())
	message, err := s.Own([]byte(strings.TrimSuffix(supper, "Joe.\r\n") + strings.Repeat("All work and no play makes Jack a dull boy.\r\n", 85)))
	if err != nil {
		b.Fatal(err)
	}
	z := zones{records: map[string][]string{edName: {edRecord}, rsaName: {rsaRecord},
		"football.example.com TXT": {"v=spf1 include:a.test include:b.test -all"}, "a.test TXT": {"v=spf1 ip4:198.51.100.0/24 -all"}, "b.test TXT": {"v=spf1 ip4:192.0.2.0/24 -all"},
		"_dmarc.example.com TXT": {"v=DMARC1; p=reject; rua=mailto:x@example.com"}}}
	v := z.verifier(VerifierOptions{Now: time.Now, Resolver: quiet{z}})
	e := Envelope{Peer: testPeer, Helo: "mta.football.example.com", Sender: mailaddr.MustParse("joe@football.example.com")}
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		c, err := v.Check(b.Context(), e, strings.NewReader(string(message)))
		if err != nil {
			b.Fatal(err)
		}
		if r := c.Report; r.SPF.Result != Pass || len(r.DKIM) != 2 || r.DKIM[0].Result != Pass || r.DKIM[1].Result != Pass || r.DMARC.Result != Pass {
			b.Fatalf("%+v", r)
		}
		io.Copy(io.Discard, c)
		c.Close()
	}
}
