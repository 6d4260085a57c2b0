package wire

import "fmt"

// spent is what one connection has used so far.
type spent struct {
	commands int
	idling   int // commands since the last message that move no mail
	octets   int64
}

// idlers are the commands that move no mail. A few of them have their use.
var idlers = map[string]bool{"NOOP": true, "RSET": true, "VRFY": true, "EXPN": true, "HELP": true, "EHLO": true, "HELO": true}

// affords counts a command, and ends a connection that has had enough of them. The
// limit of octets waits for the end of a transaction, which has its own.
func (c *Conn) affords(name string) bool {
	lim, s := &c.link.srv.cfg.Limits, &c.link.spent
	s.commands++
	if idlers[name] {
		s.idling++
	}
	switch {
	case name == "QUIT":
	case s.commands > lim.Commands:
		c.fail(TooManyCommands, nil, "421 4.7.0 Too many commands on one connection, closing connection")
	case s.idling > lim.Idling:
		c.fail(TooManyCommands, fmt.Errorf("%d that moved no mail", s.idling), "421 4.7.0 Too many commands without mail, closing connection")
	case s.octets > lim.Bytes && !c.tx.open:
		c.fail(TooManyOctets, nil, "421 4.7.0 Too many octets on one connection, closing connection")
	}
	return c.end == nil
}
