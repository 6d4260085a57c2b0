package wire

import (
	"net"
	"strings"
)

// commands are the verbs that do something here; each gets its argument.
var commands = map[string]func(*Conn, string){
	"EHLO":     func(c *Conn, arg string) { c.greetCommand(ehlo, arg) },
	"HELO":     func(c *Conn, arg string) { c.greetCommand(helo, arg) },
	"MAIL":     (*Conn).mailCommand,
	"RCPT":     (*Conn).rcptCommand,
	"DATA":     (*Conn).dataCommand,
	"BDAT":     (*Conn).bdatCommand,
	"RSET":     (*Conn).rsetCommand,
	"NOOP":     func(c *Conn, _ string) { c.say("250 2.0.0 OK") },
	"VRFY":     (*Conn).vrfyCommand,
	"QUIT":     (*Conn).quitCommand,
	"STARTTLS": (*Conn).startTLSCommand,
	"AUTH":     (*Conn).authCommand,
	"EXPN":     (*Conn).notImplemented,
	"HELP":     (*Conn).helpCommand,
	"SEND":     (*Conn).notImplemented,
	"SOML":     (*Conn).notImplemented,
	"SAML":     (*Conn).notImplemented,
	"TURN":     (*Conn).notImplemented,
	"ETRN":     (*Conn).notImplemented,
}

const (
	tlsFirst    = "530 5.7.0 Must issue a STARTTLS command first"
	badSequence = "503 5.5.1 Bad sequence of commands"
	noRcpt      = "554 5.5.1 No valid recipients"
	tooLarge    = "552 5.3.4 Message too large"
	noArgument  = "501 5.5.4 No argument allowed"
)

// beforeTLS are the commands that RequireTLS lets pass (RFC 3207 4). HELO leads
// nowhere: who says it does not hear that there is TLS.
var beforeTLS = map[string]bool{"NOOP": true, "EHLO": true, "STARTTLS": true, "QUIT": true}

// readCommand takes one command from the peer and does it.
func (c *Conn) readCommand() {
	if !c.tx.open && c.link.srv.isDraining() {
		c.drained()
		return
	}
	line, ok := c.readLine(c.link.srv.cfg.Limits.Line, "500 5.5.2 Line too long, closing connection")
	if !ok {
		return
	}
	name, arg, _ := strings.Cut(strings.TrimRight(line, " \t"), " ") // RFC 5321 4.1.1: white space at the end is forgiven
	name = upper(name)
	do := commands[name]
	if !c.affords(name) {
		return
	}
	switch {
	case c.mustSecure() && !beforeTLS[name] && name != "BDAT": // a BDAT has octets behind it
		c.say(tlsFirst)
	case do == nil:
		c.say("500 5.5.2 Command not recognized")
	default:
		do(c, arg)
	}
}

// mustSecure reports whether nothing may be done before TLS.
func (c *Conn) mustSecure() bool { return c.tls == nil && c.link.srv.cfg.RequireTLS }

// upper is strings.ToUpper for ASCII alone: a long s or a dotless i is not to
// become a letter of a command.
func upper(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

// cutKeyword takes an ASCII keyword in any case off the front of s.
func cutKeyword(s, keyword string) (string, bool) {
	if len(s) < len(keyword) || upper(s[:len(keyword)]) != keyword {
		return s, false
	}
	return s[len(keyword):], true
}

func (c *Conn) greetCommand(a awaited, name string) {
	if !isHelloName(name) {
		c.say("501 Syntax: one domain name or address literal") // RFC 2034 4: no enhanced code here
		return
	}
	verb := "EHLO "
	if a == helo {
		verb = "HELO "
	}
	if c.tx.running {
		c.abort()
		c.then, c.thenAwaits = verb+name, a
		return
	}
	c.hand(a, verb+name, nil)
}

// isHelloName allows what stands in names and address literals, and in the names
// that real clients give themselves; nothing that has a meaning in a Received
// field.
func isHelloName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && strings.IndexByte("-._:[]", s[i]) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= maxDomain
}

func (c *Conn) rsetCommand(arg string) {
	switch {
	case arg != "":
		c.say(noArgument)
	case c.tx.open: // else there is nothing that a session could forget
		c.abort()
		fallthrough
	default:
		c.say("250 2.0.0 OK")
	}
}

func (c *Conn) vrfyCommand(arg string) {
	if arg == "" {
		c.say("501 5.5.4 Syntax: VRFY address")
		return
	}
	c.say("252 2.5.0 Cannot verify, but will take mail and try to deliver it") // RFC 5321 3.5.3
}

// helpCommand: RFC 5321 4.1.1.8 wants it, and people may type it.
func (c *Conn) helpCommand(string) {
	c.say("214 2.0.0 See RFC 5321, or ask postmaster@" + c.link.srv.cfg.Hostname)
}

func (c *Conn) notImplemented(string) { c.say("502 5.5.1 Command not implemented") }

func (c *Conn) quitCommand(arg string) {
	if arg != "" {
		c.say(noArgument)
		return
	}
	c.say("221 2.0.0 Bye")
	c.flush()
	c.end = net.ErrClosed
}

// startTLSCommand ends this phase; Close does the handshake.
func (c *Conn) startTLSCommand(arg string) {
	switch {
	case arg != "":
		c.say("501 5.5.4 No parameters allowed") // RFC 3207 4
	case c.tls != nil:
		c.say("503 5.5.1 TLS is active already")
	case c.link.srv.cfg.TLS == nil:
		c.say("502 5.5.1 TLS is not available")
	case !c.in.empty():
		// CVE-2011-0411: what was injected in clear must not be read inside TLS.
		c.fail(Injection, nil, "")
	case !c.link.place.BeginHandshake():
		c.link.report(TooManyHandshakes, nil)
		c.say("454 4.7.0 TLS not available due to temporary reason") // RFC 3207 4
	default:
		c.say("220 2.0.0 Ready to start TLS")
		c.flush()
		if c.end == nil {
			c.upgrade, c.end = true, net.ErrClosed
		}
	}
}
