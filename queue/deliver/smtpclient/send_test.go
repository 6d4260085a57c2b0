package smtpclient

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"dancemta/internal/mailaddr"
)

// result writes an outcome as one word for tables.
func result(e *Error) string {
	switch {
	case e == nil:
		return "ok"
	case e.Permanent && e.OtherHost:
		return "next or failed " + e.EnhancedStatus()
	case e.Permanent:
		return "failed " + e.EnhancedStatus()
	case e.OtherHost:
		return "next " + e.EnhancedStatus()
	}
	return "deferred " + e.EnhancedStatus()
}

func results(all []Result) string {
	var words []string
	for _, r := range all {
		words = append(words, result(r.Err))
	}
	return strings.Join(words, ", ")
}

const body = "Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n"

const bodyOnWire = `
	C: Subject: x
	C: 
	C: ..dot
	C: ...
	C: end
	C: .
`

// TestSend has dialogs with two recipients, b@remote.test and c@remote.test.
func TestSend(t *testing.T) {
	const envelope = `
	C: MAIL FROM:<a@example.test> SIZE=29
	C: RCPT TO:<b@remote.test>
	C: RCPT TO:<c@remote.test>
	C: DATA
`
	for _, c := range []struct{ name, script, want string }{
		{"one by one", hello + `
			C: MAIL FROM:<a@example.test>
			S: 250 ok
			C: RCPT TO:<b@remote.test>
			S: 250 ok
			C: RCPT TO:<c@remote.test>
			S: 251 will forward
			C: DATA
			S: 354 go
		` + bodyOnWire + `S: 250 2.6.0 queued` + quit, "ok, ok"},
		{"in one go", helloPipelining + envelope + `
			S! "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"
		` + bodyOnWire + `S: 250 2.6.0 queued` + quit, "ok, ok"},
		{"250 before the message", helloPipelining + envelope + `
			S! "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.6.0 queued\r\n"
			HANG
		`, "next 4.5.0, next 4.5.0"},
		{"one reply too many", hello + `
			C: MAIL FROM:<a@example.test>
			S! "250 ok\r\n250 ok\r\n"
			HANG
		`, "next 4.5.0, next 4.5.0"},
		{"MAIL 5xx", hello + `
			C: MAIL FROM:<a@example.test>
			S: 550 5.7.1 no
		` + quit, "failed 5.7.1, failed 5.7.1"},
		{"MAIL 4xx", hello + `
			C: MAIL FROM:<a@example.test>
			S: 452 4.3.1 no disk
		` + quit, "next 4.3.1, next 4.3.1"},
		{"MAIL 354", hello + `
			C: MAIL FROM:<a@example.test>
			S: 354 what
			HANG
		`, "next 4.5.0, next 4.5.0"},
		{"MAIL 5xx in the pipeline", helloPipelining + envelope + `
			S! "550 5.7.1 no\r\n503 5.5.1 x\r\n503 5.5.1 x\r\n503 5.5.1 x\r\n"
		` + quit, "failed 5.7.1, failed 5.7.1"},
		{"one RCPT 4xx, one fine", hello + `
			C: MAIL FROM:<a@example.test>
			S: 250 ok
			C: RCPT TO:<b@remote.test>
			S: 450 4.2.1 greylisted
			C: RCPT TO:<c@remote.test>
			S: 250 ok
			C: DATA
			S: 354 go
		` + bodyOnWire + `S: 250 2.6.0 queued` + quit, "deferred 4.2.1, ok"},
		{"RCPT 552 is too many", hello + `
			C: MAIL FROM:<a@example.test>
			S: 250 ok
			C: RCPT TO:<b@remote.test>
			S: 250 ok
			C: RCPT TO:<c@remote.test>
			S: 552 5.5.3 too many
			C: DATA
			S: 354 go
		` + bodyOnWire + `S: 250 2.6.0 queued` + quit, "ok, deferred 4.5.3"},
		{"all RCPT refused", hello + `
			C: MAIL FROM:<a@example.test>
			S: 250 ok
			C: RCPT TO:<b@remote.test>
			S: 550 5.1.1 unknown
			C: RCPT TO:<c@remote.test>
			S: 550 unknown
		` + quit, "failed 5.1.1, failed 5.0.0"},
		{"all RCPT refused, DATA too", helloPipelining + envelope + `
			S! "250 ok\r\n550 5.1.1 x\r\n450 4.2.1 x\r\n554 5.5.1 no valid recipients\r\n"
		` + quit, "failed 5.1.1, deferred 4.2.1"},
		{"all RCPT refused, and 354", helloPipelining + envelope + `
			S! "250 ok\r\n550 5.1.1 x\r\n550 5.1.1 x\r\n354 go\r\n"
			C: .
			S: 554 5.5.1 nothing
		` + quit, "failed 5.1.1, failed 5.1.1"},
		{"MAIL refused, and 354", helloPipelining + envelope + `
			S! "550 5.7.1 no\r\n250 ok\r\n250 ok\r\n354 go\r\n"
			C: .
			S: 250 2.0.0 taken for nobody
		` + quit, "failed 5.7.1, failed 5.7.1"},
		{"421 at RCPT", helloPipelining + envelope + `
			S! "250 ok\r\n550 5.1.1 x\r\n421 4.3.2 bye\r\n"
		`, "failed 5.1.1, next 4.3.2"},
		{"421 after a good RCPT", helloPipelining + envelope + `
			S! "250 ok\r\n250 ok\r\n421 4.3.2 bye\r\n"
		`, "next 4.3.2, next 4.3.2"},
		{"dropped at RCPT", helloPipelining + envelope + `
			S! "250 ok\r\n550 5.1.1 x\r\n"
			DROP
		`, "failed 5.1.1, next 4.4.2"},
		{"RCPT 2xx too few, 354 in its place", helloPipelining + envelope + `
			S! "250 ok\r\n250 ok\r\n354 go\r\n"
			HANG
		`, "next 4.5.0, next 4.5.0"},
		{"DATA 5xx", helloPipelining + envelope + `
			S! "250 ok\r\n250 ok\r\n450 4.2.1 x\r\n554 5.7.1 no\r\n"
		` + quit, "failed 5.7.1, deferred 4.2.1"},
		{"DATA 4xx", helloPipelining + envelope + `
			S! "250 ok\r\n250 ok\r\n250 ok\r\n451 4.3.0 no\r\n"
		` + quit, "next 4.3.0, next 4.3.0"},
		{"DATA 250", helloPipelining + envelope + `
			S! "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n"
			HANG
		`, "next 4.5.0, next 4.5.0"},
		{"refused after the dot", helloPipelining + envelope + `
			S! "250 ok\r\n550 5.1.1 x\r\n250 ok\r\n354 go\r\n"
		` + bodyOnWire + `S: 554 5.6.0 spam` + quit, "failed 5.1.1, failed 5.6.0"},
		{"deferred after the dot", helloPipelining + envelope + `
			S! "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"
		` + bodyOnWire + `S: 451 4.7.1 later` + quit, "deferred 4.7.1, deferred 4.7.1"},
		{"421 after the dot", helloPipelining + envelope + `
			S! "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"
		` + bodyOnWire + `S: 421 4.3.2 down`, "next 4.3.2, next 4.3.2"},
		{"no reply after the dot", helloPipelining + envelope + `
			S! "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"
		` + bodyOnWire + `DROP`, "deferred 4.4.2, deferred 4.4.2"},
		{"nonsense after the dot", helloPipelining + envelope + `
			S! "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"
		` + bodyOnWire + `S: 150 soon`, "deferred 4.5.0, deferred 4.5.0"},
		{"354 after the dot", helloPipelining + envelope + `
			S! "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"
		` + bodyOnWire + "S: 354 more\nHANG", "deferred 4.5.0, deferred 4.5.0"},
		{"enhanced class contradicts", helloPipelining + envelope + `
			S! "250 ok\r\n550 4.1.1 x\r\n550 2.1.5 x\r\n554 5.5.1 x\r\n"
		` + quit, "failed 5.0.0, failed 5.0.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := connect(t, c.script)
			all := client.Send(t.Context(), message(body, "b@remote.test", "c@remote.test"))
			if got := results(all); got != c.want {
				t.Errorf("got %s, want %s: %v", got, c.want, all)
			}
			for _, r := range all {
				if r.Err == nil && r.Reply != (Reply{250, "2.6.0", "queued"}) {
					t.Errorf("accepted by %q", r.Reply)
				}
			}
			client.Quit(t.Context())
		})
	}
}

