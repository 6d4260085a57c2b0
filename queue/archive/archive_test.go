package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

func sample(n int, body string) queue.Saved {
	a, b := mailaddr.MustParse("a@one.test"), mailaddr.MustParse(`"b b"@[192.0.2.1]`)
	return queue.Saved{
		Envelope: queue.Envelope{
			ID: queue.ID(fmt.Sprintf("01KJN%015d", n)), Sender: mailaddr.MustParse("rick@partner.test"),
			Recipients: []queue.Recipient{{Address: a, Notify: queue.NotifySuccess, Original: "rfc822;x@y"}, {Address: b}},
			Identity:   "rick@partner.test", Session: "s", EightBit: true, SMTPUTF8: true, RequireTLS: true, TLSOptional: true,
			EnvelopeID: "env id", Return: queue.ReturnHeaders, Helo: "mx", Peer: "192.0.2.7", Arrived: now, Expires: now.Add(time.Hour),
		},
		Size: int64(len(body)),
		Units: []queue.SavedUnit{
			{Destination: "one.test", Attempts: 3, Told: true, Next: now.Add(time.Hour), Recipients: []queue.SavedRecipient{
				{Address: a, Reply: "451 later", TLS: "may: none", Held: true, HoldReason: "held by an operator: odd"}}},
			{Destination: "[192.0.2.1]", Attempts: 1, Recipients: []queue.SavedRecipient{
				{Address: b, Result: queue.Delivered, Reply: "250 ok"}}},
		},
	}
}

func text(s string) Open {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

// made writes two messages and one that is lost.
func made(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, now)
	if err != nil {
		t.Fatal(err)
	}
	doubtful := sample(2, "second\r\n")
	doubtful.Doubt = "its state was lost"
	for _, err := range []error{
		w.Add(sample(1, "first\r\n"), text("first\r\n")), w.Lost("01KJN000000000000009", "no envelope", text("third\r\n")),
		w.Add(doubtful, text("second\r\n")), w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// read returns all messages that come whole, and the first error.
func read(b []byte) (all []queue.Saved, bodies []string, err error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, nil, err
	}
	var first error
	for {
		s, body, err := r.Next()
		if err == nil {
			var octets []byte
			if octets, err = io.ReadAll(body); err == nil {
				all, bodies = append(all, s), append(bodies, string(octets))
				continue
			}
		}
		if err == io.EOF {
			return all, bodies, first
		}
		if first == nil {
			first = err
		}
		if !errors.Is(err, ErrDamaged) {
			return all, bodies, first
		}
	}
}

func TestRoundTrip(t *testing.T) {
	all, bodies, err := read(made(t))
	if err != nil {
		t.Fatal(err)
	}
	want := []queue.Saved{sample(1, "first\r\n"), sample(2, "second\r\n")}
	want[1].Doubt = "its state was lost"
	if !reflect.DeepEqual(all, want) {
		t.Errorf("got %+v\nwant %+v", all, want)
	}
	if fmt.Sprintf("%q", bodies) != `["first\r\n" "second\r\n"]` {
		t.Errorf("bodies %q", bodies)
	}
}

// TestOtherToolsRead: the names are those that the documentation promises.
func TestOtherToolsRead(t *testing.T) {
	r, names := tar.NewReader(bytes.NewReader(made(t))), ""
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names += h.Name + " "
	}
	want := "dancemta-queue.json 01KJN000000000000001.json 01KJN000000000000001.eml lost/01KJN000000000000009.eml " +
		"lost/01KJN000000000000009.json 01KJN000000000000002.json 01KJN000000000000002.eml end.json "
	if names != want {
		t.Errorf("got %s\nwant %s", names, want)
	}
}

// TestCutOff: no beginning of an archive is taken for the whole.
func TestCutOff(t *testing.T) {
	whole := made(t)
	for n := range bytes.LastIndexByte(whole, '}') { // behind that stand tar's own zeros
		if n%3 != 0 && n%512 != 0 {
			continue
		}
		if _, _, err := read(whole[:n]); err == nil {
			t.Fatalf("%d of %d octets are taken for the whole", n, len(whole))
		}
	}
}

