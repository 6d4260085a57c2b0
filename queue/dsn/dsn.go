// Package dsn writes delivery status notifications (RFC 3464): the message that
// tells a sender which recipients did not get his mail, and why. The idea: a
// plain struct goes in, the bytes of a message come out; nothing is asked of
// the world, and nothing that a peer wrote can become a header line.
//
// Start with Build. What comes out is always 7-bit with short lines, so that
// any server takes it: there is nobody to tell when a notification fails.
package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"dancemta/internal/mailaddr"
)

// Report is what a notification says.
type Report struct {
	ID       string           // of the notification itself: its Message-ID and MIME boundary
	Hostname string           // our name: Reporting-MTA
	From     mailaddr.Address // header From; null: MAILER-DAEMON at Hostname
	To       mailaddr.Address // header To: the envelope sender of the original
	Date     time.Time        // of the notification

	QueueID  string    // of the original
	Arrived  time.Time // of the original
	Helo     string    // what the peer that brought the original called itself
	Peer     string    // its address, with or without port; used when Helo is empty
	Original []byte    // the original's bytes from its start; nil: not returned
	Complete bool      // Original is the whole message
	// Misdirected says that the original was a notification itself, and that To
	// is not its sender but our postmaster.
	Misdirected bool

	Recipients []Recipient // at least one
}

// Recipient is one address that could not be served.
type Recipient struct {
	Address     mailaddr.Address
	Status      string    // "5.1.1" (RFC 3463); anything else is written as 5.0.0
	RemoteMTA   string    // host that gave Reply; empty: no server spoke
	Reply       string    // words of the host, or our own
	Expired     bool      // tried for too long; Reply is that of the last attempt
	LastAttempt time.Time // zero: not written
}

const (
	// maxLine keeps lines within the width that RFC 5322 2.1.1 recommends.
	maxLine = 76
	// maxText bounds each piece of foreign text: the longest reply line of
	// RFC 5321 4.5.3.1.5. It also keeps a word that cannot be folded below the
	// 998 octets of RFC 5322 2.1.1.
	maxText = 512
)

// Build writes the notification with CRLF line ends. It fails only when the
// report lacks a recipient, an id or an address to go to.
func Build(r Report) ([]byte, error) {
	switch {
	case r.ID == "" || r.ID != atom(r.ID):
		return nil, fmt.Errorf("notification id %.40q: not a word", r.ID)
	case r.To.IsNull():
		return nil, errors.New("notification " + r.ID + ": no address to send it to")
	case len(r.Recipients) == 0:
		return nil, errors.New("notification " + r.ID + ": no recipient to report")
	}
	if r.Hostname = atom(r.Hostname); r.Hostname == "" {
		r.Hostname = "localhost"
	}
	w := &writer{boundary: boundary(r)}
	w.header(r)
	w.part("text/plain; charset=us-ascii", "Notification", "")
	w.explain(r)
	w.part("message/delivery-status", "Delivery report", "")
	w.status(r)
	w.original(r)
	w.line("--" + w.boundary + "--")
	return w.b.Bytes(), nil
}

// boundary returns a delimiter that the original does not contain. Its author
// cannot know our id; the loop is for the case that he does.
func boundary(r Report) string {
	b := "=_" + r.ID
	for bytes.Contains(r.Original, []byte(b)) {
		b += "_"
	}
	return b
}

type writer struct {
	b        bytes.Buffer
	boundary string
}

func (w *writer) line(s string) {
	w.b.WriteString(s)
	w.b.WriteString("\r\n")
}

// field writes a header or status field, folded at its spaces. The value is
// ours or has been cleaned.
func (w *writer) field(name, value string) {
	for i, l := range wrap(name+": "+value, maxLine) {
		if i > 0 {
			l = " " + l
		}
		w.line(l)
	}
}

func (w *writer) header(r Report) {
	w.line("From: Mail Delivery System <" + r.from() + ">")
	w.line("To: <" + r.To.String() + ">") // not folded: a quoted local part keeps its spaces
	w.field("Subject", subject(r))
	w.field("Date", r.Date.Format(time.RFC1123Z)) // RFC 5322 3.3
	w.field("Message-ID", "<"+r.ID+"@"+r.Hostname+">")
	w.field("Auto-Submitted", "auto-replied") // RFC 3834 5
	w.field("MIME-Version", "1.0")
	// RFC 6522 3, RFC 3464 2
	w.line("Content-Type: multipart/report; report-type=delivery-status;")
	w.line(` boundary="` + w.boundary + `"`)
	w.line("Content-Transfer-Encoding: 7bit")
	w.line("")
	w.line("This is a message in MIME format.")
	w.line("")
}

func (r Report) from() string {
	if r.From.IsNull() {
		return "MAILER-DAEMON@" + r.Hostname
	}
	return r.From.String()
}

func subject(r Report) string {
	if r.Misdirected {
		return "Undeliverable notification"
	}
	return "Undelivered mail returned to sender"
}

// part begins a body part; encoding "" is 7bit.
func (w *writer) part(contentType, description, encoding string) {
	w.line("--" + w.boundary)
	w.field("Content-Type", contentType)
	w.field("Content-Description", description)
	if encoding == "" {
		encoding = "7bit"
	}
	w.field("Content-Transfer-Encoding", encoding)
	w.line("")
}

// explain writes the part for people.
func (w *writer) explain(r Report) {
	w.line("This is the mail system at host " + r.Hostname + ".")
	w.line("")
	intro := "Your message could not be delivered to the recipients below. Nothing more will be tried."
	if r.Misdirected {
		intro = "A notification could not be delivered to the recipients below. " +
			"It has no sender who could be told, so this message comes to you."
	}
	for _, l := range wrap(intro, maxLine) {
		w.line(l)
	}
	w.line("The queue id was " + atom(r.QueueID) + ".")
	for _, rcpt := range r.Recipients {
		w.line("")
		w.line("<" + rcpt.Address.String() + ">")
		for _, l := range wrap(rcpt.reason(r), maxLine-4) {
			w.line("    " + l)
		}
	}
	w.line("")
}

func (rcpt Recipient) reason(r Report) string {
	reply, remote := clean(rcpt.Reply), atom(rcpt.RemoteMTA)
	var s string
	switch {
	case remote != "" && reply != "":
		s = "host " + remote + " said: " + reply
	case reply != "":
		s = reply
	default:
		s = "no reason is known"
	}
	if rcpt.Expired {
		return "it could not be delivered since " + r.Arrived.UTC().Format(time.RFC1123Z) + "; last attempt: " + s
	}
	return s
}
