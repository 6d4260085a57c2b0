package dsn

import (
	"bytes"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"

	"dancemta/internal/mailaddr"
)

var update = flag.Bool("update", false, "write the golden files anew")

func at(minute int) time.Time {
	return time.Date(2026, 3, 1, 12, minute, 0, 0, time.FixedZone("", 3600))
}

const original = "Received: from x\r\nFrom: rick@partner.test\r\nSubject: portal\r\n\r\nWubba lubba dub dub.\r\n"

// example is a report with everything in it.
func example() Report {
	return Report{
		ID: "1M86YVB5YGMFWKK7B83Y", Hostname: "mx.example.test", From: mailaddr.MustParse("postmaster@example.test"),
		To: mailaddr.MustParse("rick@partner.test"), Date: at(30),
		QueueID: "1M86YVB5YGMFWKK7B83X", Arrived: at(0), Helo: "portal.partner.test", Peer: "192.0.2.7:4711",
		Original: []byte(original), Complete: true,
		Recipients: []Recipient{
			{Address: mailaddr.MustParse("morty@remote.test"), Status: "5.1.1", RemoteMTA: "mx.remote.test", Reply: "550 5.1.1 no such user", LastAttempt: at(29)},
			{Address: mailaddr.MustParse("summer@remote.test"), Status: "4.4.7", RemoteMTA: "mx.remote.test",
				Reply:   "451 4.7.1 greylisted, come back later, and this reply is so long that it has to be folded somewhere",
				Expired: true, LastAttempt: at(29)},
			{Address: mailaddr.MustParse("beth@null.test"), Status: "5.1.10", Reply: "the domain accepts no mail (null MX)", LastAttempt: at(29)},
		},
	}
}

// utf8Example is about a message with SMTPUTF8, to an address that needs it.
func utf8Example() Report {
	r := example()
	r.UTF8, r.Original = true, []byte("From: rick@partner.test\r\nSubject: grüße\r\n\r\nWubba.\r\n")
	r.Recipients = []Recipient{{Address: mailaddr.MustParse("jürgen@bücher.example"), Original: "utf-8;用户@例子.example", Status: "5.1.1",
		RemoteMTA: "mx.remote.test", Reply: "550 5.1.1 no such user", LastAttempt: at(29)}}
	return r
}

// successExample is about mail that arrived, or was handed on.
func successExample() Report {
	r := example()
	r.EnvelopeID = "order 4711+x"
	r.Recipients = []Recipient{
		{Address: mailaddr.MustParse("morty@remote.test"), Original: "rfc822;m.smith+x@remote.test", Action: Relayed, Status: "2.1.5",
			RemoteMTA: "mx.remote.test", Reply: "250 2.1.5 ok", LastAttempt: at(29)},
		{Address: mailaddr.MustParse("beth@example.test"), Action: Delivered, RemoteMTA: "lmtp.example.test", Reply: "250 2.0.0 kept", LastAttempt: at(29)},
	}
	return r
}

// TestGolden compares whole notifications with files that a person has read.
func TestGolden(t *testing.T) {
	headers := example()
	headers.HeadersOnly = true
	encoded := example()
	encoded.Original = []byte("Subject: gr\xc3\xbc\xc3\x9fe\r\n\r\nbody\r\n")
	misdirected := example()
	misdirected.Misdirected, misdirected.From, misdirected.Original = true, mailaddr.Address{}, nil
	misdirected.Helo = ""
	delayed := example()
	delayed.Recipients = []Recipient{{Address: mailaddr.MustParse("morty@remote.test"), Action: Delayed, Status: "4.4.1",
		Reply: "no host of remote.test answers", LastAttempt: at(29), RetryUntil: at(0).Add(5 * 24 * time.Hour)}}
	toUTF8 := utf8Example()
	toUTF8.To = mailaddr.MustParse("größe@partner.test")
	for name, r := range map[string]Report{"whole": example(), "headers": headers, "encoded": encoded, "misdirected": misdirected,
		"delayed": delayed, "success": successExample(), "utf8": utf8Example(), "to-utf8": toUTF8} {
		t.Run(name, func(t *testing.T) {
			got, err := Build(r)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".eml")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if r.SMTPUTF8() != (name == "to-utf8") {
				t.Errorf("SMTPUTF8: %v", r.SMTPUTF8())
			}
			parse(t, got)
		})
	}
}

