package milter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a milter written by hand: for each packet that asks for an answer it says
// what answers has, packet after packet; "c" (continue) where that has nothing.
type fake struct {
	t       *testing.T
	offer   string // its reply to OPTNEG: version, actions, protocol
	answers map[byte][]string
	addr    string

	mu   sync.Mutex
	seen []string // what it was told
}

// negotiated is version 6 with these bits.
func negotiated(actions, protocol uint32) string {
	b := []byte{'O', 0, 0, 0, 6}
	return string(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, actions), protocol))
}

// all changes that Sendmail had in version 2.
var allActions = negotiated(0x3f, 0)

func newFake(t *testing.T, offer string, answers map[byte][]string) *fake {
	t.Helper()
	f := &fake{t: t, offer: offer, answers: answers}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); wait.Wait() })
	return f
}

func packet(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

// slow as an answer is the time that the next one takes.
const slow = "slow"

// hang as an answer says nothing until the other side goes.
const hang = "hang"

func (f *fake) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		f.mu.Lock()
		f.seen = append(f.seen, string(b))
		f.mu.Unlock()
		if strings.IndexByte("DAQ", b[0]) >= 0 { // macros, abort and quit have no answer
			continue
		}
		answers := f.answers[b[0]]
		switch {
		case answers == nil && b[0] == 'O':
			answers = []string{f.offer}
		case answers == nil:
			answers = []string{"c"}
		}
		for _, a := range answers {
			switch a {
			case hang:
				io.Copy(io.Discard, conn)
				return
			case "close":
				return
			case slow:
				time.Sleep(20 * time.Millisecond)
				continue
			case "raw":
				conn.Write([]byte{0xff, 0xff, 0xff, 0xff, 'c'})
				continue
			}
			if _, err := conn.Write(packet(a)); err != nil {
				return
			}
		}
	}
}

func (f *fake) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

func (f *fake) filter(change ...func(*Options)) *Filter {
	o := Options{Network: "tcp", Address: f.addr, Dir: f.t.TempDir(), Timeout: 5 * time.Second}
	for _, c := range change {
		c(&o)
	}
	filter, err := New(o)
	if err != nil {
		f.t.Fatal(err)
	}
	return filter
}

var peer = Peer{Hostname: "mx.example.test", Listener: "mx", Address: netip.MustParseAddrPort("192.0.2.7:4444"), Helo: "peer.test",
	TLS: "TLSv1.3", Cipher: "TLS_AES_128_GCM_SHA256", Bits: 128, Login: "rick@partner.test", How: "EXTERNAL"}

var envelope = Envelope{ID: "ID1", Sender: "rick@partner.test", Args: []string{"SIZE=7"}}

const text1 = "From: rick@partner.test\r\nSubject: one\r\n\ttwo\r\nReceived: a\r\nReceived: b\r\n\r\nbody\r\n"

// pass is a whole transaction of one message to a@remote.test.
func pass(t *testing.T, c Chain, message string) (string, Changes, Verdict) {
	t.Helper()
	tx, v := c.Begin(context.Background(), peer, envelope)
	if v.Action != Continue {
		return "", Changes{}, v
	}
	defer tx.Close()
	if v := tx.Rcpt("a@remote.test"); v.Action != Continue {
		return "", Changes{}, v
	}
	m, changes, v, err := tx.Message(strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	if v.Action != Continue {
		return "", changes, v
	}
	defer m.Close()
	b, err := io.ReadAll(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tx.Failed {
		v.Err = errors.Join(v.Err, f.Err)
	}
	return string(b), changes, v
}

// TestWhatMilterSees: every packet, octet by octet.
func TestWhatMilterSees(t *testing.T) {
	f := newFake(t, allActions, nil)
	got, changes, v := pass(t, Chain{f.filter()}, text1)
	if got != text1 || v.Action != Continue || changes.Edited {
		t.Errorf("%q, %+v, %+v", got, changes, v)
	}
	want := []string{
		"DCj\x00mx.example.test\x00{daemon_name}\x00mx\x00v\x00dancemta\x00_\x00[192.0.2.7]\x00{client_name}\x00[192.0.2.7]\x00{client_ptr}\x00unknown\x00{client_addr}\x00192.0.2.7\x00{client_port}\x004444\x00",
		"C[192.0.2.7]\x004\x11\x5c192.0.2.7\x00",
		"DH{tls_version}\x00TLSv1.3\x00{cipher}\x00TLS_AES_128_GCM_SHA256\x00{cipher_bits}\x00128\x00",
		"Hpeer.test\x00",
		"DMi\x00ID1\x00{mail_addr}\x00rick@partner.test\x00{auth_type}\x00EXTERNAL\x00{auth_authen}\x00rick@partner.test\x00",
		"M<rick@partner.test>\x00SIZE=7\x00",
		"DRi\x00ID1\x00{rcpt_addr}\x00a@remote.test\x00",
		"R<a@remote.test>\x00",
		"DNi\x00ID1\x00",
		"LFrom\x00rick@partner.test\x00",
		"LSubject\x00one\n\ttwo\x00",
		"LReceived\x00a\x00",
		"LReceived\x00b\x00",
		"N",
		"Bbody\r\n",
		"DEi\x00ID1\x00",
		"E",
		"Q",
	}
	waitFor(t, func() bool { return len(f.told()) > len(want) })
	if got := f.told()[1:]; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("timeout")
		}
	}
}

