package msgauth

import (
	"io"
	"slices"
	"strings"
	"testing"

	"dancemta/internal/dnsname"
)

// TestForged: which Authentication-Results fields of others pass. RFC 8601 5
func TestForged(t *testing.T) {
	ours := dnsname.MustParse("mx.xn--bcher-kva.test")
	for _, c := range []struct {
		field string
		stays bool
	}{
		{"Authentication-Results: mx.xn--bcher-kva.test; dkim=pass", false},
		{"authentication-RESULTS: MX.xn--BCHER-kva.Test; none", false},
		{"Authentication-Results: mx.bücher.test; spf=pass", false},
		{"Authentication-Results: mx.B\u00dcCHER.test; spf=pass", false},
		{"Authentication-Results: mx.xn--bcher-kva.test.; spf=pass", false},
		{"Authentication-Results:mx.xn--bcher-kva.test", false},
		{"Authentication-Results : mx.xn--bcher-kva.test; spf=pass", false},
		{"Authentication-Results:\r\n\t mx.xn--bcher-kva.test\r\n ; spf=pass", false},
		{"Authentication-Results: (a (comment\\)) of us) mx.xn--bcher-kva.test; spf=pass", false},
		{"Authentication-Results: mx.xn--bcher-kva.test (x) 1; spf=pass", false},
		{"Authentication-Results: \"mx.xn--bcher-kva.test\"; spf=pass", false},
		{"Authentication-Results: \"mx.xn--\\bcher-kva.test\"; spf=pass", false},
		{"Authentication-Results: \"mx.xn--bcher\r\n\t-kva.test\"; spf=pass", false},
		{"Authentication-Results: mx.other.test 2; spf=pass", false}, // a version that nobody knows
		{"Authentication-Results: mx.other.test 1 1; spf=pass", false},
		{"Authentication-Results: mx.other.test spf=pass", false},
		{"Authentication-Results: ; spf=pass", false},
		{"Authentication-Results:", false},
		{"Authentication-Results: " + strings.Repeat("(", 30) + strings.Repeat(")", 30) + "mx.other.test; none", false},
		{"Authentication-Results", false},
		{"Authentication-Results: mx.other.test; spf=pass (other.test: domain of x@y.test designates 192.0.2.7 as permitted sender) smtp.mailfrom=x@y.test; dkim=pass header.i=@y.test header.b=\"a=\"", true},
		{"Authentication-Results: mx.other.test 1; none", true},
		{"Authentication-Results: mx.other.test", true},
		{"Authentication-Results: mx.other.test; spf=pass (mx.xn--bcher-kva.test; x", true}, // his, and nobody else's
		{"Authentication-Results: (x) mx.other.test; none", false},                          // nobody knows who of us reads comments
		{"Authentication-Results: mx.xn--bcher-kva.test(x); spf=pass", false},
		{"Authentication-Results: (;) mx.xn--bcher-kva.test; spf=pass", false},
		{"Authentication-Results: (\\;) mx.xn--bcher-kva.test; spf=pass", false},
		{"Authentication-Results: \";\"mx.xn--bcher-kva.test; spf=pass", false},
		{"Authentication-Results: mx.xn--bcher-kva.test\u00a0; spf=pass", false},
		{"Authentication-Results: mx.xn--bcher\x01-kva.test; spf=pass", false},
		{"Authentication-Results: mx.xn--bcher\r\n -kva.test; spf=pass", false},
		{"Authentication-Results: mx.other.test\x00; spf=pass", false},
		{"Authentication-Results: mx.other.test; dkim/1=pass (p=none;x) policy.x/y=z;", true},
		{"Authentication-Results: evil.mx.xn--bcher-kva.test; spf=pass", true},
		{"Authentication-Results: mx.xn--bcher-kva.test.evil.test; spf=pass", true},
		{"X-Authentication-Results: mx.xn--bcher-kva.test; spf=pass", true},
		{"ARC-Authentication-Results: i=1; mx.xn--bcher-kva.test; spf=pass", true},
		{"Subject: Authentication-Results: mx.xn--bcher-kva.test; spf=pass", true},
		{"Subject: x\r\n Authentication-Results: mx.xn--bcher-kva.test; spf=pass", true},
	} {
		message := "Received: x\r\n" + c.field + "\r\nFrom: a@b.test\r\n\r\nAuthentication-Results: mx.xn--bcher-kva.test; spf=pass\r\n"
		want := message
		if !c.stays {
			want = strings.Replace(message, c.field+"\r\n", "", 1)
		}
		out, err := Strip(ours, strings.NewReader(message))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(out); string(got) != want {
			t.Errorf("%q: got\n%s", c.field, got)
		}
	}
}