// TestDamage: a changed octet is noticed, and takes no other message with it unless it
// is one of tar's own.
func TestDamage(t *testing.T) {
	whole := made(t)
	for n := 0; n < bytes.LastIndexByte(whole, '}'); n += 7 {
		b := bytes.Clone(whole)
		b[n] ^= 0x20
		all, bodies, err := read(b)
		for i, s := range all {
			number := int(s.Envelope.ID[19] - '0')
			text := map[int]string{1: "first\r\n", 2: "second\r\n"}[number]
			w := sample(number, text)
			w.Doubt = s.Doubt
			if !reflect.DeepEqual(s, w) || bodies[i] != text {
				t.Fatalf("octet %d: %+v, %q", n, s, bodies[i])
			}
		}
		if len(all) < 2 && err == nil {
			t.Fatalf("octet %d: %d messages, and no error", n, len(all))
		}
	}
}

func TestUnreadable(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, now)
	if err != nil {
		t.Fatal(err)
	}
	broken := func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	for name, open := range map[string]Open{"gone": broken, "short": text("fir"), "long": text("first\r\nand more")} {
		var u *Unreadable
		if err := w.Add(sample(1, "first\r\n"), open); !errors.As(err, &u) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := errors.Join(w.Add(sample(2, "second\r\n"), text("second\r\n")), w.Close()); err != nil {
		t.Fatal(err)
	}
	if all, _, err := read(b.Bytes()); err != nil || len(all) != 1 {
		t.Errorf("%d messages, %v", len(all), err)
	}
}

