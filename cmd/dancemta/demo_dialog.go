package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/textproto"
	"strings"

	"dancemta/internal/lab"
)

// dialog is a client that says lines and shows them.
type dialog struct {
	conn net.Conn
	text *textproto.Conn
	out  *transcript
}

// connect opens a session on a listener, up to the EHLO after STARTTLS. Without
// a client no certificate is shown.
func (d *demo) connect(ctx context.Context, listener string, client *lab.Client) (*dialog, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", d.server.addresses[listener])
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		conn.SetDeadline(end)
	}
	s := &dialog{conn: conn, text: textproto.NewConn(conn), out: d.out}
	if err := s.secure(d.tlsConfig(client)); err != nil {
		conn.Close()
		return nil, err
	}
	who := "without a certificate"
	if client != nil {
		who = "with the certificate of " + certificateNames(client.Leaf())
	}
	d.out.say("     C: STARTTLS, then TLS 1.3 %s", who)
	return s, nil
}

func (d *demo) tlsConfig(client *lab.Client) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(d.net.ServerCA.Certificate)
	c := &tls.Config{RootCAs: roots, ServerName: lab.ServerName, MinVersion: tls.VersionTLS13}
	if client != nil {
		pair := client.TLSCertificate()
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return c
}

func certificateNames(leaf *x509.Certificate) string {
	return strings.Join(leaf.DNSNames, ", ")
}

func (s *dialog) secure(c *tls.Config) error {
	for _, step := range []struct{ line, want string }{{"", "220"}, {"EHLO client.test", "250"}, {"STARTTLS", "220"}} {
		if reply, err := s.quiet(step.line); err != nil || !strings.HasPrefix(reply, step.want) {
			return fmt.Errorf("%q was answered %q, %w", step.line, reply, err)
		}
	}
	conn := tls.Client(s.conn, c)
	if err := conn.Handshake(); err != nil {
		return err
	}
	s.text = textproto.NewConn(conn)
	_, err := s.quiet("EHLO client.test")
	return err
}

// quiet says a line, or none, and returns the whole reply, its lines joined.
func (s *dialog) quiet(line string) (string, error) {
	if line != "" {
		if err := s.text.PrintfLine("%s", line); err != nil {
			return "", err
		}
	}
	code, text, err := s.text.ReadResponse(0)
	if code == 0 {
		return "", err
	}
	return fmt.Sprintf("%d %s", code, strings.ReplaceAll(text, "\n", " / ")), nil
}

// say shows a line and its reply.
func (s *dialog) say(line string) (string, error) {
	reply, err := s.quiet(line)
	s.out.say("     C: %s", line)
	s.out.say("     S: %s", reply)
	return reply, err
}

// expect says a line; the reply must begin with a code.
func (s *dialog) expect(line, code string) error {
	reply, err := s.say(line)
	if err == nil && !strings.HasPrefix(reply, code) {
		err = fmt.Errorf("%s was answered %q, not %s", line, reply, code)
	}
	return err
}

// send sends one message and returns the final reply.
func (s *dialog) send(from, to, message string) (string, error) {
	for _, step := range []struct{ line, want string }{
		{"MAIL FROM:<" + from + ">", "250"}, {"RCPT TO:<" + to + ">", "250"}, {"DATA", "354"},
	} {
		if err := s.expect(step.line, step.want); err != nil {
			return "", err
		}
	}
	w := s.text.DotWriter()
	if _, err := w.Write([]byte(message)); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	s.out.say("     C: (the message) .")
	reply, err := s.quiet("")
	s.out.say("     S: %s", reply)
	return reply, err
}

func (s *dialog) close() {
	s.quiet("QUIT") // a courtesy; the connection ends either way
	s.conn.Close()
}
