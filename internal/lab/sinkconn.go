package lab

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// sinkConn is one SMTP session of a sink.
type sinkConn struct {
	sink  *Sink
	raw   net.Conn // the socket
	conn  net.Conn // the socket, or TLS over it
	r     *bufio.Reader
	stop  <-chan struct{}
	id    int
	tls   *tls.ConnectionState
	helo  string
	mail  *Message // the open transaction
	ended bool
}

func newSinkConn(s *Sink, conn net.Conn, id int, stop <-chan struct{}) *sinkConn {
	return &sinkConn{sink: s, raw: conn, conn: conn, r: bufio.NewReader(conn), stop: stop, id: id}
}

func (c *sinkConn) serve() {
	defer c.sink.forget(c.raw)
	defer c.raw.Close()
	c.reply("CONNECT", "", fmt.Sprintf("220 %s ESMTP", c.sink.opts.Hostname))
	for !c.ended {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		c.command(strings.TrimRight(line, "\r\n"))
	}
}

// reply sends what Answer wants, else the usual reply; it reports whether that
// accepts the command.
func (c *sinkConn) reply(verb, line, usual string) bool {
	text := c.sink.answerTo(Command{Verb: verb, Line: line, TLS: c.tls != nil, Session: c.id})
	switch text {
	case "":
		text = usual
	case Drop:
		c.ended = true
		return false
	}
	if _, err := c.conn.Write([]byte(text + "\r\n")); err != nil {
		c.ended = true
		return false
	}
	return text[0] == '2' || text[0] == '3'
}

func (c *sinkConn) command(line string) {
	verb, args, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	switch verb {
	case "EHLO":
		c.mail, c.helo = nil, args
		c.reply(verb, line, c.keywords())
	case "HELO":
		c.mail, c.helo = nil, args
		c.reply(verb, line, "250 "+c.sink.opts.Hostname)
	case "STARTTLS":
		c.startTLS(line)
	case "MAIL":
		path, params := splitPath(args)
		if c.reply(verb, line, "250 2.1.0 ok") {
			c.mail = &Message{From: path, FromArgs: params}
		}
	case "RCPT":
		c.rcpt(line, args)
	case "DATA":
		c.data(line)
	case "RSET":
		c.mail = nil
		c.reply(verb, line, "250 2.0.0 ok")
	case "NOOP":
		c.reply(verb, line, "250 2.0.0 ok")
	case "QUIT":
		c.reply(verb, line, "221 2.0.0 bye")
		c.ended = true
	default:
		c.reply(verb, line, "500 5.5.1 unknown command")
	}
}

func (c *sinkConn) keywords() string {
	lines := []string{c.sink.opts.Hostname, "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"}
	if c.sink.tls != nil && c.tls == nil {
		lines = append(lines, "STARTTLS")
	}
	last := len(lines) - 1
	return "250-" + strings.Join(lines[:last], "\r\n250-") + "\r\n250 " + lines[last]
}

func (c *sinkConn) startTLS(line string) {
	if c.sink.tls == nil || c.tls != nil {
		c.reply("STARTTLS", line, "503 5.5.1 not offered")
		return
	}
	if !c.reply("STARTTLS", line, "220 2.0.0 go ahead") {
		return
	}
	if c.r.Buffered() > 0 { // injected in clear, RFC 3207 6
		c.ended = true
		return
	}
	t := tls.Server(c.raw, c.sink.tls)
	if err := t.Handshake(); err != nil {
		c.ended = true
		return
	}
	state := t.ConnectionState()
	c.tls, c.conn, c.r = &state, t, bufio.NewReader(t)
	c.mail, c.helo = nil, ""
}

func (c *sinkConn) rcpt(line, args string) {
	if c.mail == nil {
		c.reply("RCPT", line, "503 5.5.1 MAIL first")
		return
	}
	path, params := splitPath(args)
	if c.reply("RCPT", line, "250 2.1.5 ok") {
		c.mail.To, c.mail.ToArgs = append(c.mail.To, path), append(c.mail.ToArgs, params)
	}
}

func (c *sinkConn) data(line string) {
	if c.mail == nil || len(c.mail.To) == 0 {
		c.reply("DATA", line, "503 5.5.1 RCPT first")
		return
	}
	if !c.reply("DATA", line, "354 go ahead") {
		c.mail = nil
		return
	}
	m := *c.mail
	m.Helo, m.TLS, m.Peer, m.Session = c.helo, c.tls, c.raw.RemoteAddr().String(), c.id
	c.mail = nil
	var err error
	if m.Data, err = readData(c.r); err != nil || !c.released() {
		c.ended = true
		return
	}
	c.finish(m)
}

// finish keeps the message before it says so.
func (c *sinkConn) finish(m Message) {
	text := c.sink.answerTo(Command{Verb: ".", Line: ".", TLS: c.tls != nil, Session: c.id})
	if text == Drop {
		c.ended = true
		return
	}
	if text == "" {
		text = "250 2.0.0 kept"
	}
	if text[0] == '2' {
		if err := c.sink.keep(m); err != nil {
			text = "451 4.3.0 " + err.Error()
		}
	}
	if _, err := c.conn.Write([]byte(text + "\r\n")); err != nil {
		c.ended = true
	}
}

// readData reads a message up to CRLF.CRLF and undoes dot-stuffing; every
// other octet, lone CR and LF among them, stays as it came. RFC 5321 4.5.2
func readData(r *bufio.Reader) ([]byte, error) {
	var data []byte
	afterCRLF := true
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if afterCRLF && line[0] == '.' {
			if string(line) == ".\r\n" {
				return data, nil
			}
			line = line[1:]
		}
		data = append(data, line...)
		afterCRLF = bytes.HasSuffix(line, []byte("\r\n"))
	}
}

// released waits while deliveries are held. It reports false when the client
// went away or the sink was stopped meanwhile.
func (c *sinkConn) released() bool {
	hold := c.sink.enter()
	if hold == nil {
		return true
	}
	defer c.sink.leave()
	peeked := make(chan error, 1)
	go func() { // ends at the latest by the deadline below; both ways out wait for it
		_, err := c.r.Peek(1)
		peeked <- err
	}()
	early := peeked
	for {
		select {
		case err := <-early:
			if err != nil {
				return false
			}
			early = nil // the client sent its next command already, and waits
		case <-c.stop:
			c.raw.Close()
			if early != nil {
				<-early
			}
			return false
		case <-hold:
			return early == nil || c.stopPeeking(early)
		}
	}
}

// stopPeeking ends the wait for the client's next octet; false when there was
// an end in place of it.
func (c *sinkConn) stopPeeking(peeked <-chan error) bool {
	c.raw.SetReadDeadline(time.Now())
	err := <-peeked
	c.raw.SetReadDeadline(time.Time{})
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

// splitPath takes "FROM:<path> parameters" apart.
func splitPath(args string) (path, params string) {
	_, rest, _ := strings.Cut(args, ":")
	rest = strings.TrimSpace(rest)
	end := closing(rest)
	if !strings.HasPrefix(rest, "<") || end < 0 {
		path, params, _ = strings.Cut(rest, " ")
		return path, params
	}
	return rest[1:end], strings.TrimSpace(rest[end+1:])
}

// closing finds the > that ends a path, past a quoted local part. RFC 5321 4.1.2
func closing(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}