func TestSendTwice(t *testing.T) {
	c := connect(t, hello+`
		C: MAIL FROM:<a@example.test>
		S: 250 ok
		C: RCPT TO:<b@remote.test>
		S: 550 5.1.1 no
		C: RSET
		S: 250 ok
		C: MAIL FROM:<>
		S: 250 ok
		C: RCPT TO:<b@remote.test>
		S: 250 ok
		C: DATA
		S: 354 go
		C: .
		S: 250 2.0.0 ok
		C: MAIL FROM:<a@example.test>
		S: 421 4.3.2 enough
	`)
	m := message("", "b@remote.test")
	var got []string
	for _, sender := range []string{"a@example.test", "", "a@example.test", "a@example.test"} {
		m.Sender = mailaddr.MustParse(sender)
		got = append(got, results(c.Send(t.Context(), m)))
	}
	if want := []string{"failed 5.1.1", "ok", "next 4.3.2", "next 4.4.2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	c.Quit(t.Context())
}

// TestAddresses: what would be a parameter or a second recipient stays within
// the quotes (golden bytes on the wire).
func TestAddresses(t *testing.T) {
	c := connect(t, hello+`
		C: MAIL FROM:<"a> NOTIFY=NEVER <b"@example.test>
		S: 250 ok
		C: RCPT TO:<"x\"y"@[IPv6:2001:db8::1]>
		S: 550 5.1.1 no
	`+quit)
	m := message("x\r\n", `"x\"y"@[IPv6:2001:db8::1]`)
	m.Sender = mailaddr.MustParse(`"a> NOTIFY=NEVER <b"@example.test`)
	if got := results(c.Send(t.Context(), m)); got != "failed 5.1.1" {
		t.Errorf("got %s", got)
	}
	c.Quit(t.Context())
}

func TestCapabilities(t *testing.T) {
	const whole = `
		S! "250 ok\r\n250 ok\r\n354 go\r\n"
		C: x
		C: .
		S: 250 2.0.0 ok
	`
	for _, c := range []struct {
		name, script, body string
		size               int64
		eightBit           bool
		want               string
	}{
		{"at the limit", helloPipelining + "C: MAIL FROM:<a@example.test> SIZE=1000\nC: RCPT TO:<b@remote.test>\nC: DATA" + whole + quit, "x\r\n", 1000, false, "ok"},
		{"over the limit", helloPipelining + quit, "x\r\n", 1001, false, "failed 5.3.4"},
		{"no limit known", "S: 220 x\nC: EHLO mx.example.test\nS: 250-x\nS: 250-PIPELINING\nS: 250 SIZE\nC: MAIL FROM:<a@example.test> SIZE=5000\nC: RCPT TO:<b@remote.test>\nC: DATA" + whole + quit, "x\r\n", 5000, false, "ok"},
		{"8 bits offered", helloPipelining + "C: MAIL FROM:<a@example.test> SIZE=3 BODY=8BITMIME\nC: RCPT TO:<b@remote.test>\nC: DATA" + whole + quit, "x\r\n", 3, true, "ok"},
		{"8 bits not offered", hello + quit, "\xfc\r\n", 3, true, "failed 5.6.3"},
		{"8 bits declared and not used", hello + `
			C: MAIL FROM:<a@example.test>
			S: 250 ok
			C: RCPT TO:<b@remote.test>
			S: 550 5.1.1 no
		` + quit, "x\r\n", 3, true, "failed 5.1.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := connect(t, c.script)
			m := message(c.body, "b@remote.test")
			m.Size, m.EightBit = c.size, c.eightBit
			all := client.Send(t.Context(), m)
			if got := results(all); got != c.want {
				t.Errorf("got %s, want %s: %v", got, c.want, all[0].Err)
			}
			client.Quit(t.Context())
		})
	}
}

