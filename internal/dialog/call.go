package dialog

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// Call plays the client's side of a script against a server under test, within a
// synctest bubble, so that it knows when the server has said all that it is going
// to say:
//
//	C: NOOP              the client says this line
//	C+ MAIL FROM:<>      this one too, in one write with those that follow
//	C! "a\rb"            the client sends these octets, as a Go string
//	S: 250 2.1.0 OK      the server must say this line; * stands for any text
//	R: 250               the server must say a whole reply that begins so
//	TLS words            a handshake must succeed
//	NOTLS "octets"       sent in place of one; what comes is thrown away
//	WAIT 5m              time passes
//	CLOSED               the server must have closed the connection
//
// Lines that begin with # are remarks. Whatever the server says must be written
// down: a line that nobody expects fails the script.
type Call struct {
	Conn net.Conn
	// Drip writes each octet alone.
	Drip bool
	// TLS makes the configuration for TLS lines; it gets the words behind.
	TLS func(words string) (*tls.Config, error)
	// Clean takes off a line of the server what no script can know. nil: nothing.
	Clean func(line string) string
	// Else plays instructions that are not listed above. nil: there are none.
	Else func(verb, arg string) error

	conn net.Conn
	held string
	ear  *ear
}

// ear collects what a connection says.
type ear struct {
	done chan struct{}
	mu   sync.Mutex
	got  bytes.Buffer
	err  error
}

func listen(conn net.Conn) *ear {
	e := &ear{done: make(chan struct{})}
	go func() {
		defer close(e.done)
		for buf := make([]byte, 4096); ; {
			n, err := conn.Read(buf)
			e.mu.Lock()
			e.got.Write(buf[:n])
			e.err = err
			e.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return e
}

// line takes one line off what has come; ok is false when there is none.
func (e *ear) line() (text string, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := bytes.Index(e.got.Bytes(), []byte("\r\n"))
	if i < 0 {
		return e.got.String(), false
	}
	text = string(e.got.Next(i))
	e.got.Next(len("\r\n"))
	return text, true
}

// stop ends the reading without ending the connection.
func (e *ear) stop(conn net.Conn) {
	_ = conn.SetReadDeadline(time.Unix(1, 0))
	<-e.done
	_ = conn.SetReadDeadline(time.Time{})
}

// Begin hears the server of a connection.
func (c *Call) Begin(conn net.Conn) {
	c.Conn, c.conn = conn, conn
	c.ear = listen(conn)
	synctest.Wait()
}

// End closes the connection; what was not expected is an error.
func (c *Call) End() error {
	err := c.silent()
	c.Conn.Close()
	<-c.ear.done
	synctest.Wait()
	return err
}

// Line plays one line of a script.
func (c *Call) Line(line string) error {
	verb, arg, _ := strings.Cut(line, " ")
	switch verb {
	case "", "#":
		return nil
	case "S:":
		return c.expect(arg)
	case "R:":
		return c.reply(arg)
	case "CLOSED":
		return c.closed()
	}
	if strings.HasPrefix(verb, "C") || verb == "TLS" || verb == "NOTLS" || verb == "WAIT" {
		if err := c.silent(); err != nil {
			return err
		}
	}
	switch verb {
	case "C:":
		return c.say(arg + "\r\n")
	case "C+":
		c.held += arg + "\r\n"
		return nil
	case "C!":
		return c.raw(arg)
	case "TLS":
		return c.secure(arg)
	case "NOTLS":
		err := c.raw(arg)
		c.ear.mu.Lock()
		c.ear.got.Reset()
		c.ear.mu.Unlock()
		return err
	case "WAIT":
		return wait(arg)
	}
	if c.Else != nil {
		return c.Else(verb, arg)
	}
	return errors.New("no such instruction")
}

func (c *Call) raw(arg string) error {
	text, err := strconv.Unquote(arg)
	if err != nil {
		return err
	}
	return c.say(text)
}

// say writes, and waits until nothing moves any more. Whether the server still
// listened is for CLOSED to say.
func (c *Call) say(text string) error {
	text, c.held = c.held+text, ""
	step := len(text)
	if c.Drip {
		step = 1
	}
	for i := 0; i < len(text); i += step {
		_, _ = io.WriteString(c.conn, text[i:i+step])
	}
	synctest.Wait()
	return nil
}

func wait(arg string) error {
	d, err := time.ParseDuration(arg)
	if err != nil {
		return err
	}
	time.Sleep(d)
	synctest.Wait()
	return nil
}

// expect compares the next line; want may hold *.
func (c *Call) expect(want string) error {
	got, err := c.next()
	if err != nil {
		return err
	}
	if !Like(got, want) {
		return fmt.Errorf("got %q", got)
	}
	return nil
}

// reply takes all lines of one reply.
func (c *Call) reply(begin string) error {
	for {
		got, err := c.next()
		switch {
		case err != nil:
			return err
		case len(got) < 4 || !strings.HasPrefix(got[:3]+" "+got[4:], begin):
			return fmt.Errorf("got %q", got)
		case got[3] == ' ':
			return nil
		}
	}
}

func (c *Call) next() (string, error) {
	got, ok := c.ear.line()
	if !ok {
		return "", fmt.Errorf("the server says no more than %q", got)
	}
	if c.Clean != nil {
		got = c.Clean(got)
	}
	return got, nil
}

// silent is an error when the server has said what nobody expects.
func (c *Call) silent() error {
	c.ear.mu.Lock()
	defer c.ear.mu.Unlock()
	if n := c.ear.got.Len(); n > 0 {
		return fmt.Errorf("the server has said %q", c.ear.got.String())
	}
	return nil
}

func (c *Call) closed() error {
	if err := c.silent(); err != nil {
		return err
	}
	c.ear.mu.Lock()
	defer c.ear.mu.Unlock()
	if c.ear.err == nil {
		return errors.New("the connection is open")
	}
	return nil
}

func (c *Call) secure(words string) error {
	if c.TLS == nil {
		return errors.New("no TLS here")
	}
	config, err := c.TLS(words)
	if err != nil {
		return err
	}
	c.ear.stop(c.conn)
	conn := tls.Client(c.conn, config)
	err = conn.Handshake()
	c.conn, c.ear = conn, listen(conn)
	synctest.Wait()
	return err
}

// Like reports whether a text is what a pattern says, in which * stands for any
// text.
func Like(text, pattern string) bool {
	if !strings.Contains(pattern, "*") {
		return text == pattern
	}
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return strings.HasSuffix(text, last)
}