// part is a body part as a reader of mail sees it.
type part struct {
	kind, encoding string
	body           []byte // decoded
}

// parse reads a notification with the standard library and checks what holds
// for each: its form, short 7-bit lines, no header that is not ours.
func parse(t *testing.T, b []byte) (mail.Header, []part) {
	t.Helper()
	for line := range bytes.SplitAfterSeq(b, []byte("\r\n")) {
		if len(line) > maxPlainLine+2 {
			t.Errorf("a line has %d octets", len(line))
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To"}
	if got := keys(m.Header); !slices.Equal(got, want) {
		t.Errorf("header fields %v, want %v", got, want)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("content type %q %v, error %v", kind, params, err)
	}
	if header, _, _ := bytes.Cut(b, []byte("\r\n\r\n")); !plain(b) || !sevenBit(b) && (sevenBit(header) || m.Header.Get("Content-Transfer-Encoding") != "8bit") {
		t.Error("the notification is neither 7-bit, nor to an address that says that 8-bit goes")
	}
	var parts []part
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF {
			checkEntity(t, b, parts)
			return m.Header, parts
		}
		if err != nil {
			t.Fatal(err)
		}
		encoding := p.Header.Get("Content-Transfer-Encoding")
		var in io.Reader = p
		if encoding == "quoted-printable" {
			in = quotedprintable.NewReader(p)
		}
		body, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part{p.Header.Get("Content-Type"), encoding, body})
	}
}

// checkEntity reads the notification once more, as another library does it.
func checkEntity(t *testing.T, b []byte, want []part) {
	t.Helper()
	e, err := message.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	r := e.MultipartReader()
	if r == nil {
		t.Fatal("go-message sees no parts")
	}
	for i := 0; ; i++ {
		p, err := r.NextPart()
		if err == io.EOF && i == len(want) {
			return
		}
		if err != nil || i == len(want) {
			t.Fatalf("go-message, part %d of %d: %v", i, len(want), err)
		}
		body, err := io.ReadAll(p.Body)
		// it turns the line ends of text into its own
		plain := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }
		if err != nil || p.Header.Get("Content-Type") != want[i].kind || !bytes.Equal(plain(body), plain(want[i].body)) {
			t.Errorf("go-message, part %d: %s %q, %v; want %s %q", i, p.Header.Get("Content-Type"), body, err, want[i].kind, want[i].body)
		}
	}
}