func TestEdits(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []string // to the end of the message
		want    string
		changes string
	}{
		{"nothing", []string{"c"}, text1, "[] []  false false"},
		{"progress first", []string{"p", "p", "a"}, text1, "[] []  false false"},
		{"add", []string{"hX-Spam\x00yes\x00", "c"}, strings.Replace(text1, "b\r\n\r\n", "b\r\nX-Spam: yes\r\n\r\n", 1), "[] []  true false"},
		{"insert", []string{"i\x00\x00\x00\x01X\x00y\n z\x00", "i\x00\x00\x00\x00First\x00f\x00", "i\x00\x00\x00\xffLast\x00l\r\nfold\x00", "a"},
			"First: f\r\nFrom: rick@partner.test\r\nX: y\r\n z\r\nSubject: one\r\n\ttwo\r\nReceived: a\r\nReceived: b\r\nLast: l\r\n\tfold\r\n\r\nbody\r\n", "[] []  true false"},
		{"change the second", []string{"m\x00\x00\x00\x02received\x00c\x00", "c"}, strings.Replace(text1, "Received: b", "received: c", 1), "[] []  true false"},
		{"change what is not there", []string{"m\x00\x00\x00\x03Received\x00c\x00", "c"}, strings.Replace(text1, "b\r\n\r\n", "b\r\nReceived: c\r\n\r\n", 1), "[] []  true false"},
		{"delete", []string{"m\x00\x00\x00\x01SUBJECT\x00\x00", "m\x00\x00\x00\x01Nothing\x00\x00", "c"}, strings.Replace(text1, "Subject: one\r\n\ttwo\r\n", "", 1), "[] []  true false"},
		{"body", []string{"bone\r\ntw", "bo\nthree\rfour", "c"}, strings.Replace(text1, "body\r\n", "one\r\ntwo\r\nthree\r\nfour\r\n", 1), "[] []  true false"},
		{"CRLF over two packets", []string{"bone\r", "b\ntwo\r", "c"}, strings.Replace(text1, "body\r\n", "one\r\ntwo\r\n", 1), "[] []  true false"},
		{"empty body", []string{"b", "c"}, strings.Replace(text1, "body\r\n", "", 1), "[] []  true false"},
		{"beyond ASCII", []string{"bb\xc3\xbccher\n", "c"}, strings.Replace(text1, "body", "bücher", 1), "[] []  true true"},
		{"recipients", []string{"+<b@remote.test>\x00", "+c@remote.test\x00", "-<a@remote.test>\x00", "-<c@REMOTE.test>\x00", "c"}, text1, "[b@remote.test] [a@remote.test c@remote.test]  false false"},
		{"hold", []string{"qlooks\r\nodd\x00", "a"}, text1, "[] [] looks??odd false false"},
	} {
		f := newFake(t, allActions, map[byte][]string{'E': c.answers})
		got, ch, v := pass(t, Chain{f.filter()}, text1)
		if v.Action != Continue || got != c.want {
			t.Errorf("%s: %+v\ngot  %q\nwant %q", c.name, v, got, c.want)
		}
		if s := fmt.Sprint(ch.Added, ch.Removed, " ", ch.Hold, " ", ch.Edited, " ", ch.EightBit); strings.Join(strings.Fields(s), " ") != strings.Join(strings.Fields(c.changes), " ") {
			t.Errorf("%s: %s, want %s", c.name, s, c.changes)
		}
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		stage  byte
		answer string
		want   string
	}{
		{'C', "r", "reject 0 "}, {'H', "t", "tempfail 0 "}, {'M', "d", "discard 0 "}, {'R', "r", "reject 0 "},
		{'L', "r", "reject 0 "}, {'N', "d", "discard 0 "}, {'B', "t", "tempfail 0 "}, {'E', "r", "reject 0 "},
		{'C', "a", "continue 0 "}, {'M', "a", "continue 0 "}, {'L', "a", "continue 0 "}, {'E', "a", "continue 0 "},
		{'E', "y550 5.7.1 spam, 100%% sure\x00", "reject 550 5.7.1 spam, 100% sure"},
		{'R', "y450 4.2.1 greylisted\x00", "tempfail 450 4.2.1 greylisted"},
		{'M', "y421 away\x00", "tempfail 421 4.7.1 away"},
		{'E', "y550 4.7.1 classes differ\x00", "reject 550 5.7.1 classes differ"},
		{'E', "y550-5.7.1 first\r\n550 5.7.1 second\x00", "reject 550 5.7.1 first"},
		{'E', "y550 a\x1b[2Jb\xff\x00", "reject 550 5.7.1 a?[2Jb?"},
		{'E', "y550 " + strings.Repeat("x", 5000) + "\x00", "reject 550 5.7.1 " + strings.Repeat("x", maxReply-3) + "..."},
		{'E', "y550 5.7.1\x00", "reject 0 "},
	} {
		f := newFake(t, allActions, map[byte][]string{c.stage: {c.answer}})
		_, _, v := pass(t, Chain{f.filter()}, text1)
		got := fmt.Sprintf("%v %d ", v.Action, v.Code)
		if v.Code != 0 {
			got += fmt.Sprintf("%d.%d.%d %s", v.Enhanced[0], v.Enhanced[1], v.Enhanced[2], v.Text)
		}
		if got != c.want || v.Err != nil {
			t.Errorf("%c: %q: %q (%v), want %q", c.stage, c.answer, got, v.Err, c.want)
		}
	}
}