// TestForgedAreSigned: fields that go were looked at first, so that the signature over
// them is still right.
func TestForgedAreSigned(t *testing.T) {
	s := strings.Replace(edSignature, "brisbane", "none", 1)
	for _, extra := range []string{"Authentication-Results: mx.example.test; spf=pass\r\n", "Authentication-Results: MX.example.test\r\n 1; x=y\r\n"} {
		z := zones{records: map[string][]string{}}
		c, err := z.verifier(VerifierOptions{}).Check(t.Context(), Envelope{}, strings.NewReader(extra+s+extra+supper))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(c); string(got) != s+supper {
			t.Errorf("got\n%s", got)
		}
	}
}

// TestField: what we write, by hand.
func TestField(t *testing.T) {
	mx := dnsname.MustParse("mx.example.test")
	name := dnsname.MustParse
	full := &Report{
		SPF: SPF{Result: SoftFail, Domain: name("a.test")},
		DKIM: []Signature{
			{Result: Pass, Domain: name("a.test"), Selector: name("s1"), Algorithm: "rsa-sha256", Begins: "abc+cd=="},
			{Result: Fail, Why: "the body was changed", Domain: name("a.test"), Selector: name("s2"), Algorithm: "rsa-sha256", Begins: "ab/+cdef"},
			{Result: Pass, Domain: name("d.test"), Selector: name("s3"), Algorithm: "ed25519-sha256", Begins: "ab++cdef"},
			{Result: Policy, Why: "SHA-1", Domain: name("b.test")},
			{Result: Neutral, Why: "cannot be read"},
		},
		DMARC: DMARC{Result: Fail, Author: name("c.test"), Demand: Reject},
	}
	for _, c := range []struct {
		results Results
		want    string
	}{
		{Results{Hostname: mx}, ""},
		{Results{Hostname: mx, Report: full}, "Authentication-Results: mx.example.test;\r\n" +
			"\tspf=softfail smtp.mailfrom=a.test;\r\n" +
			"\tdkim=pass header.a=rsa-sha256 header.b=\"abc+cd==\" header.d=a.test header.s=s1;\r\n" +
			"\tdkim=fail reason=\"the body was changed\" header.a=rsa-sha256 header.d=a.test header.s=s2;\r\n" +
			"\tdkim=pass header.a=ed25519-sha256 header.b=ab++cdef header.d=d.test header.s=s3;\r\n" +
			"\tdkim=policy reason=SHA-1 header.d=b.test;\r\n" +
			"\tdkim=neutral reason=\"cannot be read\";\r\n" +
			"\tdmarc=fail (p=reject) header.from=c.test\r\n"},
		{Results{Hostname: mx, Report: &Report{SPF: SPF{Result: None, Helo: true}, DMARC: DMARC{Result: PermError}}},
			"Authentication-Results: mx.example.test;\r\n\tspf=none;\r\n\tdkim=none;\r\n\tdmarc=permerror\r\n"},
		{Results{Hostname: mx, Report: &Report{SPF: SPF{Result: Pass, Helo: true, Domain: name("h.test")}, DMARC: DMARC{Result: None, Author: name("c.test")}}, Login: "rick@a.test"},
			"Authentication-Results: mx.example.test;\r\n\tauth=pass smtp.auth=rick@a.test;\r\n\tspf=pass smtp.helo=h.test;\r\n\tdkim=none;\r\n\tdmarc=none header.from=c.test\r\n"},
		{Results{Hostname: mx, Login: "rick@a.test"}, "Authentication-Results: mx.example.test;\r\n\tauth=pass smtp.auth=rick@a.test\r\n"},
		{Results{Hostname: mx, Login: `a b=c(d@a.test`}, "Authentication-Results: mx.example.test;\r\n\tauth=pass smtp.auth=\"a b=c(d@a.test\"\r\n"},
		{Results{Hostname: mx, Login: `a"b@a.test`}, "Authentication-Results: mx.example.test;\r\n\tauth=pass\r\n"},
		{Results{Hostname: mx, Login: `a\b@a.test`}, "Authentication-Results: mx.example.test;\r\n\tauth=pass\r\n"},
		{Results{Hostname: mx, Login: `a;b@a.test`}, "Authentication-Results: mx.example.test;\r\n\tauth=pass\r\n"},
		{Results{Hostname: mx, Login: "rück@a.test"}, "Authentication-Results: mx.example.test;\r\n\tauth=pass\r\n"},
		{Results{Hostname: mx, Login: "rück@a.test", UTF8: true}, "Authentication-Results: mx.example.test;\r\n\tauth=pass smtp.auth=rück@a.test\r\n"},
		{Results{Hostname: mx, Login: "a\r\nBcc: b@a.test"}, "Authentication-Results: mx.example.test;\r\n\tauth=pass\r\n"},
		{Results{Hostname: mx, Login: strings.Repeat("x", 300)}, "Authentication-Results: mx.example.test;\r\n\tauth=pass\r\n"},
	} {
		got := c.results.Field()
		if got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
		if got == "" {
			continue
		}
		_, value, _ := strings.Cut(got, ":")
		if id, ok := authservID(value); !ok || id != "mx.example.test" {
			t.Errorf("we do not know our own field: %s", got)
		}
	}
}

