package wire

import (
	"bytes"
	"strconv"
	"strings"

	"dancemta/internal/foreign"
)

// reply is one reply of go-smtp, its own or a session's.
type reply struct {
	code     int
	enhanced string // "5.1.1"; "" when it has none
	lines    []string
}

// fixes is the one table of what go-smtp says differently from the RFCs.
var fixes = map[fixKey]reply{
	{mail, 250, "2.0.0"}: {250, "2.1.0", []string{"Sender OK"}}, // its text repeats what the peer wrote
	{rcpt, 250, "2.0.0"}: {250, "2.1.5", []string{"Recipient OK"}},
	{mail, 502, "5.7.0"}: {530, "5.7.0", []string{"Authentication required"}}, // RFC 4954 6: smtp.ErrAuthRequired
	{rcpt, 502, "5.7.0"}: {530, "5.7.0", []string{"Authentication required"}},
	{auth, 235, "2.0.0"}: {235, "2.7.0", []string{"Authentication successful"}}, // RFC 4954 4
	{auth, 501, "5.0.0"}: {501, "5.7.0", []string{"Authentication cancelled"}},
	{auth, 502, "5.7.0"}: {504, "5.5.4", []string{"Mechanism not available"}}, // smtp.ErrAuthUnsupported
	{auth, 504, "5.7.4"}: {504, "5.5.4", []string{"Mechanism not available"}}, // smtp.ErrAuthUnknownMechanism
}

type fixKey struct {
	to       awaited
	code     int
	enhanced string
}

// parseReply reads the reply that p begins with. ok is false unless it is whole
// and the only one.
func parseReply(p []byte) (r reply, ok bool) {
	for len(p) > 0 {
		line, rest, found := bytes.Cut(p, []byte{'\n'})
		code, err := strconv.Atoi(string(line[:min(3, len(line))]))
		if !found || err != nil || code < 200 || len(line) < 4 || r.code != 0 && r.code != code {
			return reply{}, false
		}
		text := string(line[4:])
		if line[3] == ' ' {
			r.enhanced, text = cutEnhanced(text)
		}
		r.code, r.lines = code, append(r.lines, text)
		p = rest
		if line[3] == ' ' {
			return r, len(p) == 0
		}
	}
	return reply{}, false
}

// cutEnhanced takes an enhanced status code off text (RFC 3463 2).
func cutEnhanced(text string) (code, rest string) {
	word, rest, _ := strings.Cut(strings.TrimRight(text, "\r"), " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || strings.IndexByte("245", parts[0][0]) < 0 {
		return "", text
	}
	for _, p := range parts[1:] {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n > 999 {
			return "", text
		}
	}
	return word, rest
}

// fixed returns what the peer is to hear instead of r.
func (r reply) fixed(to awaited) reply {
	if f, ok := fixes[fixKey{to, r.code, r.enhanced}]; ok {
		return f
	}
	switch {
	case r.code == 421 && r.enhanced == "4.0.0": // go-smtp after a panic
		return reply{421, "4.3.0", []string{"Internal error, closing connection"}}
	case r.code == 502 && r.enhanced == "5.5.1": // out of order
		r.code = 503
	}
	class := r.code / 100
	switch {
	case class == 3 || to == helo || to == ehlo: // RFC 2034 4: not in these
		if r.code != 421 {
			r.enhanced = ""
		}
	case r.enhanced == "" || int(r.enhanced[0]-'0') != class:
		r.enhanced = strconv.Itoa(class) + ".0.0"
	}
	return r
}

// maxReplyText keeps a line below 512 octets (RFC 5321 4.5.3.1.5).
const maxReplyText = 480

// String returns the reply as sent, without its last CRLF. The enhanced code
// stands on each line (RFC 2034 4), and nothing but printable ASCII in the text.
func (r reply) String() string {
	var b strings.Builder
	for i, text := range r.lines {
		sep := byte('-')
		if i == len(r.lines)-1 {
			sep = ' '
		}
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(strconv.Itoa(r.code))
		b.WriteByte(sep)
		if r.enhanced != "" {
			b.WriteString(r.enhanced + " ")
		}
		b.WriteString(clean(text))
	}
	return b.String()
}

func clean(text string) string {
	return foreign.ASCII(strings.TrimRight(text, "\r"), maxReplyText)
}

const maxRcptMax = 999_999 // RFC 9422 3.2: six digits

// extensions writes the reply to EHLO. Of go-smtp's list only the mechanisms are
// taken over.
func (c *Conn) extensions(r reply) string {
	size := "SIZE" // RFC 1870 3: no fixed limit
	if c.maxBytes > 0 {
		size += " " + strconv.FormatInt(c.maxBytes, 10)
	}
	list := []string{c.link.srv.cfg.Hostname, "PIPELINING", size, "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "SMTPUTF8", "DSN"}
	if n := c.link.srv.cfg.MaxRecipients; n > 0 {
		list = append(list, "LIMITS RCPTMAX="+strconv.Itoa(min(n, maxRcptMax)))
	}
	switch {
	case c.tls != nil:
		list = append(list, "REQUIRETLS") // RFC 8689 2: inside TLS only
	case c.link.srv.cfg.TLS != nil:
		list = append(list, "STARTTLS") // RFC 3207 4.2: not again inside TLS
	}
	for _, line := range r.lines {
		if strings.HasPrefix(line, "AUTH ") { // in clear go-smtp hears of none: see session.AuthMechanisms
			list = append(list, line)
		}
	}
	return reply{code: 250, lines: list}.String()
}