// liars break the protocol, each in its own way.
var liars = []struct {
	name    string
	offer   string
	answers map[byte][]string
}{
	{"an action that was not offered", negotiated(0x7f, 0), nil},
	{"a protocol bit that was not offered", negotiated(0, 1<<10), nil},
	{"a protocol bit that nobody knows", negotiated(0, 1<<20|1<<7), nil},
	{"no version", "O\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00", nil},
	{"half an offer", "O\x00\x00", nil},
	{"another answer to the offer", "c", nil},
	{"closes at the connection", allActions, map[byte][]string{'C': {"close"}}},
	{"closes at the end", allActions, map[byte][]string{'E': {"close"}}},
	{"a packet of 4 GiB", allActions, map[byte][]string{'C': {"raw"}}},
	{"an unknown answer", allActions, map[byte][]string{'M': {"z"}}},
	{"skip, which was not offered", allActions, map[byte][]string{'B': {"s"}}},
	{"a change before the end", allActions, map[byte][]string{'R': {"hX\x00y\x00"}}},
	{"a body before the end", allActions, map[byte][]string{'B': {"bnew"}}},
	{"a reply that is none", allActions, map[byte][]string{'E': {"y250 2.0.0 fine\x00"}}},
	{"a reply without a code", allActions, map[byte][]string{'E': {"yabc no\x00"}}},
	{"a field that was not agreed upon", negotiated(0, 0), map[byte][]string{'E': {"hX\x00y\x00", "c"}}},
	{"a body that was not agreed upon", negotiated(0x3d, 0), map[byte][]string{'E': {"bnew", "c"}}},
	{"a recipient that was not agreed upon", negotiated(0x3b, 0), map[byte][]string{'E': {"+<b@x.test>\x00", "c"}}},
	{"a hold that was not agreed upon", negotiated(0x1f, 0), map[byte][]string{'E': {"qwhy\x00", "c"}}},
	{"another sender", allActions, map[byte][]string{'E': {"e<b@x.test>\x00", "c"}}},
	{"a field within a field", allActions, map[byte][]string{'E': {"hX\x00y\n\nBody\x00", "c"}}},
	{"a lone CR", allActions, map[byte][]string{'E': {"hX\x00y\rz\x00", "c"}}},
	{"a colon in a name", allActions, map[byte][]string{'E': {"hX: y\r\nZ\x00y\x00", "c"}}},
	{"no name", allActions, map[byte][]string{'E': {"h\x00y\x00", "c"}}},
	{"NUL in the body", allActions, map[byte][]string{'E': {"bx\x00y", "c"}}},
	{"a line without end", allActions, map[byte][]string{'E': {"b" + strings.Repeat("x", 70_000), "c"}}},
	{"no recipient", allActions, map[byte][]string{'E': {"+<>\x00", "c"}}},
	{"half a recipient", allActions, map[byte][]string{'E': {"+<b@x.test> <c@x.test>\x00", "c"}}},
	{"too many recipients", allActions, map[byte][]string{'E': manyRecipients()}},
	{"a header without end", allActions, map[byte][]string{'E': append(slices.Repeat([]string{"hX\x00" + strings.Repeat("y", 60_000) + "\x00"}, 5), "c")}},
	{"a body without end", allActions, map[byte][]string{'E': append(slices.Repeat([]string{"b" + strings.Repeat(strings.Repeat("y", 98)+"\r\n", 600)}, 40), "c")}},
	{"texts without end", allActions, map[byte][]string{'E': append(slices.Repeat([]string{"q" + strings.Repeat("y", 100_000) + "\x00"}, 50), "c")}},
	{"packets without end", allActions, map[byte][]string{'E': append(slices.Repeat([]string{"p"}, maxPackets), "c")}},
}

