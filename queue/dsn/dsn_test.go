package dsn

import (
	"bytes"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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

// TestGolden compares whole notifications with files that a person has read.
func TestGolden(t *testing.T) {
	headers := example()
	headers.Complete = false
	encoded := example()
	encoded.Original = []byte("Subject: gr\xc3\xbc\xc3\x9fe\r\n\r\nbody\r\n")
	misdirected := example()
	misdirected.Misdirected, misdirected.From, misdirected.Original = true, mailaddr.Address{}, nil
	misdirected.Helo = ""
	for name, r := range map[string]Report{"whole": example(), "headers": headers, "encoded": encoded, "misdirected": misdirected} {
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
			parse(t, got)
		})
	}
}

// part is a body part as a reader of mail sees it.
type part struct {
	kind string
	body []byte
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
	if !sevenBit(b) {
		t.Error("the notification is not 7-bit text")
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
	var parts []part
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextPart() // decodes quoted-printable
		if err == io.EOF {
			return m.Header, parts
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part{p.Header.Get("Content-Type"), body})
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
	r.Helo, r.Peer, r.QueueID, r.Hostname = evil, evil, evil, "mx\r\nBcc: eve@evil.test"
	r.To = mailaddr.MustParse(`"a\"b  c>, <d"@partner.test`)
	r.Recipients = []Recipient{{Address: mailaddr.MustParse(`"two  words\\"@remote.test`), Status: evil, RemoteMTA: evil, Reply: evil + strings.Repeat("x", 10000)}}
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
	if len(groups) != 2 || len(groups[0]) != 3 || len(groups[1]) != 5 {
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
		if got := statusCode(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
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

// FuzzBuild: whatever peers and senders write, the notification has its form
// and gives the original back.
func FuzzBuild(f *testing.F) {
	f.Add("550 no\r\nBcc: x", "mx.remote.test", "portal", []byte(original), true)
	f.Add("", "", "", []byte("A: \xff\r\n--=_1M86YVB5YGMFWKK7B83Y--\r\n"), false)
	f.Fuzz(func(t *testing.T, reply, remote, helo string, text []byte, complete bool) {
		r := example()
		r.Helo, r.Original, r.Complete = helo, text, complete
		r.Recipients = []Recipient{{Address: mailaddr.MustParse("a@b.test"), Status: reply, RemoteMTA: remote, Reply: reply}}
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
		if len(parts) == 3 && parts[2].kind == "message/rfc822" && !bytes.Equal(parts[2].body, text) {
			t.Errorf("the original came back as %q", parts[2].body)
		}
	})
}
