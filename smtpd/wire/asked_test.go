package wire

import (
	"strings"
	"testing"
	"testing/synctest"
)

// asking: what is sent behind EHLO, the last reply, and what the session got last.
var asking = []struct{ mail, rcpt, want, call string }{
	// RFC 3461 4.3, 4.4
	{"<a@b> RET=FULL ENVID=QQ314159", "", "250 2.1.0", "mail a@b size=0 body= ret=FULL envid=QQ314159"},
	{"<a@b> ret=hdrs SIZE=3", "", "250 2.1.0", "mail a@b size=3 body= ret=HDRS"},
	{"<a@b> ENVID=a+2Bb+3Dc+20d", "", "250 2.1.0", "mail a@b size=0 body= envid=a+b=c d"},
	{"<a@b> ENVID=" + strings.Repeat("+41", 100), "", "250 2.1.0", "mail a@b size=0 body= envid=" + strings.Repeat("A", 100)},
	{"<a@b> ENVID=" + strings.Repeat("A", 101), "", "501 5.5.4", ""},
	{"<a@b> ENVID=a+0D+0Ab", "", "501 5.5.4", ""},
	{"<a@b> ENVID=a+C3+BC", "", "501 5.5.4", ""},
	{"<a@b> ENVID=a+2b", "", "501 5.5.4", ""},
	{"<a@b> ENVID=a+2", "", "501 5.5.4", ""},
	{"<a@b> ENVID=a+", "", "501 5.5.4", ""},
	{"<a@b> ENVID=", "", "501 5.5.4", ""},
	{"<a@b> ENVID", "", "501 5.5.4", ""},
	{"<a@b> ENVID=\xc3\xbc", "", "501 5.5.4", ""},
	{"<a@b> RET=FULL RET=FULL", "", "501 5.5.4", ""},
	{"<a@b> RET=FULL ret=HDRS", "", "501 5.5.4", ""},
	{"<a@b> RET=NONE", "", "501 5.5.4", ""},
	{"<a@b> RET", "", "501 5.5.4", ""},
	{"<a@b> NOTIFY=NEVER", "", "555 5.5.4", ""},

	// RFC 6531 3
	{"<a@b> SMTPUTF8", "", "250 2.1.0", "mail a@b size=0 body= smtputf8"},
	{"<a@b> smtputf8 BODY=8BITMIME", "", "250 2.1.0", "mail a@b size=0 body=8BITMIME smtputf8"},
	{"<ü@bücher.example> SMTPUTF8", "", "250 2.1.0", "mail ü@bücher.example size=0 body= smtputf8"},
	{`<"ü b"@b> SMTPUTF8`, "", "250 2.1.0", "mail ü b@b size=0 body= smtputf8"},
	{"<a@b> SMTPUTF8=1", "", "501 5.5.4", ""},
	{"<a@b> SMTPUTF8 SMTPUTF8", "", "501 5.5.4", ""},
	{"<ü@b>", "", "553 5.6.7", ""},
	{"<ü@b> RET=NONE", "", "501 5.5.4", ""},
	{"<a@b> SMTPUTF8", "<ü@d>", "250 2.1.5", "rcpt ü@d"},
	{"<a@b>", "<ü@d>", "553 5.6.7", ""},
	{"<a@b>", "<c@ü.example>", "553 5.6.7", ""},
	{"<ü" + strings.Repeat("a", 63) + "@b> SMTPUTF8", "", "501 5.1.7", ""},

	// RFC 3461 4.1
	{"<a@b>", "<c@d> NOTIFY=NEVER", "250 2.1.5", "rcpt c@d notify=[NEVER]"},
	{"<a@b>", "<c@d> notify=success,Delay,FAILURE", "250 2.1.5", "rcpt c@d notify=[SUCCESS DELAY FAILURE]"},
	{"<a@b>", "<c@d> NOTIFY=NEVER,FAILURE", "501 5.5.4", ""},
	{"<a@b>", "<c@d> NOTIFY=FAILURE,NEVER", "501 5.5.4", ""},
	{"<a@b>", "<c@d> NOTIFY=DELAY,DELAY", "501 5.5.4", ""},
	{"<a@b>", "<c@d> NOTIFY=NEVER NOTIFY=NEVER", "501 5.5.4", ""},
	{"<a@b>", "<c@d> NOTIFY=DELAY,", "501 5.5.4", ""},
	{"<a@b>", "<c@d> NOTIFY=", "501 5.5.4", ""},
	{"<a@b>", "<c@d> NOTIFY=ALWAYS", "501 5.5.4", ""},
	{"<a@b>", "<c@d> RET=FULL", "555 5.5.4", ""},

	// RFC 3461 4.2
	{"<a@b>", "<c@d> ORCPT=rfc822;x+2By@z NOTIFY=DELAY", "250 2.1.5", "rcpt c@d notify=[DELAY] orcpt=rfc822;x+y@z"},
	{"<a@b>", "<c@d> ORCPT=RFC822;x+20y", "250 2.1.5", "rcpt c@d orcpt=RFC822;x y"},
	{"<a@b>", "<c@d> ORCPT=x400;/S+3Dx;/", "250 2.1.5", "rcpt c@d orcpt=x400;/S=x;/"},
	{"<a@b>", "<c@d> ORCPT=rfc822;" + strings.Repeat("x", 493), "250 2.1.5", "rcpt c@d orcpt=rfc822;" + strings.Repeat("x", 493)},
	{"<a@b>", "<c@d> ORCPT=rfc822;" + strings.Repeat("x", 494), "501 5.5.4", ""},
	{"<a@b>", "<c@d> ORCPT=rfc822;x+0A", "501 5.5.4", ""},
	{"<a@b>", "<c@d> ORCPT=rfc822;x+E9", "501 5.5.4", ""},
	{"<a@b>", "<c@d> ORCPT=rfc822;", "501 5.5.4", ""},
	{"<a@b>", "<c@d> ORCPT=rfc822", "501 5.5.4", ""},
	{"<a@b>", "<c@d> ORCPT=;x", "501 5.5.4", ""},
	{"<a@b>", "<c@d> ORCPT=a.b;x", "501 5.5.4", ""},
	{"<a@b>", "<c@d> ORCPT=(a);x", "501 5.5.4", ""},
	{"<a@b>", "<c@d> ORCPT=ü;x", "501 5.5.4", ""},
	{"<a@b>", "<c@d> ORCPT", "501 5.5.4", ""},
	{"<a@b>", "<c@d> ORCPT=rfc822;x ORCPT=rfc822;x", "501 5.5.4", ""},

	// RFC 6533 3
	{"<a@b>", `<c@d> ORCPT=UTF-8;j\x{FC}rgen\x{2B}x@z`, "250 2.1.5", "rcpt c@d orcpt=utf-8;jürgen+x@z"},
	{"<a@b>", `<c@d> ORCPT=utf-8;\x{1f600}\x{5C}@z`, "250 2.1.5", `rcpt c@d orcpt=utf-8;😀\@z`},
	{"<a@b> SMTPUTF8", `<c@d> ORCPT=utf-8;jürgen\x{20}x@z`, "250 2.1.5", "rcpt c@d orcpt=utf-8;jürgen x@z"},
	{"<a@b>", "<c@d> ORCPT=utf-8;jürgen@z", "501 5.5.4", ""},
	{"<a@b> SMTPUTF8", "<c@d> ORCPT=rfc822;jürgen@z", "501 5.5.4", ""},
	{"<a@b> SMTPUTF8", "<c@d> ORCPT=utf-8;j\xfcrgen@z", "501 5.5.4", ""},
	{"<a@b> SMTPUTF8", "<c@d> ORCPT=utf-8;a\u202eb", "501 5.5.4", ""},
	{"<a@b> SMTPUTF8", "<c@d> ORCPT=utf-8;a\u0085b", "501 5.5.4", ""},
	{"<a@b>", `<c@d> ORCPT=utf-8;a\x{0A}b`, "501 5.5.4", ""},
	{"<a@b>", `<c@d> ORCPT=utf-8;a\x{85}b`, "501 5.5.4", ""},
	{"<a@b>", `<c@d> ORCPT=utf-8;a\x{202E}b`, "501 5.5.4", ""},
	{"<a@b>", `<c@d> ORCPT=utf-8;a\x{D800}b`, "501 5.5.4", ""},
	{"<a@b>", `<c@d> ORCPT=utf-8;a\x{110000}b`, "501 5.5.4", ""},
	{"<a@b>", `<c@d> ORCPT=utf-8;a\x{00FC}b`, "501 5.5.4", ""}, // one form only
	{"<a@b>", `<c@d> ORCPT=utf-8;a\x{41}b`, "501 5.5.4", ""},   // stands for itself
	{"<a@b>", `<c@d> ORCPT=utf-8;a\x{}b`, "501 5.5.4", ""},
	{"<a@b>", `<c@d> ORCPT=utf-8;a\x{FC`, "501 5.5.4", ""},
	{"<a@b>", `<c@d> ORCPT=utf-8;a\b`, "501 5.5.4", ""},
	{"<a@b>", `<c@d> ORCPT=utf-8;a+2Bb`, "501 5.5.4", ""},
}