// TestSilentMilter: rspamd answers the end of a message alone, and says so without
// having been asked whether it would like to.
func TestSilentMilter(t *testing.T) {
	none := []string{}
	f := newFake(t, negotiated(0x3f, 0xff080), map[byte][]string{'C': none, 'H': none, 'M': none, 'R': none, 'L': none, 'N': none, 'B': none,
		'E': {"hX-Filter\x00seen\x00", "c"}})
	got, _, v := pass(t, Chain{f.filter()}, text1)
	if v.Action != Continue || v.Err != nil || !strings.Contains(got, "X-Filter: seen\r\n") {
		t.Errorf("%q, %+v", got, v)
	}
	f.answers['E'] = []string{"y550 5.7.1 not this one\x00"}
	if _, _, v := pass(t, Chain{f.filter()}, text1); v.Action != Reject || v.Code != 550 {
		t.Errorf("%+v", v)
	}
}

func manyRecipients() (answers []string) {
	for i := range maxAdded + 1 {
		answers = append(answers, fmt.Sprintf("+<b%d@x.test>\x00", i))
	}
	return append(answers, "c")
}

// TestFailures: whoever fails holds the mail back, or is as if he were not there.
func TestFailures(t *testing.T) {
	for _, c := range liars {
		f := newFake(t, c.offer, c.answers)
		small := func(o *Options) { o.MaxBytes = 1 << 20 }
		if _, _, v := pass(t, Chain{f.filter(small)}, text1); v.Action != TempFail || v.Err == nil {
			t.Errorf("%s: %+v", c.name, v)
		}
		got, ch, v := pass(t, Chain{f.filter(small, func(o *Options) { o.AcceptOnFailure = true })}, text1)
		if v.Action != Continue || v.Err == nil || got != text1 || ch.Edited || len(ch.Added) > 0 {
			t.Errorf("%s, and mail passes: %+v, %+v: %q", c.name, v, ch, got)
		}
	}
}

func TestAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, addr: l.Addr().String()}
	l.Close()
	if _, _, v := pass(t, Chain{f.filter()}, text1); v.Action != TempFail || v.Err == nil {
		t.Errorf("%+v", v)
	}
	if got, _, v := pass(t, Chain{f.filter(func(o *Options) { o.AcceptOnFailure = true })}, text1); v.Action != Continue || v.Err == nil || got != text1 {
		t.Errorf("%+v", v)
	}
}

