package smtpd

import (
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	ours "dancemta/smtpd/milter"
)

// stage is a milter that answers by what it is told.
type stage struct {
	milter.NoOpMilter
	from string
}

func (s *stage) MailFrom(from string, m *milter.Modifier) (milter.Response, error) {
	s.from = from
	switch strings.SplitN(from, "@", 2)[0] {
	case "rejected":
		return milter.NewResponseStr('y', "550 5.7.1 your mail is not wanted"), nil
	case "later":
		return milter.RespTempFail, nil
	case "away":
		return milter.NewResponseStr('y', "421 4.3.2 the filter goes away"), nil
	case "discarded":
		return milter.RespDiscard, nil
	case "crash":
		panic("on purpose")
	}
	return milter.RespContinue, nil
}

func (s *stage) RcptTo(to string, m *milter.Modifier) (milter.Response, error) {
	switch {
	case to == "rick@example.test" && s.from != "rick@stranger.test":
		return milter.NewResponseStr('y', "550 5.1.1 not rick"), nil
	case to == "boss@example.test":
		return milter.RespDiscard, nil
	}
	return milter.RespContinue, nil
}

func (s *stage) Body(m *milter.Modifier) (milter.Response, error) {
	switch strings.SplitN(s.from, "@", 2)[0] {
	case "spam":
		return milter.RespReject, nil
	case "hold":
		m.Quarantine("looks odd")
	case "edit":
		m.AddHeader("X-Filtered", "as "+m.Macros["i"])
		m.ReplaceBody([]byte("new bücher\n"))
		m.AddRecipient("archive@elsewhere.test")
		m.DeleteRecipient("info@example.test")
	case "nobody":
		m.DeleteRecipient("info@example.test")
	}
	return milter.RespAccept, nil
}

// withMilter is a world whose listener mx asks a stage.
func withMilter(t *testing.T, change func(*ours.Options)) *world {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	s := &milter.Server{NewMilter: func() milter.Milter { return &stage{} }, Actions: 0x3f}
	wait.Go(func() { s.Serve(l) })
	t.Cleanup(func() { l.Close(); wait.Wait() })
	o := ours.Options{Network: "tcp", Address: l.Addr().String(), Dir: t.TempDir(), Timeout: 5 * time.Second}
	if change != nil {
		change(&o)
	}
	f, err := ours.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return newWorld(t, func(o *Options) { o.Listeners = []Listener{{Name: "mx", Kind: Relay, Milters: ours.Chain{f}}} })
}

func TestMilterVerdicts(t *testing.T) {
	w := withMilter(t, nil)
	d := open(t, w.serve()["mx"])
	d.expect("EHLO peer.test", "250")
	d.expect("MAIL FROM:<rejected@stranger.test>", "550 5.7.1 your mail is not wanted [")
	d.expect("MAIL FROM:<later@stranger.test>", "451 4.7.1 Refused for now by a filter, try again later [")
	d.expect("MAIL FROM:<crash@stranger.test>", "451 4.7.1 Refused for now by a filter, try again later [")
	d.expect("MAIL FROM:<spam@stranger.test>", "250 ")
	d.expect("RCPT TO:<rick@example.test>", "550 5.1.1 not rick [")
	d.expect("RCPT TO:<info@example.test>", "250 ")
	d.expect("DATA", "354 ")
	d.expect("Subject: x\r\n\r\nx\r\n.", "550 5.7.1 Refused by a filter [")
	if n := len(w.queue.messages()); n > 0 {
		t.Fatalf("%d messages are kept", n)
	}
	for _, from := range []string{"discarded@stranger.test", "nobody@stranger.test"} {
		if got := d.send(from, "info@example.test", "Subject: x\r\n\r\nx"); !strings.HasPrefix(got, "250 2.6.0 queued as ") {
			t.Error(got)
		}
	}
	if got := d.send("a@stranger.test", "postmaster@mx.example.test", "Subject: x\r\n\r\nx"); !strings.HasPrefix(got, "250 2.6.0 queued as ") {
		t.Error(got)
	}
	if n := len(w.queue.messages()); n > 0 {
		t.Errorf("%d messages are kept", n)
	}
	if log := w.log.String(); strings.Count(log, "msg=discarded") != 3 || !strings.Contains(log, "no recipient is left") || strings.Count(log, "reason=milter") < 4 {
		t.Error(log)
	}
	d.expect("MAIL FROM:<away@stranger.test>", "421 4.3.2 the filter goes away [")
	d.closedWithoutAWord("after 421")
}