func TestAsking(t *testing.T) {
	for _, tt := range asking {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			p := w.dial()
			p.send("EHLO x\r\n")
			text := "MAIL FROM:" + tt.mail
			if tt.rcpt != "" {
				p.send(text + "\r\n")
				text = "RCPT TO:" + tt.rcpt
			}
			before := len(w.rec.called())
			p.take()
			p.send(text + "\r\n")
			if got := p.codes(); got != tt.want {
				t.Errorf("%s: %s, want %s", text, got, tt.want)
			}
			if got := strings.Join(w.rec.called()[before:], "; "); got != tt.call {
				t.Errorf("%s: the session got %q, want %q", text, got, tt.call)
			}
			p.close()
			w.shut()
		})
	}
}

// TestRequireTLS: the promise is taken within TLS only, and a listener without
// TLS does not know the word.
func TestRequireTLSParameter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		p := w.dial()
		p.send("EHLO x\r\n")
		p.take()
		p.send("MAIL FROM:<a@b> REQUIRETLS\r\n")
		if got := p.codes(); got != "530 5.7.0" {
			t.Errorf("in clear: %s", got)
		}
		p.close()
		p = w.dialTLS()
		p.send("EHLO x\r\n")
		p.take()
		p.send("MAIL FROM:<a@b> REQUIRETLS=1\r\nMAIL FROM:<a@b> REQUIRETLS\r\n")
		if got := p.codes(); got != "501 5.5.4, 250 2.1.0" {
			t.Errorf("inside TLS: %s", got)
		}
		calls := w.rec.called()
		if got := calls[len(calls)-1]; got != "mail a@b size=0 body= requiretls" {
			t.Errorf("the session got %q", got)
		}
		p.close()
		w.shut()
	})
	if out, _, rec := playTape(t, []byte("EHLO x\r\nMAIL FROM:<a@b> REQUIRETLS\r\n"), 4096); !strings.Contains(out, "\r\n555 5.5.4 ") || len(rec.called()) != 2 {
		t.Errorf("without TLS: %q, %q", out, rec.called())
	}
}