// TestSmuggling: a body with other line ends than CRLF never gets an end, and
// the offending bytes are not sent at all (RFC 5321 2.3.8).
func TestSmuggling(t *testing.T) {
	for _, bad := range []string{"\n.\n", "\r\n.\n", "\n.\r\n", "\r.\r\n", "\r.\r", "\r\r\n.\r\n", "\r\n.\r", "\x00", "x\ny", "x\ry"} {
		t.Run(fmt.Sprintf("%q", bad), func(t *testing.T) {
			client := connect(t, hello+`
				C: MAIL FROM:<a@example.test>
				S: 250 ok
				C: RCPT TO:<b@remote.test>
				S: 250 ok
				C: DATA
				S: 354 go
				HANG
			`)
			if got := results(client.Send(t.Context(), message("text\r\nmore"+bad+"MAIL FROM:<admin@example.test>", "b@remote.test"))); got != "failed 5.6.0" {
				t.Errorf("got %s, want failed 5.6.0", got)
			}
			client.Quit(t.Context())
		})
	}
}

func TestOwnFault(t *testing.T) {
	broken := errors.New("disk gone")
	for _, c := range []struct {
		name, script string
		open         func() (io.ReadCloser, error)
	}{
		{"open", hello + quit, func() (io.ReadCloser, error) { return nil, broken }},
		{"read", hello + `
			C: MAIL FROM:<a@example.test>
			S: 250 ok
			C: RCPT TO:<b@remote.test>
			S: 250 ok
			C: DATA
			S: 354 go
			HANG
		`, func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("half\r\n"), failing{broken})), nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := connect(t, c.script)
			m := message("", "b@remote.test")
			m.Open = c.open
			all := client.Send(t.Context(), m)
			if got := results(all); got != "deferred 4.3.0" || !errors.Is(all[0].Err, broken) {
				t.Errorf("got %s: %v", got, all[0].Err)
			}
			client.Quit(t.Context())
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A server that closes in the midst of a body may have said why.
func TestRefusedWithinTheBody(t *testing.T) {
	for _, c := range []struct{ name, says, want string }{
		{"too large", "S: 552 5.3.4 too large\n", "failed 5.3.4"},
		{"no disk", "S: 452 4.3.1 no disk\n", "deferred 4.3.1"},
		{"leaves", "S: 421 4.3.2 bye\n", "next 4.3.2"},
		{"nothing", "", "next 4.4.2"},
		{"nonsense", "S: 250 thanks\n", "next 4.4.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := connect(t, hello+"C: MAIL FROM:<a@example.test>\nS: 250 ok\nC: RCPT TO:<b@remote.test>\nS: 250 ok\nC: DATA\nS: 354 go\nBYTE\n"+c.says+"DROP")
			all := client.Send(t.Context(), message(lines(50000), "b@remote.test"))
			if got := results(all); got != c.want {
				t.Errorf("got %s, want %s: %v", got, c.want, all[0].Err)
			}
			client.Quit(t.Context())
		})
	}
}
