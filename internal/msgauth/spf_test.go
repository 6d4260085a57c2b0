package msgauth

import (
	"net/netip"
	"strings"
	"testing"

	"dancemta/internal/mailaddr"
)

// TestSPF: RFC 7208 by its sections, with DNS as the table says.
func TestSPF(t *testing.T) {
	records := map[string][]string{
		"a.test TXT": {"another record", "v=spf1 ip4:192.0.2.0/24 -all"}, "soft.test TXT": {"v=spf1 ~all"}, "none.test TXT": {"v=spf10"},
		"neutral.test TXT": {"v=spf1 ip4:198.51.100.1"}, "two.test TXT": {"v=spf1 +all", "v=spf1 -all"}, "syntax.test TXT": {"v=spf1 ipv4:192.0.2.7 +all"},
		"dead.test TXT": {"fail"}, "empty.test TXT": {"empty"},
		"mx.test TXT": {"v=spf1 mx -all"}, "mx.test MX": {"m1.mx.test", "m2.mx.test"}, "m2.mx.test A": {"192.0.2.7"},
		"deadmx.test TXT": {"v=spf1 mx -all"}, "deadmx.test MX": {"m1.mx.test", "m3.mx.test"}, "m3.mx.test A": {"fail"},
		"deadincluded.test TXT": {"v=spf1 include:dead.test +all"}, "deadredirect.test TXT": {"v=spf1 redirect=dead.test"},
		"deada.test TXT": {"v=spf1 a +all"}, "deada.test A": {"fail"},
		"include.test TXT": {"v=spf1 include:a.test -all"}, "noinclude.test TXT": {"v=spf1 include:missing.test +all"},
		"loop.test TXT": {"v=spf1 include:loop.test +all"},
		"void.test TXT": {"v=spf1 a:x1.test a:x2.test a:x3.test +all"}, "voids.test TXT": {"v=spf1 a:x1.test a:x2.test +all"},
		"macro.test TXT": {"v=spf1 exists:%{ir}.%{l}._spf.%{d} -all"}, "7.2.0.192.rick._spf.macro.test A": {"127.0.0.2"},
		"ptr.test TXT": {"v=spf1 ptr -all"}, "7.2.0.192.in-addr.arpa PTR": {"liar.ptr.test", "mta.ptr.test"}, "mta.ptr.test A": {"192.0.2.7"},
		"badptr.test TXT": {"v=spf1 ptr -all"}, "liar.ptr.test A": {"192.0.2.8"},
		"six.test TXT": {"v=spf1 a -all"}, "six.test AAAA": {"2001:db8::7"}, "six.test A": {"empty"},
		"exists6.test TXT": {"v=spf1 exists:four.test -all"}, "four.test A": {"127.0.0.2"}, "four.test AAAA": {"empty"},
		"mta.helo.test TXT": {"v=spf1 ip4:192.0.2.7 -all"}, "all.test TXT": {"v=spf1 +all"},
		"long.test TXT":   {"v=spf1 exists:" + strings.Repeat("abcdefghi.", 25) + "long.test -all"},
		"length.test TXT": {"v=spf1 a:" + strings.Repeat("a", 64) + ".test +all"},
		strings.TrimPrefix(strings.Repeat("abcdefghi.", 25), "abcdefghi.") + "long.test A": {"127.0.0.2"},
	}
	for _, c := range []struct {
		sender, helo, peer string
		want               Result
		domain             string
	}{
		{"x@a.test", "h.test", "192.0.2.7", Pass, "a.test"},
		{"x@A.Test", "h.test", "::ffff:192.0.2.7", Pass, "a.test"},
		{"x@a.test", "h.test", "198.51.100.7", Fail, "a.test"},
		{"x@soft.test", "h.test", "192.0.2.7", SoftFail, "soft.test"},
		{"x@neutral.test", "h.test", "192.0.2.7", Neutral, "neutral.test"},
		{"x@none.test", "h.test", "192.0.2.7", None, "none.test"},
		{"x@missing.test", "h.test", "192.0.2.7", None, "missing.test"},
		{"x@empty.test", "h.test", "192.0.2.7", None, "empty.test"},
		{"x@two.test", "h.test", "192.0.2.7", PermError, "two.test"},       // 4.5
		{"x@syntax.test", "h.test", "192.0.2.7", PermError, "syntax.test"}, // 4.6
		{"x@dead.test", "h.test", "192.0.2.7", TempError, "dead.test"},     // 4.4
		{"x@deadincluded.test", "h.test", "192.0.2.7", TempError, "deadincluded.test"},
		{"x@deadredirect.test", "h.test", "192.0.2.7", TempError, "deadredirect.test"},
		{"x@deada.test", "h.test", "192.0.2.7", TempError, "deada.test"},
		{"x@mx.test", "h.test", "192.0.2.7", Pass, "mx.test"},
		{"x@deadmx.test", "h.test", "192.0.2.7", TempError, "deadmx.test"},
		{"x@include.test", "h.test", "192.0.2.7", Pass, "include.test"},
		{"x@noinclude.test", "h.test", "192.0.2.7", PermError, "noinclude.test"}, // 5.2
		{"x@loop.test", "h.test", "192.0.2.7", PermError, "loop.test"},           // 4.6.4
		{"x@void.test", "h.test", "192.0.2.7", PermError, "void.test"},           // 4.6.4: more than two
		{"x@voids.test", "h.test", "192.0.2.7", Pass, "voids.test"},
		{"rick@macro.test", "h.test", "192.0.2.7", Pass, "macro.test"}, // 7
		{"rick+x@macro.test", "h.test", "192.0.2.7", TempError, "macro.test"},
		{"x@macro.test", "h.test", "192.0.2.7", Fail, "macro.test"},
		{"x@ptr.test", "h.test", "192.0.2.7", Pass, "ptr.test"},
		{"x@badptr.test", "h.test", "192.0.2.7", Fail, "badptr.test"},
		{"x@six.test", "h.test", "2001:db8::7", Pass, "six.test"},
		{"x@six.test", "h.test", "2001:db8::8", Fail, "six.test"},
		{"x@six.test", "h.test", "192.0.2.7", Fail, "six.test"},
		{"x@exists6.test", "h.test", "2001:db8::7", Pass, "exists6.test"}, // 5.7: always A
		{"", "mta.helo.test", "192.0.2.7", Pass, "mta.helo.test"},         // 2.4
		{"", "mta.helo.test.", "192.0.2.8", Fail, "mta.helo.test"},
		{"", "[192.0.2.7]", "192.0.2.7", None, ""}, // 4.3
		{"", "localhost", "192.0.2.7", None, ""},
		{"", "x y", "192.0.2.7", None, ""},
		{"x@[192.0.2.7]", "h.test", "192.0.2.7", None, ""},
		{"x@a.test", "x y; z", "192.0.2.7", Pass, "a.test"},
		{"x@long.test", "h.test", "192.0.2.7", Pass, "long.test"}, // 7.3: labels go on the left
		{"x@length.test", "h.test", "192.0.2.7", Pass, "length.test"},
	} {
		e := Envelope{Peer: netip.MustParseAddr(c.peer), Helo: c.helo}
		if c.sender != "" {
			e.Sender = mailaddr.MustParse(c.sender)
		}
		z := zones{records: records}
		got := checkSPF(t.Context(), &z, e)
		if got.Result != c.want || got.Domain.String() != c.domain || got.Helo != (c.sender == "") {
			t.Errorf("%s from %s (%s): %+v, want %s", c.sender, c.peer, c.helo, got, c.want)
		}
		if len(z.asked) > 30 {
			t.Errorf("%s: %d questions", c.sender, len(z.asked))
		}
	}
	if got := checkSPF(t.Context(), &zones{}, Envelope{Sender: mailaddr.MustParse("x@all.test")}); got.Result != None {
		t.Errorf("without an address: %+v", got)
	}
}

// TestReverseName: RFC 3596 2.5's own example.
func TestReverseName(t *testing.T) {
	const want = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa"
	if got := reverseName(netip.MustParseAddr("4321:0:1:2:3:4:567:89ab")); got != want {
		t.Error(got)
	}
	if got := reverseName(netip.MustParseAddr("192.0.2.7")); got != "7.2.0.192.in-addr.arpa" {
		t.Error(got)
	}
}
