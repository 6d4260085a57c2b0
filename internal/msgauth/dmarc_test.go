package msgauth

import (
	"strings"
	"testing"

	"dancemta/internal/dnsname"
)

// TestDMARC: what a domain asks for, and who speaks for it.
func TestDMARC(t *testing.T) {
	dmarc := func(domain string) string { return "_dmarc." + domain + " TXT" }
	records := map[string][]string{
		dmarc("reject.test"):           {"v=DMARC1; p=reject; rua=mailto:x@reject.test"},
		dmarc("strict.test"):           {"v=DMARC1;p=reject;aspf=s;adkim=s"},
		dmarc("quarantine.test"):       {"v=DMARC1 ; P=x; p = Quarantine"},
		dmarc("none.test"):             {"v=DMARC1; p=none"},
		dmarc("sub.test"):              {"v=DMARC1; p=reject; sp=none"},
		dmarc("subreject.test"):        {"v=DMARC1; p=none; sp=reject"},
		dmarc("own.subreject.test"):    {"v=DMARC1; p=none; sp=reject"},
		dmarc("half.test"):             {"v=DMARC1; p=reject; pct=50"},
		dmarc("badpct.test"):           {"v=DMARC1; p=reject; pct=200"},
		dmarc("sloppy.test"):           {"v=DMARC1; P=Reject; adkim=x; aspf=S; rf=iodef; fo=7; ri=0; pct=all; nonsense"},
		dmarc("badsprua.test"):         {"v=DMARC1; p=reject; sp=x; rua=mailto:x@y.test"},
		dmarc("two.test"):              {"v=DMARC1; p=reject", "v=DMARC1; p=none"},
		dmarc("beside.test"):           {"v=spf1 -all", "v=DMARC1; p=reject", "v=DMARC10; p=none"},
		dmarc("later.test"):            {"p=reject; v=DMARC1"},
		dmarc("nop.test"):              {"v=DMARC1; rua=mailto:x@nop.test"},
		dmarc("nothing.test"):          {"v=DMARC1; p=later"},
		dmarc("badsp.test"):            {"v=DMARC1; p=reject; sp=whatever"},
		dmarc("dead.test"):             {"fail"},
		dmarc("deep.dead.test"):        {"empty"},
		dmarc("example.co.uk"):         {"v=DMARC1; p=reject"},
		dmarc("co.uk"):                 {"v=DMARC1; p=none"},
		dmarc("xn--bcher-kva.example"): {"v=DMARC1; p=reject"},
	}
	pass := func(domain string) Report { return Report{SPF: SPF{Result: Pass, Domain: dnsname.MustParse(domain)}} }
	spf := func(r Result, domain string) Report {
		return Report{SPF: SPF{Result: r, Domain: dnsname.MustParse(domain)}}
	}
	signed := func(r Result, domain string) Report {
		return Report{SPF: SPF{Result: Fail, Domain: dnsname.MustParse("spf.evil.test")}, DKIM: []Signature{
			{Result: Pass, Domain: dnsname.MustParse("evil.test")}, {Result: r, Domain: dnsname.MustParse(domain)}}}
	}
	for _, c := range []struct {
		name    string
		from    string // the header
		given   Report
		percent int
		want    Result
		author  string
		demand  Demand
		verdict Verdict
	}{
		{"nothing aligned", "From: x@reject.test", pass("evil.test"), 0, Fail, "reject.test", Reject, Refuse},
		{"SPF", "From: x@reject.test", pass("reject.test"), 0, Pass, "reject.test", Reject, Take},
		{"SPF of a domain below", "From: x@reject.test", pass("bounces.reject.test"), 0, Pass, "reject.test", Reject, Take},
		{"SPF of a domain above", "From: x@mail.reject.test", pass("reject.test"), 0, Pass, "mail.reject.test", Reject, Take},
		{"SPF of a sister", "From: x@a.reject.test", pass("b.reject.test"), 0, Pass, "a.reject.test", Reject, Take},
		{"SPF of a name that only ends so", "From: x@reject.test", pass("evilreject.test"), 0, Fail, "reject.test", Reject, Refuse},
		{"SPF of a softfail", "From: x@reject.test", spf(SoftFail, "reject.test"), 0, Fail, "reject.test", Reject, Refuse},
		{"SPF of a neutral", "From: x@reject.test", spf(Neutral, "reject.test"), 0, Fail, "reject.test", Reject, Refuse},
		{"SPF permanently wrong", "From: x@reject.test", spf(PermError, "reject.test"), 0, Fail, "reject.test", Reject, Refuse},
		{"SPF not known", "From: x@reject.test", spf(TempError, "reject.test"), 0, TempError, "reject.test", Reject, Later},
		{"SPF of others not known", "From: x@reject.test", spf(TempError, "evil.test"), 0, Fail, "reject.test", Reject, Refuse},
		{"DKIM", "From: x@reject.test", signed(Pass, "mail.reject.test"), 0, Pass, "reject.test", Reject, Take},
		{"DKIM fails", "From: x@reject.test", signed(Fail, "reject.test"), 0, Fail, "reject.test", Reject, Refuse},
		{"DKIM by policy", "From: x@reject.test", signed(Policy, "reject.test"), 0, Fail, "reject.test", Reject, Refuse},
		{"DKIM not known", "From: x@reject.test", signed(TempError, "reject.test"), 0, TempError, "reject.test", Reject, Later},
		{"strict, the same", "From: x@strict.test", pass("strict.test"), 0, Pass, "strict.test", Reject, Take},
		{"strict SPF, below", "From: x@strict.test", pass("mail.strict.test"), 0, Fail, "strict.test", Reject, Refuse},
		{"strict DKIM, below", "From: x@strict.test", signed(Pass, "mail.strict.test"), 0, Fail, "strict.test", Reject, Refuse},
		{"quarantine", "From: x@quarantine.test", pass("evil.test"), 0, Fail, "quarantine.test", Quarantine, Take},
		{"quarantine not known", "From: x@quarantine.test", spf(TempError, "quarantine.test"), 0, TempError, "quarantine.test", Quarantine, Take},
		{"p=none", "From: x@none.test", pass("evil.test"), 0, Fail, "none.test", NoDemand, Take},
		{"no record", "From: x@missing.test", pass("evil.test"), 0, None, "missing.test", "", Take},
		{"sp=none, below", "From: x@a.sub.test", pass("evil.test"), 0, Fail, "a.sub.test", NoDemand, Take},
		{"sp=none, the domain itself", "From: x@sub.test", pass("evil.test"), 0, Fail, "sub.test", Reject, Refuse},
		{"sp=reject, far below", "From: x@a.b.subreject.test", pass("evil.test"), 0, Fail, "a.b.subreject.test", Reject, Refuse},
		{"a record of its own", "From: x@own.subreject.test", pass("evil.test"), 0, Fail, "own.subreject.test", NoDemand, Take},
		{"within pct", "From: x@half.test", pass("evil.test"), 49, Fail, "half.test", Reject, Refuse},
		{"beyond pct", "From: x@half.test", pass("evil.test"), 50, Fail, "half.test", Reject, Take},
		{"pct of more than all", "From: x@badpct.test", pass("evil.test"), 99, Fail, "badpct.test", Reject, Refuse},
		{"mistakes in other tags", "From: x@sloppy.test", pass("evil.test"), 99, Fail, "sloppy.test", Reject, Refuse},
		{"mistakes in other tags, strict SPF", "From: x@sloppy.test", pass("mail.sloppy.test"), 0, Fail, "sloppy.test", Reject, Refuse},
		{"mistakes in other tags, relaxed DKIM", "From: x@sloppy.test", signed(Pass, "mail.sloppy.test"), 0, Pass, "sloppy.test", Reject, Take},
		{"sp= that is not known, but reports", "From: x@badsprua.test", pass("evil.test"), 0, Fail, "badsprua.test", NoDemand, Take},
		{"two records", "From: x@two.test", pass("evil.test"), 0, None, "two.test", "", Take},
		{"beside others", "From: x@beside.test", pass("evil.test"), 0, Fail, "beside.test", Reject, Refuse},
		{"version not first", "From: x@later.test", pass("evil.test"), 0, None, "later.test", "", Take},
		{"no p= but reports", "From: x@nop.test", pass("evil.test"), 0, Fail, "nop.test", NoDemand, Take},
		{"no p= that is known", "From: x@nothing.test", pass("evil.test"), 0, None, "nothing.test", "", Take},
		{"sp= that is not known", "From: x@badsp.test", pass("evil.test"), 0, None, "badsp.test", "", Take},
		{"policy not known", "From: x@dead.test", pass("evil.test"), 0, TempError, "dead.test", "", Later},
		{"policy not known, above", "From: x@deep.dead.test", pass("evil.test"), 0, TempError, "deep.dead.test", "", Later},
		{"policy not known, and it would not matter", "From: x@dead.test", pass("dead.test"), 0, TempError, "dead.test", "", Take},
		{"policy not known, relaxed", "From: x@dead.test", pass("mail.dead.test"), 0, TempError, "dead.test", "", Later},
		{"public suffix", "From: x@a.example.co.uk", pass("other.co.uk"), 0, Fail, "a.example.co.uk", Reject, Refuse},
		{"public suffix, the same", "From: x@a.example.co.uk", pass("b.example.co.uk"), 0, Pass, "a.example.co.uk", Reject, Take},
		{"public suffix itself", "From: x@co.uk", pass("example.co.uk"), 0, Fail, "co.uk", NoDemand, Take},
		{"U-labels", "From: x@bücher.example", pass("xn--bcher-kva.example"), 0, Pass, "xn--bcher-kva.example", Reject, Take},
		{"upper case", "FROM : X@REJECT.TEST", pass("reject.test"), 0, Pass, "reject.test", Reject, Take},
		{"two From fields", "From: x@reject.test\r\nFrom: x@evil.test", pass("evil.test"), 0, PermError, "", "", NoAuthor},
		{"no From field", "Sender: x@reject.test", pass("reject.test"), 0, PermError, "", "", NoAuthor},
		{"a From field of nothing", "From:", pass("reject.test"), 0, PermError, "", "", NoAuthor},
		{"a From field of names only", "From: Joe", pass("reject.test"), 0, PermError, "", "", NoAuthor},
		{"two addresses in one", "From: x@reject.test <y@evil.test>", pass("evil.test"), 0, PermError, "", "", NoAuthor},
		{"an address literal", "From: x@[192.0.2.7]", pass("reject.test"), 0, PermError, "", "", NoAuthor},
		{"two authors", "From: x@evil.test, y@reject.test", pass("evil.test"), 0, Fail, "reject.test", Reject, Refuse},
		{"two authors, one not known", "From: x@dead.test, y@none.test", pass("none.test"), 0, TempError, "dead.test", "", Later},
		{"two authors of one domain", "From: x@reject.test, y@reject.test", pass("reject.test"), 0, Pass, "reject.test", Reject, Take},
		{"too many authors", "From: x@a.test, x@b.test, x@c.test, x@d.test, x@e.test", pass("a.test"), 0, PermError, "", "", NoAuthor},
		{"a name that looks like an address", `From: "boss@reject.test" <x@none.test>`, pass("none.test"), 0, Pass, "none.test", NoDemand, Take},
		{"a From field that is long", "From: " + strings.Repeat("(x) ", 5000) + "x@reject.test", pass("reject.test"), 0, PermError, "", "", NoAuthor},
	} {
		t.Run(c.name, func(t *testing.T) {
			fields, err := cutHeader(c.from + "\r\nSubject: x\r\n\r\n")
			if err != nil {
				t.Fatal(err)
			}
			z := &zones{records: records}
			_, authors := authors(fields)
			var policies []found
			for _, a := range authors {
				policies = append(policies, findPolicy(t.Context(), z, a))
			}
			r := c.given
			r.judge(authors, policies, func() int { return c.percent })
			d := r.DMARC
			if d.Result != c.want || d.Author.String() != c.author || d.Demand != c.demand || d.Verdict != c.verdict {
				t.Errorf("got %+v, want %s %s %s %d", d, c.want, c.author, c.demand, c.verdict)
			}
			if len(z.asked) > 2*maxAuthors {
				t.Errorf("%d questions", len(z.asked))
			}
		})
	}
}