func keys(h mail.Header) (names []string) {
	for k := range h {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

// statusGroups reads the part for programs: one group of fields for the
// message, one for each recipient.
func statusGroups(t *testing.T, b []byte) (groups []textproto.MIMEHeader) {
	t.Helper()
	for text := range strings.SplitSeq(strings.TrimSuffix(string(b), "\r\n"), "\r\n\r\n") {
		m, err := mail.ReadMessage(strings.NewReader(text + "\r\n\r\n"))
		if err != nil {
			t.Fatalf("group %q: %v", text, err)
		}
		groups = append(groups, textproto.MIMEHeader(m.Header))
	}
	return groups
}

func TestFields(t *testing.T) {
	b, err := Build(example())
	if err != nil {
		t.Fatal(err)
	}
	header, parts := parse(t, b)
	for k, want := range map[string]string{
		"From": "Mail Delivery System <postmaster@example.test>", "To": "<rick@partner.test>",
		"Subject": "Undelivered mail returned to sender", "Date": "Sun, 01 Mar 2026 12:30:00 +0100",
		"Message-Id": "<1M86YVB5YGMFWKK7B83Y@mx.example.test>", "Auto-Submitted": "auto-replied",
	} {
		if got := header.Get(k); got != want {
			t.Errorf("%s: %q, want %q", k, got, want)
		}
	}
	var kinds []string
	for _, p := range parts {
		kinds = append(kinds, p.kind)
	}
	if want := []string{"text/plain; charset=us-ascii", "message/delivery-status", "message/rfc822"}; !slices.Equal(kinds, want) {
		t.Fatalf("parts %v, want %v", kinds, want)
	}
	if got := string(parts[2].body); got != original {
		t.Errorf("the original came back as %q", got)
	}
	groups := statusGroups(t, parts[1].body)
	want := []map[string]string{
		{"Reporting-Mta": "dns; mx.example.test", "Received-From-Mta": "dns; portal.partner.test", "Arrival-Date": "Sun, 01 Mar 2026 12:00:00 +0100"},
		{"Final-Recipient": "rfc822; morty@remote.test", "Action": "failed", "Status": "5.1.1", "Remote-Mta": "dns; mx.remote.test",
			"Diagnostic-Code": "smtp; 550 5.1.1 no such user", "Last-Attempt-Date": "Sun, 01 Mar 2026 12:29:00 +0100"},
		{"Final-Recipient": "rfc822; summer@remote.test", "Action": "failed", "Status": "4.4.7", "Remote-Mta": "dns; mx.remote.test",
			"Diagnostic-Code":   "smtp; 451 4.7.1 greylisted, come back later, and this reply is so long that it has to be folded somewhere",
			"Last-Attempt-Date": "Sun, 01 Mar 2026 12:29:00 +0100"},
		// No server spoke, so there is no diagnostic code.
		{"Final-Recipient": "rfc822; beth@null.test", "Action": "failed", "Status": "5.1.10", "Last-Attempt-Date": "Sun, 01 Mar 2026 12:29:00 +0100"},
	}
	if len(groups) != len(want) {
		t.Fatalf("%d groups, want %d:\n%s", len(groups), len(want), parts[1].body)
	}
	for i, fields := range want {
		if len(groups[i]) != len(fields) {
			t.Errorf("group %d: %v, want %v", i, groups[i], fields)
		}
		for k, v := range fields {
			if got := groups[i].Get(k); got != v {
				t.Errorf("group %d, %s: %q, want %q", i, k, got, v)
			}
		}
	}
	for _, words := range []string{"<morty@remote.test>", "host mx.remote.test said: 550 5.1.1 no such user", "null MX", "1M86YVB5YGMFWKK7B83X"} {
		if !strings.Contains(string(parts[0].body), words) {
			t.Errorf("the text lacks %q:\n%s", words, parts[0].body)
		}
	}
}

// TestHostile: nothing that a peer wrote becomes a line of its own.
func TestHostile(t *testing.T) {
	evil := "550 no\r\nBcc: eve@evil.test\r\n\r\n--=_1M86YVB5YGMFWKK7B83Y\r\nX: \x00\x1b[31m \xff ü"
	r := example()
	r.Helo, r.Peer, r.QueueID, r.Hostname, r.EnvelopeID = evil, evil, evil, "mx\r\nBcc: eve@evil.test", evil
	r.To = mailaddr.MustParse(`"a\"b  c>, <d"@partner.test`)
	r.Recipients = []Recipient{{Address: mailaddr.MustParse(`"two  words\\"@remote.test`), Status: evil, RemoteMTA: evil,
		Original: "rfc822;" + evil, Reply: evil + strings.Repeat("x", 10000)}}
	r.Original = []byte("Subject: x\r\n--=_1M86YVB5YGMFWKK7B83Y--\r\nY: --=_1M86YVB5YGMFWKK7B83Y_\r\n\r\n--=_1M86YVB5YGMFWKK7B83Y--\r\n")
	b, err := Build(r)
	if err != nil {
		t.Fatal(err)
	}
	header, parts := parse(t, b)
	if to, err := mail.ParseAddress(header.Get("To")); err != nil || to.Address != `a"b  c>, <d@partner.test` {
		t.Errorf("To: %v, error %v", to, err)
	}
	if len(parts) != 3 || !bytes.Equal(parts[2].body, r.Original) {
		t.Fatalf("%d parts:\n%s", len(parts), b)
	}
	groups := statusGroups(t, parts[1].body)
	if len(groups) != 2 || len(groups[0]) != 4 || len(groups[1]) != 6 {
		t.Errorf("groups %v", groups)
	}
	if got := groups[1].Get("Status"); got != "5.0.0" {
		t.Errorf("status %q", got)
	}
	if got := groups[1].Get("Final-Recipient"); got != `rfc822; "two  words\\"@remote.test` {
		t.Errorf("recipient %q", got)
	}
	if n := len(groups[1].Get("Diagnostic-Code")); n > maxText+len("smtp; ") {
		t.Errorf("diagnostic code of %d octets", n)
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, edit := range map[string]func(*Report){
		"no id":        func(r *Report) { r.ID = "" },
		"id with ends": func(r *Report) { r.ID = "a\r\nb" },
		"id with mark": func(r *Report) { r.ID = `a"b` },
		"null sender":  func(r *Report) { r.To = mailaddr.Address{} },
		"no recipient": func(r *Report) { r.Recipients = nil },
	} {
		r := example()
		edit(&r)
		if b, err := Build(r); err == nil {
			t.Errorf("%s: got\n%s", name, b)
		}
	}
}

func TestOriginal(t *testing.T) {
	long := strings.Repeat("x", maxPlainLine+1)
	for _, c := range []struct {
		name, original string
		complete       bool
		kind, want     string // "" kind: no third part
	}{
		{"plain", "A: b\r\n\r\nbody\r\n", true, "message/rfc822", "A: b\r\n\r\nbody\r\n"},
		{"no last line end", "A: b\r\n\r\nbody", true, "message/rfc822", "A: b\r\n\r\nbody"},
		{"no body", "A: b\r\n\r\n", true, "message/rfc822", "A: b\r\n\r\n"},
		{"longest line", "A: b\r\n\r\n" + long[1:] + "\r\n", true, "message/rfc822", "A: b\r\n\r\n" + long[1:] + "\r\n"},
		{"line too long", "A: b\r\n\r\n" + long + "\r\n", true, "text/rfc822-headers", "A: b\r\n"},
		{"8-bit body", "A: b\r\n\r\n\xfc\r\n", true, "text/rfc822-headers", "A: b\r\n"},
		{"NUL", "A: b\r\n\r\n\x00\r\n", true, "text/rfc822-headers", "A: b\r\n"},
		{"lone LF", "A: b\r\n\r\nx\ny\r\n", true, "text/rfc822-headers", "A: b\r\n"},
		{"lone CR", "A: b\r\n\r\nx\ry\r\n", true, "text/rfc822-headers", "A: b\r\n"},
		{"CR at the end", "A: b\r\n\r\nx\r", true, "text/rfc822-headers", "A: b\r\n"},
		{"a part", "A: b\r\n\r\nbody\r\n", false, "text/rfc822-headers", "A: b\r\n"},
		{"a part of the header", "A: b\r\nC: d", false, "text/rfc822-headers", "A: b\r\n"},
		{"8-bit header", "A: \xfc\r\n\r\nbody\r\n", true, "text/rfc822-headers", "A: \xfc\r\n"},
		{"long header", "A: " + long + "\r\n\r\nbody\r\n", true, "text/rfc822-headers", "A: " + long + "\r\n"},
		{"body only", "\r\n\xfc\r\n", true, "text/rfc822-headers", ""},
		{"nothing", "", true, "", ""},
	} {
		r := example()
		r.Original, r.Complete = []byte(c.original), c.complete
		b, err := Build(r)
		if err != nil {
			t.Fatal(err)
		}
		_, parts := parse(t, b)
		if c.kind == "" {
			if len(parts) != 2 {
				t.Errorf("%s: %d parts", c.name, len(parts))
			}
			continue
		}
		if len(parts) != 3 || parts[2].kind != c.kind {
			t.Errorf("%s: parts %v, want the third to be %s", c.name, parts, c.kind)
		} else if got := string(parts[2].body); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestStatusCode(t *testing.T) {
	for in, want := range map[string]string{
		"5.1.1": "5.1.1", "4.4.7": "4.4.7", "5.7.999": "5.7.999", "2.0.0": "5.0.0", "5.1": "5.0.0", "5.1.": "5.0.0", "5..1": "5.0.0",
		"5.1.1.1": "5.0.0", "5.1.1000": "5.0.0", "": "5.0.0", "5": "5.0.0", "5.1.1 x": "5.0.0", "51.1": "5.0.0", "5.1.1\r\n": "5.0.0",
	} {
		if got := statusCode(in, Failed.class()); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for _, c := range []struct {
		action   Action
		in, want string
	}{
		{Delayed, "4.4.1", "4.4.1"}, {Delayed, "5.1.1", "4.0.0"}, {Relayed, "2.1.5", "2.1.5"}, {Relayed, "5.1.1", "2.0.0"}, {Delivered, "", "2.0.0"},
	} {
		if got := statusCode(c.in, c.action.class()); got != c.want {
			t.Errorf("%s, %q: %q, want %q", c.action, c.in, got, c.want)
		}
	}
}

func TestReceivedFrom(t *testing.T) {
	for _, c := range []struct{ helo, peer, want string }{
		{"mx.partner.test", "192.0.2.7:25", "mx.partner.test"},
		{"[192.0.2.1]", "192.0.2.7", "[192.0.2.1]"},
		{"", "192.0.2.7:25", "[192.0.2.7]"},
		{"", "192.0.2.7", "[192.0.2.7]"},
		{"", "[::ffff:192.0.2.7]:25", "[192.0.2.7]"},
		{"", "[2001:db8::1]:25", "[IPv6:2001:db8::1]"},
		{"", "fe80::1%eth0", "[IPv6:fe80::1]"},
		{"", "pipe", ""},
		{"", "", ""},
		{"a (b)\r\nC: d", "", "a??b???C:?d"},
	} {
		if got := receivedFrom(c.helo, c.peer); got != c.want {
			t.Errorf("%q %q: %q, want %q", c.helo, c.peer, got, c.want)
		}
	}
}

func TestOriginalUTF8(t *testing.T) {
	const global = "A: ü\r\n\r\nbody\r\n"
	for _, c := range []struct {
		name           string
		edit           func(*Report)
		original       string
		kind, encoding string
		want           string
	}{
		{"SMTPUTF8", func(*Report) {}, global, "message/global", "quoted-printable", global},
		{"SMTPUTF8 to UTF-8", func(r *Report) { r.To = mailaddr.MustParse("ü@b.test") }, global, "message/global", "8bit", global},
		{"no SMTPUTF8 to UTF-8", func(r *Report) { r.To, r.UTF8 = mailaddr.MustParse("ü@b.test"), false }, "A: b\r\n\r\nü\r\n", "message/rfc822", "8bit", "A: b\r\n\r\nü\r\n"},
		{"ASCII header", func(*Report) {}, "A: b\r\n\r\nbody\r\n", "message/rfc822", "7bit", "A: b\r\n\r\nbody\r\n"},
		{"ASCII header, 8-bit body", func(*Report) {}, "A: b\r\n\r\nü\r\n", "text/rfc822-headers", "7bit", "A: b\r\n"},
		{"headers only", func(r *Report) { r.HeadersOnly = true }, global, "message/global-headers", "quoted-printable", "A: ü\r\n"},
		{"nothing failed", func(r *Report) { r.Recipients[0].Action = Delayed }, global, "message/global-headers", "quoted-printable", "A: ü\r\n"},
		{"a lone LF", func(*Report) {}, "A: ü\r\n\r\na\nb\r\n", "message/global-headers", "quoted-printable", "A: ü\r\n"},
		{"a NUL to UTF-8", func(r *Report) { r.To = mailaddr.MustParse("ü@b.test") }, "A: ü\r\n\r\n\x00", "message/global-headers", "8bit", "A: ü\r\n"},
	} {
		r := utf8Example()
		c.edit(&r)
		r.Original = []byte(c.original)
		b, err := Build(r)
		if err != nil {
			t.Fatal(err)
		}
		_, parts := parse(t, b)
		if got := parts[2]; got.kind != c.kind || got.encoding != c.encoding || string(got.body) != c.want {
			t.Errorf("%s: %s %s %q, want %s %s %q", c.name, got.kind, got.encoding, got.body, c.kind, c.encoding, c.want)
		}
	}
}

func TestOriginalRecipient(t *testing.T) {
	for in, want := range map[string]string{
		"rfc822;rick@x.test":       "rfc822; rick@x.test",
		"RFC822;a  b;c":            "RFC822; a  b;c",
		"x400;/S=x/":               "x400; /S=x/",
		"utf-8;jürgen@x.test":      "utf-8; jürgen@x.test",
		"UTF-8;a\r\nB: \u202e\xff": "UTF-8; a??B: ??",
		"rfc822;jürgen@x.test":     "rfc822; j?rgen@x.test",
		"rfc822;a\r\nB: c":         "rfc822; a??B: c",
		"rf\r\nc;x":                "rf??c; x",
		"rfc822;":                  "",
		"rfc822":                   "",
		";x":                       "",
		"":                         "",
	} {
		if got := originalRecipient(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestFromIsSendable: a sender in UTF-8 does not make a notification 8-bit.
func TestFromIsSendable(t *testing.T) {
	r := example()
	r.From = mailaddr.MustParse("größe@example.test")
	if got := r.from(); got != "MAILER-DAEMON@mx.example.test" {
		t.Errorf("to ASCII: %s", got)
	}
	r.To = mailaddr.MustParse("ü@partner.test")
	if got := r.from(); got != "größe@example.test" {
		t.Errorf("to UTF-8: %s", got)
	}
}

// FuzzBuild: whatever peers and senders write, the notification has its form
// and gives the original back.
func FuzzBuild(f *testing.F) {
	f.Add("550 no\r\nBcc: x", "mx.remote.test", "portal", []byte(original), uint8(1))
	f.Add("", "rfc822;x", "", []byte("A: \xff\r\n--=_1M86YVB5YGMFWKK7B83Y--\r\n"), uint8(0))
	f.Add("4.4.1", "utf-8;ü", "", []byte("A: ü\r\n\r\nx"), uint8(7))
	f.Add("2.1.5", "utf-8;ü", "", []byte("A: ü\r\n\r\nx"), uint8(63))
	f.Fuzz(func(t *testing.T, reply, remote, helo string, text []byte, flags uint8) {
		r := example()
		r.Helo, r.EnvelopeID, r.Original, r.Complete, r.UTF8 = helo, helo, text, flags&1 != 0, flags&2 != 0
		if flags&4 != 0 {
			r.To = mailaddr.MustParse("größe@partner.test")
		}
		r.Recipients = []Recipient{{Address: mailaddr.MustParse("a@b.test"), Original: remote, Action: Action(flags >> 4 & 3), Status: reply, RemoteMTA: remote, Reply: reply}}
		if flags&8 != 0 {
			r.Recipients[0].Address = mailaddr.MustParse("ü@b.test")
		}
		b, err := Build(r)
		if err != nil {
			t.Fatal(err)
		}
		_, parts := parse(t, b)
		if len(parts) != 3 && (len(text) > 0 || len(parts) != 2) {
			t.Fatalf("%d parts", len(parts))
		}
		if groups := statusGroups(t, parts[1].body); len(groups) != 2 {
			t.Errorf("groups %v", groups)
		}
		if len(parts) == 3 && (parts[2].kind == "message/rfc822" || parts[2].kind == "message/global") && !bytes.Equal(parts[2].body, text) {
			t.Errorf("the original came back as %q", parts[2].body)
		}
	})
}

// A mail store behind a socket has no name that Remote-MTA could hold, and the path
// tells a stranger nothing but how this host is built.
func TestSocketIsNotNamed(t *testing.T) {
	r := example()
	r.Recipients = []Recipient{{Address: mailaddr.MustParse("morty@remote.test"), Status: "5.2.2", RemoteMTA: "unix:/run/store/lmtp", Reply: "552 5.2.2 full", LastAttempt: at(29)}}
	built, err := Build(r)
	if err != nil {
		t.Fatal(err)
	}
	text := string(built)
	for _, want := range []string{"    the mail store said: 552 5.2.2 full\r\n", "Status: 5.2.2\r\nDiagnostic-Code: smtp; 552 5.2.2 full\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "Remote-MTA") || strings.Contains(text, "store/") || strings.Contains(text, "?") {
		t.Errorf("it names the socket:\n%s", text)
	}
}
