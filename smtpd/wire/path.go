package wire

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Sizes of RFC 5321 4.5.3.1, without the angle brackets.
const (
	maxLocal  = 64
	maxDomain = 255
	maxPath   = 254
)

var errPath = errors.New("not a path")

// mailCommand hands MAIL on in one form: address without route, quoted only
// where it must be, parameters in one order.
func (c *Conn) mailCommand(arg string) {
	if c.hello == nothing || c.tx.open { // RFC 5321 4.1.4: MAIL in a transaction is out of order
		c.say(badSequence)
		return
	}
	arg, ok := cutKeyword(strings.TrimLeft(arg, " "), "FROM:")
	if !ok {
		c.say("501 5.5.4 Syntax: MAIL FROM:<address>")
		return
	}
	path, params, err := readPath(strings.TrimLeft(arg, " "))
	if err != nil || path.domain == "" && path.local != "" {
		c.say("501 5.1.7 Bad sender address syntax")
		return
	}
	tail, ask, refusal := c.mailParams(params)
	if refusal == "" && !ask.utf8 && !path.isASCII() {
		refusal = "553 5.6.7 Non-ASCII sender address without SMTPUTF8" // RFC 6531 3.5
	}
	if refusal != "" {
		c.say(refusal)
		return
	}
	c.asked = ask
	c.hand(mail, "MAIL FROM:<"+path.String()+">"+tail, nil)
}

// rcptCommand hands RCPT on in one form.
func (c *Conn) rcptCommand(arg string) {
	if !c.tx.open || c.tx.chunked {
		c.say(badSequence)
		return
	}
	arg, ok := cutKeyword(strings.TrimLeft(arg, " "), "TO:")
	if !ok {
		c.say("501 5.5.4 Syntax: RCPT TO:<address>")
		return
	}
	path, params, err := readPath(strings.TrimLeft(arg, " "))
	switch {
	case err != nil || path.local == "":
		c.say("501 5.1.3 Bad recipient address syntax")
		return
	case path.domain == "": // RFC 5321 4.5.1: <postmaster>
		path.domain = c.link.srv.cfg.Hostname
	}
	ask, refusal := c.rcptParams(params)
	if refusal == "" && !c.tx.utf8 && !path.isASCII() {
		refusal = "553 5.6.7 Non-ASCII recipient address without SMTPUTF8" // RFC 6531 3.5
	}
	if refusal != "" {
		c.say(refusal)
		return
	}
	c.asked = ask
	c.hand(rcpt, "RCPT TO:<"+path.String()+">", nil)
}

// mailbox is a path without its route; the null sender is its zero value. A
// postmaster without domain has none.
type mailbox struct {
	local  string // without quotes
	domain string
}

func (m mailbox) isASCII() bool { return isASCII(m.local) && isASCII(m.domain) }

// String returns the mailbox in canonical form: go-smtp's parser reads exactly
// local and domain from it again.
func (m mailbox) String() string {
	if m.local == "" {
		return ""
	}
	if isDotString(m.local) {
		return m.local + "@" + m.domain
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(m.local); i++ {
		if m.local[i] == '"' || m.local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(m.local[i])
	}
	return b.String() + `"@` + m.domain
}

// readPath reads a path in angle brackets and returns what stands behind them
// (RFC 5321 4.1.2 Reverse-path, Forward-path). Source routes are parsed and
// dropped (appendix C).
func readPath(s string) (m mailbox, rest string, err error) {
	s, ok := strings.CutPrefix(s, "<")
	if !ok {
		return m, "", errPath
	}
	if rest, ok = strings.CutPrefix(s, ">"); ok {
		return m, rest, nil
	}
	if rest, ok = cutKeyword(s, "POSTMASTER>"); ok {
		return mailbox{local: "postmaster"}, rest, nil
	}
	if s, err = dropRoute(s); err != nil {
		return m, "", err
	}
	if m, rest, err = readMailbox(s); err != nil {
		return m, "", err
	}
	if rest, ok = strings.CutPrefix(rest, ">"); !ok {
		return mailbox{}, "", errPath
	}
	return m, rest, nil
}

// dropRoute takes "@one,@two:" off the front (RFC 5321 4.1.2 A-d-l).
func dropRoute(s string) (string, error) {
	if !strings.HasPrefix(s, "@") {
		return s, nil
	}
	route, rest, ok := strings.Cut(s, ":")
	if !ok {
		return "", errPath
	}
	for hop := range strings.SplitSeq(route, ",") {
		domain, at := strings.CutPrefix(hop, "@")
		if !at || !isDomain(domain) {
			return "", errPath
		}
	}
	return rest, nil
}

// readMailbox reads local@domain up to what cannot belong to it. Octets beyond
// ASCII are taken as letters; the caller judges them.
func readMailbox(s string) (m mailbox, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		m.local, s, err = unquote(s)
	} else {
		i := strings.IndexByte(s, '@')
		if i < 0 || !isDotString(s[:i]) {
			return mailbox{}, "", errPath
		}
		m.local, s = s[:i], s[i:]
	}
	s, ok := strings.CutPrefix(s, "@")
	if err != nil || !ok {
		return mailbox{}, "", errPath
	}
	m.domain, rest = s, ""
	if i := strings.IndexByte(s, '>'); i >= 0 {
		m.domain, rest = s[:i], s[i:]
	}
	switch {
	case m.local == "" || !isDomain(m.domain) && !isLiteral(m.domain):
		return mailbox{}, "", errPath
	case len(m.local) > maxLocal || len(m.local)+1+len(m.domain) > maxPath:
		return mailbox{}, "", errPath
	}
	return m, rest, nil
}

// unquote reads a Quoted-string (RFC 5321 4.1.2).
func unquote(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], nil
		case s[i] == '\\':
			i++
		}
		if i == len(s) || s[i] < ' ' || s[i] == 0x7f {
			break
		}
		b.WriteByte(s[i])
	}
	return "", "", errPath
}

// isDotString reports whether s is atoms with single dots between them.
func isDotString(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for i := 0; i < len(atom); i++ {
			if !isLetter(atom[i]) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", atom[i]) < 0 {
				return false
			}
		}
	}
	return true
}

// isDomain reports whether s looks like a domain name; whether it is one is for
// the session to say.
func isDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
		for i := 0; i < len(label); i++ {
			if !isLetter(label[i]) && label[i] != '-' && label[i] != '_' {
				return false
			}
		}
	}
	return len(s) <= maxDomain
}

// isLiteral reports whether s has the shape of an address literal.
func isLiteral(s string) bool {
	if len(s) < 3 || s[0] != '[' || s[len(s)-1] != ']' {
		return false
	}
	for i := 1; i < len(s)-1; i++ {
		if !isAlnum(s[i]) && strings.IndexByte("-.:", s[i]) < 0 {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// isLetter counts octets beyond ASCII as letters, too: see readMailbox.
func isLetter(c byte) bool { return isAlnum(c) || c >= utf8.RuneSelf }

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
