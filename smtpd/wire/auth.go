package wire

import (
	"encoding/base64"
	"strings"
)

const (
	badBase64 = "501 5.5.2 Malformed base64"
	giveUp    = "*"
)

// underTLS reports whether what is said here stays between the peer and us.
func (c *Conn) underTLS() bool { return c.tls != nil || c.link.srv.cfg.TLSAhead }

// authCommand lets AUTH through under TLS, after EHLO, once, and outside of
// transactions (RFC 4954 4).
func (c *Conn) authCommand(arg string) {
	words := strings.Split(arg, " ")
	switch {
	case c.hello != ehlo || c.tx.open || c.authed:
		c.say(badSequence)
	case !c.underTLS():
		c.say("504 5.5.4 AUTH needs TLS") // nothing is offered in clear
	case len(words) > 2 || !isMechanism(words[0]):
		c.say("501 5.5.4 Syntax: AUTH mechanism [initial-response]")
	case len(words) == 2 && !isBase64(words[1]):
		c.say(badBase64)
	default:
		c.hand(auth, "AUTH "+arg, nil)
	}
}

// isMechanism: RFC 4422 3.1, in either case.
func isMechanism(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 20
}

// isBase64 reports whether s is exact base64, or "=" for no octets. Foreign
// characters must be refused (RFC 4954 4), and so are pads in the middle.
func isBase64(s string) bool {
	if s == "=" {
		return true
	}
	_, err := base64.StdEncoding.Strict().DecodeString(s)
	return err == nil
}

// readExchange passes one line of a SASL exchange on. What is not base64 ends
// the exchange, for go-smtp by a cancellation.
func (c *Conn) readExchange() {
	line, ok := c.readLine(c.link.srv.cfg.Limits.AuthLine, "500 5.5.6 Authentication line too long, closing connection")
	if !ok {
		return
	}
	c.exchange = false
	if line != giveUp && !isBase64(line) {
		c.override = badBase64
		line = giveUp
	}
	c.hand(auth, line, nil)
}

// authReply moves the exchange on.
func (c *Conn) authReply(r reply) {
	text := r.String()
	if c.override != "" {
		text, c.override = c.override, ""
	}
	switch r.code {
	case 334:
		c.exchange = true
	case 235:
		c.authed = true
	}
	c.say(text)
}
