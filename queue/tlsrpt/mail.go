package tlsrpt

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"time"

	"dancemta/internal/mailaddr"
)

// Mail is a report to be sent by mail. Whoever takes it delivers it in spite of
// any trouble with TLS, counts none of its sessions (RFC 8460 3, 5.3.1), and sends
// no bounce of it to anybody.
type Mail struct {
	Sender, Recipient mailaddr.Address
	Body              []byte    // header and body, signed
	Expires           time.Time // it is not tried any longer than until then: RFC 8460 5.5
}

// base64Line is how much of it stands in a line. RFC 2045 6.8
const base64Line = 76

// message is the mail with a report, without its signature. RFC 8460 5.3
func (r *Reporter) message(a about, to mailaddr.Address, packed []byte) []byte {
	id, host := a.id(r.o.Hostname), r.o.Hostname.String()
	boundary := "=_" + a.date + "_tlsrpt" // = and _ together are in no base64 and in no line of ours
	start, _ := a.span()
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("From: <%s>", r.o.Contact)
	line("To: <%s>", to)
	line("Subject: Report Domain: %s\r\n Submitter: %s\r\n Report-ID: <%s>", a.domain, host, id)
	line("Date: %s", r.o.Now().Format(time.RFC1123Z))
	line("Message-ID: <%s>", id)
	line("TLS-Report-Domain: %s", a.domain)
	line("TLS-Report-Submitter: %s", host)
	line("TLS-Required: No") // RFC 8689 3: this is about TLS that fails
	line("Auto-Submitted: auto-generated")
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"%s\"", boundary)
	line("")
	line("--%s", boundary)
	line("Content-Type: text/plain; charset=us-ascii")
	line("")
	line("This is an aggregate TLS report about mail to %s", a.domain)
	line("on %s, from %s.", start.Format(time.DateOnly), host)
	line("")
	line("--%s", boundary)
	line("Content-Type: application/tlsrpt+gzip")
	line("Content-Transfer-Encoding: base64")
	line("Content-Disposition: attachment;\r\n filename=\"%s\"", a.fileName(r.o.Hostname))
	line("")
	text := base64.StdEncoding.EncodeToString(packed)
	for len(text) > base64Line {
		line("%s", text[:base64Line])
		text = text[base64Line:]
	}
	line("%s", text)
	line("--%s--", boundary)
	return b.Bytes()
}