// TestAskedIsOfOneCommand: what one command asked for is not that of the next.
func TestAskedIsOfOneCommand(t *testing.T) {
	in := "EHLO x\r\nMAIL FROM:<a@b> SMTPUTF8 RET=FULL ENVID=x\r\nRCPT TO:<c@d> NOTIFY=NEVER ORCPT=rfc822;x\r\nRCPT TO:<e@f>\r\n" +
		"RSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ü@b>\r\n"
	out, _, rec := playTape(t, []byte(in), 4096)
	want := "session x; mail a@b size=0 body= smtputf8 ret=FULL envid=x; rcpt c@d notify=[NEVER] orcpt=rfc822;x; rcpt e@f; reset; mail a@b size=0 body=; logout"
	if got := strings.Join(rec.called(), "; "); got != want {
		t.Errorf("calls %s", got)
	}
	if !strings.HasSuffix(codes(out), "250 2.1.0, 553 5.6.7") {
		t.Errorf("replies %s", codes(out))
	}
}

// FuzzParameters: what a session gets can be shown on one line, and says the same
// when it is written as xtext again.
func FuzzParameters(f *testing.F) {
	for _, tt := range asking {
		_, p, _ := strings.Cut(tt.mail+tt.rcpt, "> ")
		f.Add(p, true)
		f.Add(p, false)
	}
	f.Fuzz(func(t *testing.T, s string, raw bool) {
		c := &Conn{link: &link{srv: &Server{}}, tx: transaction{utf8: raw}}
		_, m, _ := c.mailParams(" " + s)
		r, _ := c.rcptParams(" " + s)
		for _, text := range []string{m.envid, string(r.originalType), r.original} {
			for _, c := range text {
				if !isShowable(c) {
					t.Fatalf("%q came through of %q", text, s)
				}
			}
		}
		if again, ok := decodeXtext(encodeXtext(m.envid)); !ok || again != m.envid {
			t.Fatalf("%q reads back as %q", m.envid, again)
		}
		if len(m.envid) > maxEnvid || len(r.original) > maxOrcpt || len(r.notify) > 3 || m.requireTLS {
			t.Fatalf("%+v, %+v", m, r)
		}
		if r.originalType != "" && r.originalType != "utf-8" && !isPrintable(r.original) {
			t.Fatalf("%+v", r)
		}
	})
}
