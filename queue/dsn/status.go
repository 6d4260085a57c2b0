package dsn

import (
	"net/netip"
	"time"
)

// status writes the part for programs (RFC 3464 2).
func (w *writer) status(r Report) {
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
	w.line("")
}

func (w *writer) recipient(rcpt Recipient) {
	w.line("Final-Recipient: rfc822; " + rcpt.Address.String()) // RFC 3464 2.3.2
	w.field("Action", "failed")                                 // RFC 3464 2.3.3
	w.field("Status", statusCode(rcpt.Status))                  // RFC 3464 2.3.4
	// RFC 3464 2.3.5, 2.3.6: both only when a server has spoken
	if remote := atom(rcpt.RemoteMTA); remote != "" {
		w.field("Remote-MTA", "dns; "+remote)
		if reply := clean(rcpt.Reply); reply != "" {
			w.field("Diagnostic-Code", "smtp; "+reply)
		}
	}
	if !rcpt.LastAttempt.IsZero() {
		w.field("Last-Attempt-Date", rcpt.LastAttempt.Format(time.RFC1123Z)) // RFC 3464 2.3.7
	}
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

// statusCode returns s when it says a failure in the form of RFC 3463 2. A
// class of 4 beside the action "failed" is right for what has expired
// (RFC 3464 2.3.4).
func statusCode(s string) string {
	const unknown = "5.0.0"
	if len(s) < 2 || s[0] != '4' && s[0] != '5' || s[1] != '.' {
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