func TestMilterEdits(t *testing.T) {
	w := withMilter(t, nil)
	d := open(t, w.serve()["mx"])
	d.expect("EHLO peer.test", "250")
	for _, from := range []string{"edit@stranger.test", "hold@stranger.test"} {
		if got := d.send(from, "info@example.test", "Subject: x\r\n\r\nx"); !strings.HasPrefix(got, "250 ") {
			t.Fatal(got)
		}
	}
	ms := w.queue.messages()
	edited, held := ms[0], ms[1]
	if _, body, _ := strings.Cut(edited.body, "+0000\r\n"); body != "Subject: x\r\nX-Filtered: as "+string(edited.ID)+"\r\n\r\nnew bücher\r\n" {
		t.Errorf("%q", edited.body)
	}
	if !strings.HasPrefix(edited.body, "Received: ") || !edited.EightBit || len(edited.Recipients) != 1 || edited.Recipients[0].Address.String() != "archive@elsewhere.test" {
		t.Errorf("%+v", edited.Envelope)
	}
	if held.Hold != "held by a milter: looks odd" || len(held.Recipients) != 1 {
		t.Errorf("%+v", held.Envelope)
	}
	if log := w.log.String(); !strings.Contains(log, `msg="milter changed a message"`) || !strings.Contains(log, `hold="looks odd"`) {
		t.Error(log)
	}
}

// TestMilterMayFail: with on_failure = "accept" mail passes a milter that is broken,
// and the log says so.
func TestMilterMayFail(t *testing.T) {
	w := withMilter(t, func(o *ours.Options) { o.AcceptOnFailure = true })
	c := &tallies{seen: map[string]int{}}
	w.opts.Counters = c
	d := open(t, w.serve()["mx"])
	d.expect("EHLO peer.test", "250")
	if got := d.send("crash@stranger.test", "info@example.test", "Subject: x\r\n\r\nx"); !strings.HasPrefix(got, "250 ") {
		t.Fatal(got)
	}
	if log := w.log.String(); !strings.Contains(log, `msg="milter failed"`) || !strings.Contains(log, "action=accept") {
		t.Error(log)
	}
	if c.seen["filtered mail skipped"] != 1 || c.seen["filtered mail continue"] != 1 {
		t.Errorf("counted %v", c.seen)
	}
}

// TestMilterAndLongHeaders: what no milter could be shown is refused as what it is.
func TestMilterAndLongHeaders(t *testing.T) {
	w := withMilter(t, nil)
	d := open(t, w.serve()["mx"])
	d.expect("EHLO peer.test", "250")
	if got := d.send("a@stranger.test", "info@example.test", strings.Repeat("X: y\r\n", 1001)+"\r\nx"); !strings.HasPrefix(got, "552 5.3.4 Header is too long") {
		t.Error(got)
	}
}

// TestMilterCounts: each stage at which milters are asked is counted with what they
// said.
func TestMilterCounts(t *testing.T) {
	w := withMilter(t, nil)
	c := &tallies{seen: map[string]int{}}
	w.opts.Counters = c
	d := open(t, w.serve()["mx"])
	d.expect("EHLO peer.test", "250")
	d.expect("MAIL FROM:<rejected@stranger.test>", "550")
	d.expect("MAIL FROM:<later@stranger.test>", "451")
	d.expect("MAIL FROM:<crash@stranger.test>", "451")
	d.expect("MAIL FROM:<spam@stranger.test>", "250")
	d.expect("RCPT TO:<rick@example.test>", "550 5.1.1")
	d.expect("RCPT TO:<info@example.test>", "250")
	d.expect("DATA", "354")
	d.expect("Subject: x\r\n\r\nx\r\n.", "550")
	for _, from := range []string{"discarded", "nobody", "edit", "hold", "good"} {
		if got := d.send(from+"@stranger.test", "info@example.test", "Subject: x\r\n\r\nx"); !strings.HasPrefix(got, "250 ") {
			t.Error(got)
		}
	}
	filtered := map[string]int{}
	for what, n := range c.seen {
		if word, ok := strings.CutPrefix(what, "filtered "); ok {
			filtered[word] = n
		}
	}
	want := map[string]int{
		"mail reject": 1, "mail tempfail": 1, "mail failed": 1, "mail discard": 1, "mail continue": 5, // spam, nobody, edit, hold, good
		"recipient reject": 1, "recipient continue": 5,
		"message reject": 1, "message changed": 2, "message held": 1, "message continue": 1,
	}
	if !maps.Equal(filtered, want) {
		t.Errorf("counted %v, want %v", filtered, want)
	}
}
