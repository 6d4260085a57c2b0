package milter

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-milter"
)

// editor is a milter made with the library's other half, which speaks version 2.
type editor struct {
	milter.NoOpMilter
	to string
}

func (e *editor) RcptTo(to string, m *milter.Modifier) (milter.Response, error) {
	e.to = to
	if m.Macros["{rcpt_addr}"] != to {
		return milter.RespReject, nil
	}
	return milter.RespContinue, nil
}

func (e *editor) Body(m *milter.Modifier) (milter.Response, error) {
	m.AddHeader("X-Seen", m.Macros["i"]+" for "+e.to)
	m.ChangeHeader(1, "Subject", "changed")
	m.ReplaceBody([]byte("new\r\nbody"))
	m.AddRecipient("b@remote.test")
	return milter.RespAccept, nil
}

// panicker crashes in the middle.
type panicker struct{ milter.NoOpMilter }

func (panicker) BodyChunk([]byte, *milter.Modifier) (milter.Response, error) { panic("on purpose") }

func libraryMilter(t *testing.T, network, address string, s *milter.Server) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() { s.Serve(l) })
	t.Cleanup(func() { l.Close(); wait.Wait() })
}

func TestLibrary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "milter")
	libraryMilter(t, "unix", path, &milter.Server{NewMilter: func() milter.Milter { return &editor{} }, Actions: 0x3f, Protocol: milter.OptNoConnect | milter.OptNoHelo})
	f, err := New(Options{Network: "unix", Address: path, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	got, ch, v := pass(t, Chain{f}, text1)
	want := "From: rick@partner.test\r\nSubject: changed\r\nReceived: a\r\nReceived: b\r\nX-Seen: ID1 for a@remote.test\r\n\r\nnew\r\nbody\r\n"
	if v.Action != Continue || v.Err != nil || got != want || len(ch.Added) != 1 {
		t.Errorf("%+v, %+v: %q", v, ch, got)
	}
	if f.Name() != "unix:"+path {
		t.Error(f.Name())
	}
}

func TestLibraryCrashes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "milter")
	libraryMilter(t, "unix", path, &milter.Server{NewMilter: func() milter.Milter { return panicker{} }})
	f, err := New(Options{Network: "unix", Address: path, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, v := pass(t, Chain{f}, text1); v.Action != TempFail || v.Err == nil {
		t.Errorf("%+v", v)
	}
}

// TestMessagesAreTakenApart: whatever a message looks like, it comes out as it went
// in when nobody changes it.
func TestMessagesAreTakenApart(t *testing.T) {
	for _, m := range []string{"", "\r\n", "\r\n\r\n", "a: b\r\n", "a: b\r\n\r\n", "a: b\r\n\r\nbody", "no field\r\nbody\r\n", " folded\r\n",
		"a: b\r\nno field\r\n\r\nx\r\n", "a : b\r\n\tc\r\n  \r\n\r\n:\r\n", "a:\r\n:b\r\n\r\n", "a: b", strings.Repeat("a: b\r\n", maxFields) + "\r\nx"} {
		parts, err := readMessage(strings.NewReader(m), t.TempDir())
		if err != nil {
			t.Errorf("%.40q: %v", m, err)
			continue
		}
		if got := textOf(t, parts); got != m && got != m+"\r\n" { // a field's line gets its end
			t.Errorf("%.80q came out as %.80q", m, got)
		}
		parts.body.Close()
	}
	for _, m := range []string{strings.Repeat("a: b\r\n", maxFields+1), "a: " + strings.Repeat("b\r\n ", maxHeader/4) + "\r\n", strings.Repeat("a", maxHeader+1)} {
		if _, err := readMessage(strings.NewReader(m), t.TempDir()); err == nil {
			t.Errorf("taken: %.40q", m)
		}
	}
}

func textOf(t testing.TB, m *message) string {
	t.Helper()
	var b strings.Builder
	if _, err := io.Copy(&b, m.reader()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// FuzzMilter: whatever a milter says, the message is whole: with one header, clean
// lines, and nothing that could be another message.
func FuzzMilter(f *testing.F) {
	for _, seed := range []string{"hX\x00y\x00", "m\x00\x00\x00\x01Subject\x00\x00", "bone\rtwo\nthree", "+<a@b.test>\x00", "y550 5.7.1 no\x00", "qwhy\x00"} {
		f.Add(seed, "bx\r")
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		if one == "" || two == "" || one == hang || two == hang || one == "raw" || two == "raw" {
			return
		}
		m := newFake(t, allActions, map[byte][]string{'E': {one, two, "c"}})
		got, _, v := pass(t, Chain{m.filter()}, text1)
		if v.Action != Continue {
			return
		}
		clean := strings.ReplaceAll(got, "\r\n", "")
		if strings.ContainsAny(clean, "\r\n\x00") || !strings.HasSuffix(got, "\r\n") {
			t.Errorf("%q", got)
		}
		parts, err := readMessage(strings.NewReader(got), t.TempDir())
		if err != nil || parts.gap == "" {
			t.Errorf("%v: %q", err, got)
		}
	})
}
