package smtpd

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/queue"
)

// trace is what our Received field says (RFC 5321 4.4).
type trace struct {
	helo     string     // what the peer called itself: hostile text
	peer     netip.Addr // its address
	client   dnsname.Name
	told     bool // client comes from a proxy
	hostname dnsname.Name
	extended bool // EHLO, not HELO
	auth     bool // AUTH succeeded
	cipher   uint16
	secure   bool
	id       queue.ID
	utf8     bool // SMTPUTF8 was given
	rcpts    []queue.Recipient
	date     time.Time
}

// field returns the whole field with its line end. Each part stands on its own
// folded line, so that no text of the peer stands beside a part it could imitate.
func (t trace) field() string {
	var b strings.Builder
	b.WriteString("Received: from " + cleanHelo(t.helo))
	b.WriteString(" (" + t.address() + ")\r\n")
	if !t.client.IsZero() {
		// No registered clause or method tells of a DANE client, so a comment does.
		method := "dane"
		if t.told {
			method = byProxy
		}
		b.WriteString("\t(client " + method + " " + t.client.String() + ")\r\n")
	}
	b.WriteString("\tby " + t.hostname.String() + " with " + t.protocol() + " id " + string(t.id))
	if len(t.rcpts) == 1 { // with more, it would tell each recipient of the others (RFC 5321 7.2)
		b.WriteString("\r\n\tfor <" + t.rcpts[0].String() + ">")
	}
	if t.secure {
		b.WriteString("\r\n\ttls " + tls.CipherSuiteName(t.cipher)) // RFC 8314 4.3
	}
	b.WriteString(";\r\n\t" + t.date.Format(time.RFC1123Z) + "\r\n")
	return b.String()
}

// protocol is the keyword of RFC 3848 and 6531: A only when AUTH succeeded, so a client
// known by its certificate alone is ESMTPS.
func (t trace) protocol() string {
	if !t.extended {
		return "SMTP"
	}
	p := "ESMTP"
	if t.utf8 {
		p = "UTF8SMTP" // RFC 6531 4.3
	}
	if t.secure {
		p += "S"
	}
	if t.auth {
		p += "A"
	}
	return p
}

// address is the peer's address as a literal (RFC 5321 4.1.3).
func (t trace) address() string {
	switch a := t.peer.Unmap().WithZone(""); {
	case !a.IsValid():
		return "unknown"
	case a.Is4():
		return "[" + a.String() + "]"
	default:
		return "[IPv6:" + a.String() + "]"
	}
}

// maxHelo is the longest name that a host can have (RFC 5321 4.5.3.1.2).
const maxHelo = 255

// cleanHelo keeps the octets that host names and address literals are made of.
// All others could end a comment or a clause, or begin one.
func cleanHelo(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(".-_:[]", r):
			return r
		}
		return -1
	}, s)
	if len(s) > maxHelo {
		s = s[:maxHelo]
	}
	if s == "" {
		return "unknown"
	}
	return s
}
