package msgauth_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/emersion/go-msgauth/dkim"
	"go.uber.org/goleak"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/internal/msgauth"
)

// Each signature is a goroutine of the library, which must end whatever happens.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	name = dnsname.MustParse
	// Made once: an RSA key takes a second.
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return k
	})
	edKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
)

func key(domain, selector string, k crypto.Signer) msgauth.Key {
	return msgauth.Key{Domain: name(domain), Selector: name(selector), Key: k}
}

func signer(t testing.TB, keys ...msgauth.Key) *msgauth.Signer {
	t.Helper()
	s, err := msgauth.New(msgauth.Options{Keys: keys, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func anybody(mailaddr.Address) bool { return true }

func sign(t testing.TB, s *msgauth.Signer, message string) string {
	t.Helper()
	m, err := s.Sign(strings.NewReader(message), anybody)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	text, err := io.ReadAll(m)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(text), message) {
		t.Fatalf("the message itself was changed:\n%.2000q", text)
	}
	return string(text)
}

// verify has another program judge all signatures: one line for each, "domain: ok".
func verify(t testing.TB, message string, keys ...msgauth.Key) string {
	t.Helper()
	records := map[string][]string{}
	for _, k := range keys {
		r, err := msgauth.Record(k.Key.Public())
		if err != nil {
			t.Fatal(err)
		}
		records[k.Owner()] = []string{r}
	}
	all, err := dkim.VerifyWithOptions(strings.NewReader(message), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return records[name], nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, v := range all {
		word := "ok"
		if v.Err != nil {
			word = "bad"
		}
		lines = append(lines, v.Domain+": "+word)
	}
	return strings.Join(lines, ", ")
}

const header = "From: Rick <rick@example.org>\r\nTo: morty@remote.test,\r\n\tsummer@remote.test\r\nSubject:  portal \t gun\r\n" +
	"Date: Fri, 11 Jul 2003 21:00:37 -0700\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n"

// TestVerifies: another program finds every signature right, whatever the message.
func TestVerifies(t *testing.T) {
	both := []msgauth.Key{key("example.org", "rsa", rsaKey()), key("example.org", "ed.2026", edKey)}
	s := signer(t, both...)
	for what, message := range map[string]string{
		"plain":               header + "\r\nWubba lubba\r\ndub dub\r\n",
		"no body":             header + "\r\n",
		"no empty line":       header,
		"empty lines":         header + "\r\n\r\n\r\n\r\n",
		"empty lines at end":  header + "\r\na\r\n\r\nb\r\n\r\n\r\n",
		"white space":         header + "\r\n a \t b \r\n\t\r\n  \r\nc\t\r\n \r\n",
		"no end of line":      header + "\r\nab",
		"white space at end":  header + "\r\nab \t ",
		"dots":                header + "\r\n.\r\n..\r\n",
		"eight bits":          "From: \xe2\x82\xac <rick@example.org>\r\n\r\nGr\xc3\xbc\xc3\x9fe \xff\r\n",
		"folded From":         "From: \"Rick,\r\n C137\"\r\n\t<rick@example.org>\r\nX: y\r\n\r\nb\r\n",
		"odd space":           "from : rick@example.org\r\nSUBJECT :a\r\nsubject:\tb\r\nCc:\r\n\r\nb\r\n",
		"copies":              "To: a@b\r\nTo: c@d\r\nTo: e@f\r\n" + header + "\r\nb\r\n",
		"lists":               "List-Unsubscribe: <https://x>\r\nList-Unsubscribe-Post: a=b\r\nSender: x@y\r\n" + header + "\r\nb\r\n",
		"charset of its own":  "From: =?gb2312?B?xOO6ww==?= <rick@example.org>\r\n\r\nb\r\n",
		"large":               header + "\r\n" + strings.Repeat("0123456789 abcdef\t\r\n", 40000),
		"just over the bound": header + "\r\n" + strings.Repeat("x", 64<<10+1),
	} {
		signed := sign(t, s, message)
		judged := signed
		if !strings.Contains(judged, "\r\n\r\n") {
			judged += "\r\n" // the verifier wants the line
		}
		if got := verify(t, judged, both...); got != "example.org: ok, example.org: ok" {
			t.Errorf("%s: %s\n%.1500s", what, got, signed)
		}
	}
}

// TestForm: what a signature says, and nothing else.
func TestForm(t *testing.T) {
	signed := sign(t, signer(t, key("example.org", "ed", edKey)), "Cc: a@b\r\nSender: c@d\r\nX-Mine: e\r\n"+header+"\r\nx\r\n")
	field := signed[:strings.Index(signed, "Cc: a@b")]
	want := `^DKIM-Signature: a=ed25519-sha256; bh=[A-Za-z0-9+/]{43}=;
 c=relaxed/relaxed; d=example.org;
 h=From:From:To:To:Cc:Cc:Subject:Subject:Date:Date:Message-ID:Message-ID:` +
		`Reply-To:In-Reply-To:References:MIME-Version:MIME-Version:Content-Type:` +
		`Content-Type:Content-Transfer-Encoding:Sender;
 s=ed; t=[0-9]{10}; v=1;
 b=[A-Za-z0-9+/]{72}
 [A-Za-z0-9+/]{14}==
$`
	if !regexp.MustCompile(want).MatchString(strings.ReplaceAll(field, "\r\n", "\n")) {
		t.Errorf("the field is\n%s", field)
	}
	if strings.Contains(field, "l=") {
		t.Error("it has a length")
	}
}

// TestChanges: what somebody adds or changes on the way makes the signature wrong.
func TestChanges(t *testing.T) {
	k := key("example.org", "ed", edKey)
	signed := sign(t, signer(t, k), "List-Id: <a.b>\r\n"+header+"\r\ntext\r\n")
	for _, add := range []string{
		"From: Eve <eve@evil.test>", "To: eve@evil.test", "Cc: eve@evil.test", "Subject: pay me", "Date: today", "Message-ID: <2@evil.test>",
		"Reply-To: eve@evil.test", "In-Reply-To: <3@a>", "References: <4@a>", "MIME-Version: 2.0", "Content-Type: text/html", "Content-Transfer-Encoding: base64",
	} {
		if got := verify(t, add+"\r\n"+signed, k); got != "example.org: bad" {
			t.Errorf("added %s: %s", add, got)
		}
	}
	for what, text := range map[string]string{
		"appended":      signed + "more\r\n",
		"list":          strings.Replace(signed, "List-Id: <a", "List-Id: <b", 1),
		"recipient":     strings.Replace(signed, "summer", "eve", 1),
		"removed field": strings.Replace(signed, "Subject:  portal \t gun\r\n", "", 1),
	} {
		if got := verify(t, text, k); got != "example.org: bad" {
			t.Errorf("%s: %s", what, got)
		}
	}
	for what, text := range map[string]string{
		"trace":       "Received: from a by b; today\r\n" + signed,
		"white space": strings.Replace(signed, "Subject:  portal \t gun", "subject: portal\r\n gun ", 1),
		"list added":  "List-Help: <x>\r\n" + signed,
	} {
		if got := verify(t, text, k); got != "example.org: ok" {
			t.Errorf("%s: %s", what, got)
		}
	}
}

// TestWhose: which domain signs, and what is not signed at all.
func TestWhose(t *testing.T) {
	below := key("example.org", "below", edKey)
	below.Subdomains = true
	s := signer(t, key("example.org", "own", edKey), below, key("mail.example.org", "mail", edKey), key("example.net", "net", edKey))
	for _, c := range []struct{ from, want string }{
		{"From: rick@example.org", "example.org/own example.org/below"},
		{"From: rick@EXAMPLE.org", "example.org/own example.org/below"},
		{"From: rick@mail.example.org", "mail.example.org/mail"},
		{"From: rick@x.mail.example.org", "example.org/below"},
		{"From: rick@a.b.example.org", "example.org/below"},
		{"From: rick@evilexample.org", ""},
		{"From: rick@org", ""},
		{"From: rick@example.net", "example.net/net"},
		{"From: rick@sub.example.net", ""},
		{"From: a@example.org, b@example.org", "example.org/own example.org/below"},
		{"From: a@example.org, b@example.net", ""},
		{"From: a@example.org\r\nFrom: b@example.org", ""},
		{"From: a@example.org\r\nfrom : b@example.org", ""},
		{"From: nobody", ""},
		{"From:", ""},
		{"From: rick@[192.0.2.1]", ""},
		{"Sender: rick@example.org", ""},
		{"From: ceo@example.org,", "example.org/own example.org/below"},
		{"From: ceo@evil.test <rick@example.org>", ""},
	} {
		signed := sign(t, s, c.from+"\r\nTo: morty@remote.test\r\n\r\nbody\r\n")
		var got []string
		for _, m := range regexp.MustCompile(`(?s) d=([^;]+);.*? s=([^;]+);`).FindAllStringSubmatch(signed, -1) {
			got = append(got, m[1]+"/"+m[2])
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: signed by %v, want %s", c.from, got, c.want)
		}
	}
}

// TestMay: nobody gets the signature of an address that he may not use.
func TestMay(t *testing.T) {
	s := signer(t, key("example.org", "ed", edKey))
	rick := func(a mailaddr.Address) bool { return a.Key() == "rick@example.org" }
	for _, c := range []struct {
		from   string
		may    func(mailaddr.Address) bool
		signed bool
	}{
		{"rick@example.org", rick, true},
		{"ceo@example.org", rick, false},
		{"rick@example.org, ceo@example.org", rick, false},
		{"rick@example.org", nil, false},
	} {
		message := "From: " + c.from + "\r\n\r\nbody\r\n"
		m, err := s.Sign(iotest.OneByteReader(strings.NewReader(message)), c.may)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(m)
		if signed := strings.HasPrefix(string(text), "DKIM-Signature:"); err != nil || signed != c.signed || m.Domain.IsZero() == signed {
			t.Errorf("%s: signed %v, %v", c.from, signed, err)
		}
		if !strings.HasSuffix(string(text), message) {
			t.Errorf("%s: got %q", c.from, text)
		}
	}
}

// broken is a key that cannot sign any more.
type broken struct {
	ed25519.PrivateKey
	after int
}

func (b *broken) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if b.after--; b.after < 0 {
		return nil, errors.New("the key is gone")
	}
	return b.PrivateKey.Sign(r, digest, o)
}

// TestFails: what cannot be signed is an error, never a message without signature.
func TestFails(t *testing.T) {
	message := header + "\r\nbody\r\n"
	large := header + "\r\n" + strings.Repeat("0123456789abcdef\r\n", 10000)
	lost := errors.New("the peer is gone")
	good := signer(t, key("example.org", "ed", edKey))
	nowhere, err := msgauth.New(msgauth.Options{Keys: []msgauth.Key{key("example.org", "ed", edKey)}, Dir: filepath.Join(t.TempDir(), "none")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		s    *msgauth.Signer
		r    io.Reader
		want error // nil: any
	}{
		{"key fails", signer(t, key("example.org", "ed", &broken{edKey, 1})), strings.NewReader(message), nil},
		{"second key fails", signer(t, key("example.org", "ed", edKey), key("example.org", "b", &broken{edKey, 1})), strings.NewReader(message), nil},
		{"no room for a large body", nowhere, strings.NewReader(large), os.ErrNotExist},
		{"body ends early", good, io.MultiReader(strings.NewReader(message), iotest.ErrReader(lost)), lost},
		{"header ends early", good, io.MultiReader(strings.NewReader("From: rick"), iotest.ErrReader(lost)), lost},
		{"header without end", good, strings.NewReader("From: rick@example.org\r\nX: " + strings.Repeat("x", 300<<10)), msgauth.ErrHeader},
		{"long header", good, strings.NewReader("From: rick@example.org\r\nX: " + strings.Repeat("x", 300<<10) + "\r\n\r\nb\r\n"), msgauth.ErrHeader},
		{"many fields", good, strings.NewReader("From: rick@example.org\r\n" + strings.Repeat("X: y\r\n", 1000) + "\r\nb\r\n"), msgauth.ErrHeader},
		{"many copies", good, strings.NewReader("From: rick@example.org\r\n" + strings.Repeat("To: y@z\r\n", 300) + "\r\nb\r\n"), msgauth.ErrHeader},
	} {
		m, err := c.s.Sign(c.r, anybody)
		if m != nil || err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v", c.name, m, err)
		}
	}
	if left, err := os.ReadDir(os.TempDir()); err == nil {
		for _, f := range left {
			if strings.HasPrefix(f.Name(), ".dkim-") {
				t.Errorf("%s was left behind", f.Name())
			}
		}
	}
}

// TestNoKeys: without keys nothing is read before the message is.
func TestNoKeys(t *testing.T) {
	for _, s := range []*msgauth.Signer{nil, signer(t)} {
		m, err := s.Sign(iotest.ErrReader(io.ErrUnexpectedEOF), anybody)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(m); err != io.ErrUnexpectedEOF {
			t.Error(err)
		}
		if _, err := s.Own([]byte(header + "\r\n")); err != msgauth.ErrUnsigned {
			t.Error(err)
		}
	}
}

func TestOwn(t *testing.T) {
	k := key("example.org", "ed", edKey)
	signed, err := signer(t, k).Own([]byte(header + "\r\nbody\r\n"))
	if got := verify(t, string(signed), k); err != nil || got != "example.org: ok" {
		t.Errorf("%v, %s", err, got)
	}
	if _, err := signer(t, k).Own([]byte("From: a@example.net\r\n\r\n")); err != msgauth.ErrUnsigned {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	k := key("example.org", "s", edKey)
	for _, c := range []struct {
		want error
		keys []msgauth.Key
	}{
		{msgauth.ErrShortKey, []msgauth.Key{key("example.org", "s", short)}},
		{msgauth.ErrKeyKind, []msgauth.Key{key("example.org", "s", nil)}},
		{msgauth.ErrTwice, []msgauth.Key{k, k}},
		{msgauth.ErrMany, []msgauth.Key{key("a.b", "1", edKey), key("a.b", "2", edKey), key("a.b", "3", edKey), key("a.b", "4", edKey), key("a.b", "5", edKey)}},
		{nil, []msgauth.Key{{Selector: name("s"), Key: edKey}}},
		{nil, []msgauth.Key{key("example.org", "s", &broken{edKey, 0})}},
	} {
		if _, err := msgauth.New(msgauth.Options{Keys: c.keys}); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("want %v: %v", c.want, err)
		}
	}
}

// TestLongList: the longest list of fields that is signed fits into a line, and one that
// would not is refused. RFC 5322 2.1.1
func TestLongList(t *testing.T) {
	k := key("example.org", "ed", edKey)
	s := signer(t, k)
	all := header + "Cc: a\r\nReply-To: a\r\nIn-Reply-To: a\r\nReferences: a\r\nContent-Transfer-Encoding: 8bit\r\n"
	for _, name := range []string{"Sender", "Content-ID", "Content-Description", "Content-Disposition", "Auto-Submitted", "List-ID", "List-Help", "List-Unsubscribe",
		"List-Unsubscribe-Post", "List-Subscribe", "List-Post", "List-Owner", "List-Archive", "TLS-Required", "TLS-Report-Domain", "TLS-Report-Submitter"} {
		all += name + ": a\r\n"
	}
	signed := 0
	for copies := range 200 {
		message := strings.Repeat("Cc: a@b\r\n", copies) + all + "\r\nb\r\n"
		m, err := s.Sign(strings.NewReader(message), anybody)
		if err != nil {
			if !errors.Is(err, msgauth.ErrHeader) {
				t.Fatal(err)
			}
			break
		}
		text, err := io.ReadAll(m)
		m.Close()
		if got := verify(t, string(text), k); err != nil || got != "example.org: ok" {
			t.Fatalf("%d copies: %s, %v", copies, got, err)
		}
		for line := range strings.SplitSeq(string(text), "\r\n") {
			if len(line) > 998 {
				t.Fatalf("%d copies: a line of %d octets", copies, len(line))
			}
		}
		signed++
	}
	if signed < 50 || signed == 200 {
		t.Errorf("up to %d copies are signed", signed)
	}
}

// full measures what is in use when its text has been read to the end.
type full struct {
	io.Reader
	inUse uint64
}

func (f *full) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		f.inUse = heap()
	}
	return n, err
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemory: a body is never held in memory, but for empty lines that go on and on:
// those the library keeps.
func TestMemory(t *testing.T) {
	s := signer(t, key("example.org", "ed", edKey))
	const size = 16 << 20
	for _, c := range []struct {
		line string
		most uint64
	}{
		{"\r\n", 3 * size},
		{" ", 1 << 20},
		{"0123456789012345678901234567890123456789012345678901234567890123456789\r\n", 1 << 20},
	} {
		text := strings.Repeat(c.line, size/len(c.line))
		body := &full{Reader: strings.NewReader(text)}
		before := heap()
		m, err := s.Sign(io.MultiReader(strings.NewReader(header+"\r\n"), body), anybody)
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
		runtime.KeepAlive(text)
		if body.inUse == 0 || body.inUse > before+c.most {
			t.Errorf("%.10q: %d octets in use, before %d", c.line, body.inUse, before)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	for _, bench := range []struct {
		name string
		size int
		keys []msgauth.Key
	}{
		{"ed25519/4K", 4 << 10, []msgauth.Key{key("example.org", "ed", edKey)}},
		{"rsa/4K", 4 << 10, []msgauth.Key{key("example.org", "rsa", rsaKey())}},
		{"ed25519/1M", 1 << 20, []msgauth.Key{key("example.org", "ed", edKey)}},
		{"both/1M", 1 << 20, []msgauth.Key{key("example.org", "ed", edKey), key("example.org", "rsa", rsaKey())}},
		{"none/1M", 1 << 20, nil},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s := signer(b, bench.keys...)
			body := strings.Repeat("The quick brown fox jumps over the lazy dog, and the dog sleeps on.\r\n", bench.size/69)
			b.SetBytes(int64(bench.size))
			b.ReportAllocs()
			for b.Loop() {
				m, err := s.Sign(io.MultiReader(strings.NewReader(header+"\r\n"), strings.NewReader(body)), anybody)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, m)
				m.Close()
			}
		})
	}
}

func newEd(seed []byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(seed) }