// TestDetail: what the log shows of a report.
func TestDetail(t *testing.T) {
	r := Report{SPF: SPF{Result: Fail, Domain: dnsname.MustParse("a.test")}, DKIM: []Signature{{Result: Fail, Domain: dnsname.MustParse("b.test"), Why: "the body was changed"}, {Result: TempError}},
		DMARC: DMARC{Result: Fail, Author: dnsname.MustParse("c.test")}}
	if got := r.Detail(); got != "spf=fail a.test dkim=fail b.test (the body was changed) dkim=temperror  dmarc=fail c.test" {
		t.Error(got)
	}
	if got := r.DKIMResult(); got != TempError {
		t.Error(got)
	}
	if got := (Report{}).DKIMResult(); got != None {
		t.Error(got)
	}
}

// FuzzForged: whatever comes, no field that anybody could take for ours passes, all
// else of the message does, and a second time nothing more goes.
func FuzzForged(f *testing.F) {
	f.Add("mx.example.test; spf=pass")
	f.Add(" (c) \"mx.example.test\" 1 (\\)); dkim=pass (x) header.d=\"a\\\"b\"")
	f.Add("other.test; none\r\nAuthentication-Results :\tMX.example.test")
	f.Add("a\r\n b\r\nX: y\r\n\r\n")
	ours := dnsname.MustParse("mx.example.test")
	f.Fuzz(func(t *testing.T, value string) {
		message := "Authentication-Results:" + value + "\r\n\r\nbody\r\n"
		out, err := Strip(ours, strings.NewReader(message))
		if err != nil {
			return
		}
		once, _ := io.ReadAll(out)
		out, err = Strip(ours, strings.NewReader(string(once)))
		if err != nil {
			t.Fatal(err)
		}
		if twice, _ := io.ReadAll(out); string(twice) != string(once) {
			t.Errorf("%q becomes %q, then %q", message, once, twice)
		}
		head, _, _ := strings.Cut(string(once), "\r\n\r\n")
		fields, err := cutHeader(head + "\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range fields {
			plain := strings.ToLower(strings.TrimSpace(field.value))
			if strings.EqualFold(field.name, resultsField) && (plain == "mx.example.test" || strings.HasPrefix(plain, "mx.example.test;")) {
				t.Errorf("%q left in %q", field.text, once)
			}
		}
	})
}

// FuzzCheck: any message is judged without a fault, and comes out as it came but for
// fields that go; without an answer of DNS nothing passes.
func FuzzCheck(f *testing.F) {
	f.Add(edSignature + rsaSignature + supper)
	f.Add("DKIM-Signature: v=1; a=rsa-sha256; d=a.test; s=s; h=from; bh=" + strings.Repeat("A", 43) + "=; b=AAAA\r\nFrom: x@a.test\r\n\r\n")
	f.Add("From: =?utf-8?q?x?= <x@a.test>\r\nFrom : y@b.test\r\n\r\n")
	f.Add("\r\n")
	f.Fuzz(func(t *testing.T, message string) {
		z := zones{records: map[string][]string{}}
		c, err := z.verifier(VerifierOptions{}).Check(t.Context(), Envelope{}, strings.NewReader(message))
		if err != nil {
			return
		}
		defer c.Close()
		got, err := io.ReadAll(c)
		if err != nil || len(got) > len(message) || !strings.Contains(strings.ToLower(message), "authentication-results") && string(got) != message {
			t.Errorf("%q becomes %q (%v)", message, got, err)
		}
		r := c.Report
		if r.SPF.Result == Pass || r.DMARC.Result == Pass || r.DKIMResult() == Pass {
			t.Errorf("%q passes: %+v", message, r)
		}
		field := Results{Hostname: dnsname.MustParse("mx.example.test"), Report: &r}.Field()
		lines := strings.Split(strings.TrimSuffix(field, "\r\n"), "\r\n")
		if strings.ContainsAny(strings.Join(lines, ""), "\r\n\x00") || slices.ContainsFunc(lines[1:], func(l string) bool { return !strings.HasPrefix(l, "\t") }) {
			t.Errorf("%q makes %q", message, field)
		}
	})
}
