package smtpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dancemta/internal/dialog"
	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var options = Options{Hostname: dnsname.MustParse("mx.example.test")}

func dial(t *testing.T, s *dialog.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func connect(t *testing.T, script string) *Client {
	t.Helper()
	c, err := New(t.Context(), dial(t, dialog.Serve(t, script)), options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func message(body string, to ...string) Message {
	m := Message{
		Sender: mailaddr.MustParse("a@example.test"), Size: int64(len(body)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil },
	}
	for _, s := range to {
		m.Recipients = append(m.Recipients, Recipient{Address: mailaddr.MustParse(s)})
	}
	return m
}

// hello is the beginning of a session with a server that offers nothing.
const hello = `
	S: 220 mx.test ESMTP
	C: EHLO mx.example.test
	S: 250 mx.test
`

const helloPipelining = `
	S: 220 mx.test ESMTP
	C: EHLO mx.example.test
	S: 250-mx.test greets you
	S: 250-PIPELINING
	S: 250-8bitmime
	S: 250 SIZE 1000
`

const quit = `
	C: QUIT
	S: 221 bye
`

func TestNewRefused(t *testing.T) {
	for _, c := range []struct{ name, script, status, text string }{
		{"greeting 554", "S: 554 5.7.1 go away", "4.7.1", "greeting: 554 5.7.1 go away"},
		{"greeting 421", "S: 421 later", "4.0.0", "greeting: 421 later"},
		{"greeting 354", "S: 354 what", "4.5.0", "greeting: unexpected reply 354 what"},
		{"no greeting", "DROP", "4.4.2", "greeting: the server closed the connection"},
		{"half a line", `S! "220 mx"`, "4.4.2", "greeting: the server closed the connection"},
		{"1xx", "S: 120 wait", "4.5.0", "greeting: malformed reply: 120 wait"},
		{"6xx", "S: 600 x", "4.5.0", "greeting: malformed reply: 600 x"},
		{"another protocol", "S: SSH-2.0-x", "4.5.0", "greeting: malformed reply: SSH-2.0-x"},
		{"codes differ", "S: 220-a\nS: 221 b", "4.5.0", "greeting: malformed reply: its lines have the codes 220 and 221"},
		{"no space", "S: 220mx", "4.5.0", "greeting: malformed reply: 220mx"},
		{"EHLO and HELO refused", "S: 220 x\nC: EHLO mx.example.test\nS: 500 no\nC: HELO mx.example.test\nS: 550 5.7.1 blocked", "4.7.1", "EHLO: 550 5.7.1 blocked"},
		{"EHLO 421", "S: 220 x\nC: EHLO mx.example.test\nS: 421 4.3.2 down", "4.3.2", "EHLO: 421 4.3.2 down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(t.Context(), dial(t, dialog.Serve(t, c.script)), options)
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("got %v, want an *Error", err)
			}
			if e.Permanent || !e.OtherHost || e.EnhancedStatus() != c.status || e.Error() != c.text {
				t.Errorf("got %q permanent=%v otherHost=%v status=%s, want %q %s", e, e.Permanent, e.OtherHost, e.EnhancedStatus(), c.text, c.status)
			}
		})
	}
}

func TestEndlessReply(t *testing.T) {
	for name, part := range map[string]string{
		"one line":   strings.Repeat("x", 1000),
		"many lines": strings.Repeat("220-x\r\n", 100),
	} {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			done := make(chan int)
			go func() {
				n := 0
				for {
					m, err := there.Write([]byte("220-" + part))
					if n += m; err != nil {
						done <- n
						return
					}
				}
			}()
			_, err := New(t.Context(), here, options)
			if !errors.Is(err, errMalformed) {
				t.Errorf("got %v, want a malformed reply", err)
			}
			if n := <-done; n > maxReply+8192 {
				t.Errorf("read %d octets of a reply without end", n)
			}
			there.Close()
		})
	}
}

func TestHELO(t *testing.T) {
	c := connect(t, `
		S: 220 old.test
		C: EHLO mx.example.test
		S: 500 what?
		C: HELO mx.example.test
		S: 250 old.test
	`+quit)
	if len(c.extensions) != 0 {
		t.Errorf("extensions %v after HELO", c.extensions)
	}
	c.Quit(t.Context())
}

