package wire

// Extended reports whether the peer said EHLO, not HELO: the trace field tells
// the two apart (RFC 5321 4.4). It is for the methods of sessions only.
func (c *Conn) Extended() bool { return c.hello == ehlo }
