package msgauth

import (
	"strings"
	"testing"
	"time"
)

// TestCheckBombs: a message made to be slow costs no more than its length.
func TestCheckBombs(t *testing.T) {
	const room = maxHeader - 4<<10
	long := func(unit string) string { return strings.Repeat(unit, room/len(unit)) }
	sign := func(tags string) string {
		// the digest of an empty body, so that the header is looked at
		return "DKIM-Signature: v=1; a=ed25519-sha256; d=football.example.com; s=brisbane; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=; " + tags + "\r\n"
	}
	z := zones{records: map[string][]string{edName: {edRecord + "; n=" + strings.Repeat("x", 60000)},
		"football.example.com TXT":        {"v=spf1 " + strings.Repeat("a:a.test ", 5000)},
		"_dmarc.football.example.com TXT": {"v=DMARC1;" + strings.Repeat("x=y;", 15000) + "p=none"}}}
	v := z.verifier(VerifierOptions{})
	for name, message := range map[string]string{
		"fields":        strings.Repeat(sign("h=from; b=AAAA"), 8) + strings.Repeat("From: x@a.test\r\n", 990),
		"names":         strings.Repeat(sign("h="+strings.Repeat("from:", 990)+"from; b=AAAA"), 8) + strings.Repeat("From: x@a.test\r\n", 990),
		"signatures":    strings.Repeat(sign("h=from; b=AAAA"), 990),
		"names of h=":   sign("h=" + long("from:") + "from; b=AAAA"),
		"tags":          sign("h=from; b=AAAA;" + long("a=;")),
		"other tags":    sign("h=from; b=AAAA" + long(";")),
		"white b=":      sign("h=from; b=" + long(" ")),
		"folds":         sign("h=from; b=AAAA;" + long("\r\n ")),
		"results":       "Authentication-Results: " + long("(") + "\r\n",
		"more results":  "Authentication-Results: x; " + long("(x) a=\"b\" ") + "\r\n",
		"escapes":       "Authentication-Results: \"" + long(`\"`) + "\r\n",
		"many results":  strings.Repeat("Authentication-Results: mx.example.test; a=b\r\n", 990),
		"From":          "From: " + long("(") + "x@a.test\r\n",
		"groups":        "From: " + long("a:;,") + "x@a.test\r\n",
		"lines":         long("\t\r\n"),
		"empty body":    sign("c=simple/simple; h=from; b=AAAA") + sign("c=relaxed/relaxed; h=from; b=AAAA") + "\r\n" + strings.Repeat("\r\n", 1<<20),
		"white body":    sign("c=simple/simple; h=from; b=AAAA") + sign("c=relaxed/relaxed; h=from; b=AAAA") + "\r\n" + strings.Repeat(" \t", 1<<20),
		"returns":       sign("c=simple/simple; h=from; b=AAAA") + sign("c=relaxed/relaxed; h=from; b=AAAA") + "\r\n" + strings.Repeat("\r", 1<<16), // never passes the door
		"a header only": sign("h=from; b=AAAA"),
	} {
		began := time.Now()
		c, err := v.Check(t.Context(), Envelope{Peer: testPeer, Helo: "h.test", Sender: testSender}, strings.NewReader(message+"\r\n"))
		if err == nil {
			if r := c.Report; r.DMARC.Result == Pass || r.DKIMResult() == Pass || r.SPF.Result != PermError {
				t.Errorf("%s: %+v", name, r)
			}
			c.Close()
		}
		if took := time.Since(began); took > 5*time.Second { // most of them take some milliseconds
			t.Errorf("%s: %v, %v", name, took, err)
		}
		t.Logf("%-14s %v %v", name, time.Since(began).Round(time.Millisecond), err)
	}
}