func TestExtensions(t *testing.T) {
	c := connect(t, `
		S: 220-mx.test
		S: 220 still greeting
		C: EHLO mx.example.test
		S: 250-PIPELINING is no keyword in the first line
		S: 250-size 100
		S: 250-AUTH=LOGIN
		S: 250-
		S: 250 ENHANCEDSTATUSCODES
	`+quit)
	defer c.Quit(t.Context())
	if p, ok := c.Extension("SIZE"); !ok || p != "100" {
		t.Errorf("SIZE: %q %v", p, ok)
	}
	if _, ok := c.Extension("PIPELINING"); ok {
		t.Error("the greeting line counts as a keyword")
	}
	if len(c.extensions) != 2 {
		t.Errorf("extensions %v, want SIZE and ENHANCEDSTATUSCODES", c.extensions)
	}
}

var insecure = &tls.Config{InsecureSkipVerify: true}

const offer = `
	S: 220 mx.test
	C: EHLO mx.example.test
	S: 250-mx.test
	S: 250-PIPELINING
	S: 250 STARTTLS
	C: STARTTLS
`

func TestStartTLS(t *testing.T) {
	c := connect(t, offer+`
		S: 220 go
		TLS
		C: EHLO mx.example.test
		S: 250-mx.test
		S: 250 SIZE 7
	`+quit)
	if err := c.StartTLS(t.Context(), insecure); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Extension("PIPELINING"); ok {
		t.Error("an offer in clear outlives STARTTLS")
	}
	if _, ok := c.Extension("SIZE"); !ok {
		t.Error("the offer inside TLS is not known")
	}
	c.Quit(t.Context())
}

// TestStartTLSForgets: an offer in clear does not outlive STARTTLS even when the
// server knows no EHLO inside TLS.
func TestStartTLSForgets(t *testing.T) {
	c := connect(t, offer+`
		S: 220 go
		TLS
		C: EHLO mx.example.test
		S: 502 5.5.1 what?
		C: HELO mx.example.test
		S: 250 mx.test
	`+quit)
	if err := c.StartTLS(t.Context(), insecure); err != nil || len(c.extensions) != 0 {
		t.Errorf("%v, extensions %v", err, c.extensions)
	}
	c.Quit(t.Context())
}

func TestStartTLSFails(t *testing.T) {
	for _, c := range []struct {
		name, script string
		is           error
		usable       bool
	}{
		{"refused", "S: 454 4.7.0 no" + quit, nil, true},
		{"refused for good", "S: 502 5.5.1 no" + quit, nil, true},
		{"wrong code", "S: 250 ok", nil, false},
		{"bytes behind 220", `S! "220 go\r\n250 injected\r\n"`, ErrInjected, false},
		{"no handshake", "S: 220 go\nDROP", ErrHandshake, false},
		{"no TLS", "S: 220 go\nBYTE\nS: 220 what", ErrHandshake, false},
		{"no word in TLS", "S: 220 go\nTLS\nDROP", ErrHandshake, false},
		{"421 in TLS", "S: 220 go\nTLS\nC: EHLO mx.example.test\nS: 421 no", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := connect(t, offer+c.script)
			err := client.StartTLS(t.Context(), insecure)
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Permanent || !e.OtherHost {
				t.Fatalf("got %#v, want a temporary *Error of this host", err)
			}
			if c.is != nil && !errors.Is(err, c.is) || c.is == nil && (errors.Is(err, ErrHandshake) || errors.Is(err, ErrInjected)) {
				t.Errorf("got %v, want %v", err, c.is)
			}
			if client.Usable() != c.usable {
				t.Errorf("usable: %v", client.Usable())
			}
			client.Quit(t.Context())
		})
	}
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("shutting down")
	s := dialog.Serve(t, "HANG")
	conn := dial(t, s)
	time.AfterFunc(time.Millisecond, func() { cancel(why) })
	if _, err := New(ctx, conn, options); !errors.Is(err, why) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestNoHostname(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	if _, err := New(t.Context(), here, Options{}); err == nil {
		t.Error("a client without a name for EHLO")
	}
}
