package smtpclient

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"dancemta/internal/mailaddr"
)

// The extensions that a transaction uses where they are offered.
const (
	extPipelining = "PIPELINING" // RFC 2920
	extSize       = "SIZE"       // RFC 1870
	extEightBit   = "8BITMIME"   // RFC 6152
	extUTF8       = "SMTPUTF8"   // RFC 6531
	extDSN        = "DSN"        // RFC 3461
	extRequireTLS = "REQUIRETLS" // RFC 8689
	extChunking   = "CHUNKING"   // RFC 3030
	extLimits     = "LIMITS"     // RFC 9422
)

// Message is what Send takes.
type Message struct {
	Sender     mailaddr.Address // zero: the null sender
	Recipients []Recipient      // at least one
	Size       int64            // octets of the body, for SIZE (RFC 1870)
	EightBit   bool             // the body was declared as 8BITMIME
	SMTPUTF8   bool             // it was declared so; addresses count without it
	RequireTLS bool             // to be sent only in proved TLS to servers that ask the same of the next (RFC 8689)
	EnvelopeID string           // ENVID, not encoded (RFC 3461 4.4); "": none
	Return     string           // RET: "FULL", "HDRS" or "" (RFC 3461 4.3)
	// Open returns the body. It is called before anything is said, and once more
	// for each search in the body that the server makes necessary.
	Open func() (io.ReadCloser, error)
	// AskOnly ends the transaction behind RCPT: nothing is sent, and who was accepted
	// has a result as if it were.
	AskOnly bool
}

// Recipient is one of a Message, with what is asked for him (RFC 3461 4).
type Recipient struct {
	Address  mailaddr.Address
	Notify   string // NOTIFY: "NEVER", or a list of SUCCESS, FAILURE and DELAY; "": not given
	Original string // ORCPT, not encoded, as "rfc822;rick@x.test"; "": not given
}

// To returns recipients without any wishes.
func To(addresses ...mailaddr.Address) []Recipient {
	all := make([]Recipient, len(addresses))
	for i, a := range addresses {
		all[i].Address = a
	}
	return all
}

// fits finds what the server said, or did not say, that makes a transaction vain.
func (t *transaction) fits() *Error {
	if limit, err := strconv.ParseInt(t.extensions[extSize], 10, 64); err == nil && limit > 0 && t.m.Size > limit {
		return &Error{Step: stepMAIL, Permanent: true, Status: "5.3.4",
			Err: fmt.Errorf("the message has %d octets and the server takes %d", t.m.Size, limit)}
	}
	if e := t.requiresTLS(); e != nil {
		return e
	}
	if e := t.fitsUTF8(); e != nil {
		return e
	}
	if t.offers(extEightBit) || !t.m.EightBit {
		return nil
	}
	switch needed, err := t.search(hasEightBit); {
	case err != nil:
		return ownFault(err)
	case needed: // RFC 6152 3: convert or return; converting would break signatures
		return &Error{Step: stepMAIL, Permanent: true, Status: "5.6.3",
			Err: errors.New("the message has 8-bit text and the server takes none")}
	}
	return nil
}

// requiresTLS holds back what may not go this way (RFC 8689 4.2.1). Another host
// may be a better way; if none is, the message has failed.
func (t *transaction) requiresTLS() *Error {
	switch {
	case !t.m.RequireTLS:
		return nil
	case !t.verified:
		return &Error{Step: stepMAIL, Permanent: true, OtherHost: true, Status: "5.7.10",
			Err: errors.New("the message requires TLS with a server that is proved, and this one is not")}
	case !t.offers(extRequireTLS):
		return &Error{Step: stepMAIL, Permanent: true, OtherHost: true, Status: "5.7.30",
			Err: errors.New("the message requires TLS all the way, and the server does not offer REQUIRETLS")}
	}
	return nil
}

