// Package dsn writes delivery status notifications (RFC 3464, and RFC 6533 where
// UTF-8 is in them): the message that tells a sender which recipients did not get
// his mail and why, that it is late, or that it has arrived. The idea: a plain
// struct goes in, the bytes of a message come out; nothing is asked of the world,
// and nothing that a peer wrote can become a header line.
//
// Start with Build. What comes out is 7-bit with short lines, so that any server
// takes it: there is nobody to tell when a notification fails. Only one that goes
// to an address in UTF-8 is 8-bit, since who takes that address takes the rest.
package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"mime/quotedprintable"
	"slices"
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

	QueueID    string    // of the original
	EnvelopeID string    // ENVID of the original, decoded; empty: it had none
	Arrived    time.Time // of the original
	Helo       string    // what the peer that brought the original called itself
	Peer       string    // its address, with or without port; used when Helo is empty
	UTF8       bool      // the original came with SMTPUTF8
	Original   []byte    // the original's bytes from its start; nil: not returned
	Complete   bool      // Original is the whole message
	// HeadersOnly keeps the body of the original back; so does a report in which
	// nothing failed (RFC 3461 4.3).
	HeadersOnly bool
	// Misdirected says that the original was a notification itself, and that To
	// is not its sender but our postmaster.
	Misdirected bool

	Recipients []Recipient // at least one
}

// Action is what became of a recipient (RFC 3464 2.3.3).
type Action uint8

// The actions.
const (
	Failed    Action = iota
	Delayed          // still being tried
	Relayed          // to a host that gives no reports
	Delivered        // to the mailbox
)

// String returns the word of the report.
func (a Action) String() string {
	switch a {
	case Delayed:
		return "delayed"
	case Relayed:
		return "relayed"
	case Delivered:
		return "delivered"
	}
	return "failed"
}

// Recipient is one address and what became of it.
type Recipient struct {
	Address     mailaddr.Address
	Original    string // ORCPT, decoded: "rfc822;rick@x.test"; empty: not given
	Action      Action
	Status      string    // "5.1.1" (RFC 3463); one that does not belong to Action is written as x.0.0
	RemoteMTA   string    // host that gave Reply; empty: no server spoke
	Reply       string    // words of the host, or our own
	Expired     bool      // tried for too long; Reply is that of the last attempt
	LastAttempt time.Time // zero: not written
	RetryUntil  time.Time // of Delayed; zero: not written
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
	w := &writer{boundary: boundary(r), eightBit: !r.To.IsASCII()}
	w.header(r)
	text := explain(r)
	charset := "us-ascii"
	if !sevenBit(text) {
		charset = "utf-8"
	}
	w.part("text/plain; charset="+charset, "Notification", text)
	status, kind := status(r), "message/delivery-status"
	if !sevenBit(status) {
		kind = "message/global-delivery-status" // RFC 6533 4
	}
	w.part(kind, "Delivery report", status)
	w.original(r)
	w.line("--" + w.boundary + "--")
	return w.b.Bytes(), nil
}

// SMTPUTF8 reports whether the notification of r goes to an address in UTF-8, and
// so needs servers that know RFC 6531.
func (r Report) SMTPUTF8() bool { return !r.To.IsASCII() }

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
	lines
	boundary string
	eightBit bool // who takes the notification takes 8-bit
}

// lines collects text with CRLF line ends.
type lines struct{ b bytes.Buffer }

func (w *lines) line(s string) {
	w.b.WriteString(s)
	w.b.WriteString("\r\n")
}

// field writes a header or status field, folded at its spaces. The value is
// ours or has been cleaned.
func (w *lines) field(name, value string) {
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
	w.field("Subject", r.subject())
	w.field("Date", r.Date.Format(time.RFC1123Z)) // RFC 5322 3.3
	w.field("Message-ID", "<"+r.ID+"@"+r.Hostname+">")
	w.field("Auto-Submitted", "auto-replied") // RFC 3834 5
	w.field("MIME-Version", "1.0")
	// RFC 6522 3, RFC 3464 2
	w.line("Content-Type: multipart/report; report-type=delivery-status;")
	w.line(` boundary="` + w.boundary + `"`)
	encoding := "7bit"
	if w.eightBit {
		encoding = "8bit"
	}
	w.line("Content-Transfer-Encoding: " + encoding)
	w.line("")
	w.line("This is a message in MIME format.")
	w.line("")
}

func (r Report) from() string {
	if r.From.IsNull() || r.To.IsASCII() && !r.From.IsASCII() {
		return "MAILER-DAEMON@" + r.Hostname
	}
	return r.From.String()
}

func (r Report) subject() string {
	switch {
	case r.Misdirected:
		return "Undeliverable notification"
	case r.has(Failed):
		return "Undelivered mail returned to sender"
	case r.has(Delayed):
		return "Delayed mail, still being tried"
	}
	return "Mail delivery report"
}

func (r Report) has(a Action) bool {
	return slices.ContainsFunc(r.Recipients, func(rcpt Recipient) bool { return rcpt.Action == a })
}

// part writes a body part. What is not 7-bit goes as it is where 8-bit goes, else
// as quoted-printable.
func (w *writer) part(contentType, description string, text []byte) {
	encoding := "7bit"
	switch {
	case sevenBit(text):
	case w.eightBit && plain(text):
		encoding = "8bit"
	default:
		encoding = "quoted-printable"
	}
	w.line("--" + w.boundary)
	w.field("Content-Type", contentType)
	w.field("Content-Description", description)
	w.field("Content-Transfer-Encoding", encoding)
	w.line("")
	if encoding == "quoted-printable" {
		q := quotedprintable.NewWriter(&w.b)
		q.Write(text) // a bytes.Buffer takes everything
		q.Close()
	} else {
		w.b.Write(text)
	}
	w.line("") // it belongs to the boundary (RFC 2046 5.1.1), so the part is text to the octet
}