// TestLargeBody: a file is not read into memory.
func TestLargeBody(t *testing.T) {
	path, size := filepath.Join(t.TempDir(), "body"), 3*maxInMemory
	if err := os.WriteFile(path, bytes.Repeat([]byte("0123456789abcde\n"), size/16), 0o600); err != nil {
		t.Fatal(err)
	}
	s := sample(1, "")
	s.Size = int64(size)
	var b bytes.Buffer
	w, err := NewWriter(&b, now)
	if err == nil {
		err = errors.Join(w.Add(s, func() (io.ReadCloser, error) { return os.Open(path) }), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, bodies, err := read(b.Bytes()); err != nil || len(bodies) != 1 || len(bodies[0]) != size {
		t.Errorf("%d bodies, %v", len(bodies), err)
	}
}

func TestRefused(t *testing.T) {
	change := func(f func(*message)) []byte {
		var b bytes.Buffer
		w, err := NewWriter(&b, now)
		if err != nil {
			t.Fatal(err)
		}
		m := fromSaved(sample(1, "x"))
		f(&m)
		err = errors.Join(w.json("01KJN000000000000001.json", m), w.entry("01KJN000000000000001.eml", 1, sum([]byte("x")), strings.NewReader("x")))
		w.end.Messages++
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for name, f := range map[string]func(*message){
		"other id":                 func(m *message) { m.ID = "01KJN000000000000002" },
		"no recipient":             func(m *message) { m.Recipients = nil },
		"recipient without state":  func(m *message) { m.Units = m.Units[:1] },
		"state without recipient":  func(m *message) { m.Recipients = m.Recipients[:1] },
		"recipient twice":          func(m *message) { m.Recipients = append(m.Recipients, m.Recipients[0]) },
		"state twice":              func(m *message) { m.Units[0].Recipients = append(m.Units[0].Recipients, m.Units[0].Recipients[0]) },
		"destination twice":        func(m *message) { m.Units = append(m.Units, unit{Destination: "one.test"}) },
		"at a strange destination": func(m *message) { m.Units[0].Destination = "two.test" },
		"nobody at a destination":  func(m *message) { m.Units = append(m.Units, unit{Destination: "../../x"}) },
		"unknown result":           func(m *message) { m.Units[0].Recipients[0].Result = 9 },
		"other size":               func(m *message) { m.Size = 2 },
		"negative size":            func(m *message) { m.Size = -1 },
	} {
		if all, _, err := read(change(f)); !errors.Is(err, ErrDamaged) || len(all) > 0 {
			t.Errorf("%s: %v, %d messages", name, err, len(all))
		}
	}
	if all, _, err := read(change(func(*message) {})); err != nil || len(all) != 1 {
		t.Errorf("unchanged: %v", err)
	}
	var b bytes.Buffer
	w := &Writer{tar: tar.NewWriter(&b), made: now}
	if err := w.json(nameHead, head{format, version + 1, now}); err != nil {
		t.Fatal(err)
	}
	if _, err := NewReader(&b); !errors.Is(err, ErrVersion) {
		t.Errorf("a later version: %v", err)
	}
	if _, err := NewReader(strings.NewReader("From rick@partner.test")); !errors.Is(err, ErrFormat) {
		t.Errorf("an mbox: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(made(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, bodies, _ := read(b)
		for i, s := range all {
			if s.Size != int64(len(bodies[i])) || !s.Envelope.ID.Valid() || len(s.Envelope.Recipients) == 0 {
				t.Fatalf("%+v", s)
			}
		}
	})
}

// TestForeignText: what an archive says goes to terminals, logs and notifications.
func TestForeignText(t *testing.T) {
	const hostile, safe = "a\r\nb\x1b[2J\u202e\u009bc", "a??b?[2J??c"
	m := fromSaved(sample(1, "x"))
	m.Identity, m.Session, m.EnvelopeID, m.Helo, m.Peer, m.Doubt = hostile, hostile, hostile, hostile, hostile, hostile
	m.Recipients[0].Original = hostile
	m.Units[0].Recipients[0].Reply, m.Units[0].Recipients[0].TLS, m.Units[0].Recipients[0].Why = hostile, hostile, hostile
	s := m.saved()
	e, to := s.Envelope, s.Units[0].Recipients[0]
	for name, got := range map[string]string{
		"identity": e.Identity, "session": e.Session, "envid": e.EnvelopeID, "helo": e.Helo, "peer": e.Peer, "doubt": s.Doubt,
		"orcpt": e.Recipients[0].Original, "reply": to.Reply, "tls": to.TLS, "hold reason": to.HoldReason,
	} {
		if got != safe {
			t.Errorf("%s: %q", name, got)
		}
	}
	m.Doubt = strings.Repeat("x", 1<<20)
	if n := len(m.saved().Doubt); n > maxForeign {
		t.Errorf("doubt of %d octets", n)
	}
}

// TestSparse: an entry whose octets are not there, but stand for more zeros than any
// disk has, is refused before they are read.
func TestSparse(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, now)
	if err != nil {
		t.Fatal(err)
	}
	m := fromSaved(sample(1, ""))
	m.Size = 1 << 45
	err = errors.Join(w.json("01KJN000000000000001.json", m), w.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: "01KJN000000000000001.eml", Mode: 0o600, Format: tar.FormatPAX, PAXRecords: map[string]string{
			"XNU.sparse.map": "35184372088832,0", "XNU.sparse.numblocks": "1", "XNU.sparse.size": "35184372088832", "XNU.sparse.name": "01KJN000000000000001.eml"},
	}))
	w.end.Messages++
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(bytes.NewReader(bytes.ReplaceAll(b.Bytes(), []byte("XNU.sparse"), []byte("GNU.sparse"))))
	if err != nil {
		t.Fatal(err)
	}
	if _, body, err := r.Next(); !errors.Is(err, ErrFormat) {
		n := int64(0)
		if err == nil {
			n, _ = io.CopyN(io.Discard, body, 1<<24)
		}
		t.Errorf("%v, a body of %d octets or more", err, n)
	}
}