// fitsUTF8 settles whether SMTPUTF8 is said: only for what needs it, since a
// server without it can take all else (RFC 6531 3.6).
func (t *transaction) fitsUTF8() *Error {
	if !isASCII(t.m.Sender.String()) || slices.ContainsFunc(t.m.Recipients, func(r Recipient) bool { return !isASCII(r.Address.String()) }) {
		t.utf8 = t.offers(extUTF8)
		if !t.utf8 {
			return &Error{Step: stepMAIL, Permanent: true, OtherHost: true, Status: "5.6.7", // RFC 6531 3.5
				Err: errors.New("an address is not ASCII and the server does not offer SMTPUTF8")}
		}
		return nil
	}
	if !t.m.SMTPUTF8 {
		return nil
	}
	needed, err := t.search(hasUTF8Header)
	switch {
	case err != nil:
		return ownFault(err)
	case needed && !t.offers(extUTF8):
		return &Error{Step: stepMAIL, Permanent: true, OtherHost: true, Status: "5.6.9", // RFC 6531 3.5
			Err: errors.New("the header is not ASCII and the server does not offer SMTPUTF8")}
	}
	t.utf8 = needed
	return nil
}

// search looks through the body.
func (t *transaction) search(look func(io.Reader) (bool, error)) (bool, error) {
	body, err := t.m.Open()
	if err != nil {
		return false, err
	}
	defer body.Close()
	return look(body)
}

func (c *Client) offers(keyword string) bool {
	_, ok := c.extensions[keyword]
	return ok
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

// mailCommand and rcptCommand are the only places where addresses are written;
// mailaddr quotes them so that they cannot hold a parameter or a line end, and
// what else is foreign is written in xtext.
func (t *transaction) mailCommand() string {
	command := "MAIL FROM:<" + t.m.Sender.String() + ">"
	if t.offers(extSize) {
		command += " SIZE=" + strconv.FormatInt(t.m.Size, 10) // RFC 1870 6
	}
	if t.offers(extEightBit) && t.m.EightBit {
		command += " BODY=8BITMIME" // RFC 6152 2
	}
	if t.utf8 {
		command += " SMTPUTF8" // RFC 6531 3.4
	}
	if t.m.RequireTLS {
		command += " REQUIRETLS" // RFC 8689 2: fits has seen the offer
	}
	if t.offers(extDSN) {
		if t.m.Return == "FULL" || t.m.Return == "HDRS" {
			command += " RET=" + t.m.Return // RFC 3461 4.3
		}
		if t.m.EnvelopeID != "" {
			command += " ENVID=" + xtext(t.m.EnvelopeID) // RFC 3461 4.4
		}
	}
	return command
}

// rcptCommand writes the wishes for a recipient only where they will be heard
// (RFC 3461 5.2.2).
func (t *transaction) rcptCommand(r Recipient) string {
	command := "RCPT TO:<" + r.Address.String() + ">"
	if !t.offers(extDSN) {
		return command
	}
	if isNotify(r.Notify) {
		command += " NOTIFY=" + r.Notify // RFC 3461 4.1
	}
	if original, ok := orcpt(r.Original); ok {
		command += " ORCPT=" + original // RFC 3461 4.2
	}
	return command
}

// isNotify accepts the words of RFC 3461 4.1 and nothing else.
func isNotify(s string) bool {
	if s == "NEVER" {
		return true
	}
	for word := range strings.SplitSeq(s, ",") {
		if word != "SUCCESS" && word != "FAILURE" && word != "DELAY" {
			return false
		}
	}
	return true
}

// orcpt encodes type and address (RFC 3461 4.2, RFC 6533 3). A type that is no
// atom of letters, digits and hyphens came from nobody who knows the form.
func orcpt(original string) (string, bool) {
	kind, address, ok := strings.Cut(original, ";")
	if !ok || !isKeyword(kind) || address == "" {
		return "", false
	}
	if strings.EqualFold(kind, "utf-8") {
		return kind + ";" + utf8Xtext(address), true
	}
	return kind + ";" + xtext(address), true
}

// xtext encodes what could end a parameter, or is not ASCII (RFC 3461 4).
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// utf8Xtext encodes an address of type utf-8 so that servers without SMTPUTF8
// take it, too (RFC 6533 3, utf-8-addr-xtext).
func utf8Xtext(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < '!' || r > '~' || r == '+' || r == '=' || r == '\\' {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
