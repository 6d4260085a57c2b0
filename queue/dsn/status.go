package dsn

import (
	"net/netip"
	"strings"
	"time"
)

// status writes the part for programs (RFC 3464 2).
func status(r Report) []byte {
	w := &lines{}
	if id := clean(r.EnvelopeID); id != "" {
		w.line("Original-Envelope-Id: " + id) // RFC 3464 2.2.1; not folded: its spaces count
	}
	w.field("Reporting-MTA", "dns; "+r.Hostname) // RFC 3464 2.2.2
	if from := receivedFrom(r.Helo, r.Peer); from != "" {
		w.field("Received-From-MTA", "dns; "+from) // RFC 3464 2.2.4
	}
	if !r.Arrived.IsZero() {
		w.field("Arrival-Date", r.Arrived.Format(time.RFC1123Z)) // RFC 3464 2.2.5
	}
	for _, rcpt := range r.Recipients {
		w.line("")
		w.recipient(rcpt)
	}
	return w.b.Bytes()
}

func (w *lines) recipient(rcpt Recipient) {
	if original := originalRecipient(rcpt.Original); original != "" {
		w.line("Original-Recipient: " + original) // RFC 3464 2.3.1
	}
	kind := "rfc822; "
	if !rcpt.Address.IsASCII() {
		kind = "utf-8; " // RFC 6533 3
	}
	w.line("Final-Recipient: " + kind + rcpt.Address.String())      // RFC 3464 2.3.2
	w.field("Action", rcpt.Action.String())                         // RFC 3464 2.3.3
	w.field("Status", statusCode(rcpt.Status, rcpt.Action.class())) // RFC 3464 2.3.4
	// RFC 3464 2.3.5, 2.3.6: both only when a server has spoken
	if remote := atom(rcpt.RemoteMTA); remote != "" {
		if !isSocket(remote) { // it has no name, and its path is nobody's business
			w.field("Remote-MTA", "dns; "+remote)
		}
		if reply := clean(rcpt.Reply); reply != "" {
			w.field("Diagnostic-Code", "smtp; "+reply)
		}
	}
	if !rcpt.LastAttempt.IsZero() {
		w.field("Last-Attempt-Date", rcpt.LastAttempt.Format(time.RFC1123Z)) // RFC 3464 2.3.7
	}
	if rcpt.Action == Delayed && !rcpt.RetryUntil.IsZero() {
		w.field("Will-Retry-Until", rcpt.RetryUntil.Format(time.RFC1123Z)) // RFC 3464 2.3.9
	}
}

// isSocket reports whether a server was reached by a path of this host.
func isSocket(remote string) bool { return strings.HasPrefix(remote, "unix:") }

// originalRecipient writes what ORCPT said, type and address (RFC 3461 6.3 c). Only
// the type utf-8 may be more than ASCII.
func originalRecipient(s string) string {
	kind, address, found := strings.Cut(s, ";")
	kind = atom(kind)
	if strings.EqualFold(kind, "utf-8") {
		address = oneLine(address)
	} else {
		address = clean(address)
	}
	if !found || kind == "" || address == "" {
		return ""
	}
	return kind + "; " + address
}

// receivedFrom names who brought the original: as it called itself, else by
// its address.
func receivedFrom(helo, peer string) string {
	if helo = atom(helo); helo != "" {
		return helo
	}
	ip, err := netip.ParseAddr(peer)
	if err != nil {
		port, err := netip.ParseAddrPort(peer)
		if err != nil {
			return ""
		}
		ip = port.Addr()
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}

// class is the first digits that a status may have beside the action. A 4 beside
// "failed" is right for what has expired (RFC 3464 2.3.4).
func (a Action) class() string {
	switch a {
	case Delayed:
		return "4"
	case Relayed, Delivered:
		return "2"
	}
	return "54"
}

// statusCode returns s when it has the form of RFC 3463 2 and one of the classes,
// else the first class's code that says nothing.
func statusCode(s, classes string) string {
	unknown := classes[:1] + ".0.0"
	if len(s) < 2 || strings.IndexByte(classes, s[0]) < 0 || s[1] != '.' {
		return unknown
	}
	digits, dots := 0, 0
	for i := 2; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9' && digits < 3:
			digits++
		case c == '.' && digits > 0:
			digits, dots = 0, dots+1
		default:
			return unknown
		}
	}
	if dots != 1 || digits == 0 {
		return unknown
	}
	return s
}