// TestHangs: each stage has its time, and "I am still at it" does not lengthen it.
func TestHangs(t *testing.T) {
	for _, stage := range []byte("OCHMRLNBE") {
		f := newFake(t, allActions, map[byte][]string{stage: {"p", hang}})
		short := func(o *Options) { o.Timeout, o.MessageTime = 50*time.Millisecond, 100*time.Millisecond }
		began := time.Now()
		if _, _, v := pass(t, Chain{f.filter(short)}, text1); v.Action != TempFail || v.Err == nil || time.Since(began) > 3*time.Second {
			t.Errorf("%c: after %v: %+v", stage, time.Since(began), v)
		}
	}
}

// TestSlow: answers that are in time one by one are too late together.
func TestSlow(t *testing.T) {
	f := newFake(t, allActions, map[byte][]string{'L': {slow, "c"}})
	o := func(o *Options) { o.MessageTime = 200 * time.Millisecond }
	if _, _, v := pass(t, Chain{f.filter(o)}, strings.Repeat("X: y\r\n", 100)+"\r\n"); v.Action != TempFail || v.Err == nil {
		t.Errorf("%+v", v)
	}
}

// TestContextEnds: a session that ends takes its conversations with it.
func TestContextEnds(t *testing.T) {
	f := newFake(t, allActions, map[byte][]string{'R': {hang}})
	ctx, cancel := context.WithCancel(context.Background())
	tx, v := Chain{f.filter()}.Begin(ctx, peer, envelope)
	if v.Action != Continue {
		t.Fatal(v)
	}
	defer tx.Close()
	time.AfterFunc(20*time.Millisecond, cancel)
	if v := tx.Rcpt("a@remote.test"); v.Action != TempFail {
		t.Errorf("%+v", v)
	}
}

// TestChain: the second milter sees what the first one has made of the message, and
// what one of them wants of the envelope last holds.
func TestChain(t *testing.T) {
	first := newFake(t, allActions, map[byte][]string{'E': {"hX\x00one\x00", "bnew body\n", "+<b@x.test>\x00", "qfirst\x00", "c"}})
	second := newFake(t, allActions, map[byte][]string{'E': {"m\x00\x00\x00\x01X\x00two\x00", "-<b@x.test>\x00", "c"}})
	got, ch, v := pass(t, Chain{first.filter(), second.filter()}, text1)
	want := strings.Replace(strings.Replace(text1, "b\r\n\r\n", "b\r\nX: two\r\n\r\n", 1), "body\r\n", "new body\r\n", 1)
	if v.Action != Continue || got != want || len(ch.Added) != 0 || len(ch.Removed) != 1 || ch.Hold != "first" {
		t.Errorf("%+v, %+v: %q", v, ch, got)
	}
	if told := second.told(); !slices.Contains(told, "LX\x00one\x00") || !slices.Contains(told, "Bnew body\r\n") {
		t.Errorf("%q", told)
	}
}

// TestLeftOut: what a milter does not want to see is not sent.
func TestLeftOut(t *testing.T) {
	f := newFake(t, negotiated(0x3f, 0x7f), map[byte][]string{'E': {"hX\x00y\x00", "c"}})
	if got, _, v := pass(t, Chain{f.filter()}, text1); v.Action != Continue || !strings.Contains(got, "X: y\r\n") {
		t.Errorf("%+v: %q", v, got)
	}
	for _, p := range f.told() {
		if strings.IndexByte("ODEQ", p[0]) < 0 {
			t.Errorf("told %q", p)
		}
	}
}

// TestLargeBodies go through files, both ways, and leave none behind.
func TestLargeBodies(t *testing.T) {
	large := strings.Repeat(strings.Repeat("z", 98)+"\r\n", 5000)
	answers := append(slices.Repeat([]string{"b" + strings.Repeat(strings.Repeat("y", 98)+"\n", 600)}, 10), "c")
	f := newFake(t, allActions, map[byte][]string{'E': answers})
	got, _, v := pass(t, Chain{f.filter()}, "Subject: x\r\n\r\n"+large)
	if want := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("y", 98)+"\r\n", 6000); v.Action != Continue || got != want {
		t.Errorf("%+v: %d octets, want %d", v, len(got), len(want))
	}
	seen := 0
	for _, p := range f.told() {
		if p[0] == 'B' {
			seen += len(p) - 1
		}
	}
	if seen != len(large) {
		t.Errorf("seen %d octets of %d", seen, len(large))
	}
}
