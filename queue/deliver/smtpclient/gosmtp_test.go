package smtpclient

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"dancemta/internal/dialog"
)

// TestGoSMTP sends two bodies full of dots to a server by somebody else, by DATA and
// by BDAT, in clear and in TLS: what arrives is what was sent.
func TestGoSMTP(t *testing.T) {
	part := ".\r\n..\r\n.x " + strings.Repeat("y", 900) + "\r\n"
	for _, way := range []struct {
		body    string
		withTLS bool
	}{
		{strings.Repeat(part, minChunked/len(part)), false}, {strings.Repeat(part, minChunked/len(part)), true},
		{strings.Repeat(part, 1000), false}, {strings.Repeat(part, 1000), true},
	} {
		body, withTLS := way.body, way.withTLS
		b := &backend{}
		s := smtp.NewServer(b)
		s.Domain = "mx.test"
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{dialog.Certificate(t)}}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(t.Context(), conn, options)
		if err != nil {
			t.Fatal(err)
		}
		if withTLS {
			if err := c.StartTLS(t.Context(), insecure); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if got := results(c.Send(t.Context(), message(body, "b@remote.test", "no@remote.test", `"x y"@remote.test`))); got != "ok, failed 5.1.1, ok" {
				t.Errorf("got %s", got)
			}
		}
		c.Quit(t.Context())
		s.Close()
		<-served
		if b.got != body+body {
			t.Errorf("TLS %v: %d octets came of %d, or others", withTLS, len(b.got), 2*len(body))
		}
	}
}

type backend struct{ got string }

func (b *backend) NewSession(*smtp.Conn) (smtp.Session, error) { return session{b}, nil }

type session struct{ b *backend }

func (session) Mail(string, *smtp.MailOptions) error { return nil }
func (session) Reset()                               {}
func (session) Logout() error                        { return nil }

func (session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "no@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "unknown"}
	}
	return nil
}

func (s session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.b.got += string(b)
	return err
}
