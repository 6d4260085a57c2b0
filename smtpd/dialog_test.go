package smtpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// patience bounds each step of a dialog; nothing here takes so long.
const patience = 20 * time.Second

// serve opens all listeners of w until the test ends.
func (w *world) serve() map[string]string {
	w.t.Helper()
	addrs := map[string]string{}
	served := make(chan error, len(w.opts.Listeners))
	for _, l := range w.opts.Listeners {
		ear, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		addrs[l.Name] = ear.Addr().String()
		go func() { served <- w.Serve(l.Name, ear) }()
	}
	w.t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what is still open is cut
		if err := w.Drain(ctx); err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("drain: %v", err)
		}
		for range w.opts.Listeners {
			if err := <-served; err != nil {
				w.t.Errorf("serve: %v", err)
			}
		}
	})
	return addrs
}

// dialog is a client that writes lines and reads replies.
type dialog struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, addr string) *dialog {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &dialog{t, conn, bufio.NewReader(conn)}
}

// open dials and reads the greeting.
func open(t *testing.T, addr string) *dialog {
	t.Helper()
	d := dial(t, addr)
	d.expect("", "220 ")
	return d
}

// openTLS dials, says EHLO, STARTTLS and EHLO; cert may be nil.
func openTLS(t *testing.T, addr string, cert *tls.Certificate) *dialog {
	t.Helper()
	d := open(t, addr)
	d.expect("EHLO peer.test", "250")
	d.expect("STARTTLS", "220 ")
	if err := d.secure(clientTLS(cert)); err != nil {
		t.Fatal(err)
	}
	d.expect("EHLO peer.test", "250")
	return d
}

func clientTLS(cert *tls.Certificate) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true} // who the server is, is not the matter here
	if cert != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return c
}

func (d *dialog) secure(c *tls.Config) error {
	conn := tls.Client(d.conn, c)
	if err := conn.Handshake(); err != nil {
		return err
	}
	d.conn, d.r = conn, bufio.NewReader(conn)
	return nil
}

// cmd sends a line and returns the whole reply, its lines joined by LF.
func (d *dialog) cmd(line string) string {
	if line != "" {
		fmt.Fprintf(d.conn, "%s\r\n", line)
	}
	return d.reply()
}

func (d *dialog) reply() string {
	var lines []string
	for {
		s, err := d.r.ReadString('\n')
		if err != nil {
			return strings.Join(append(lines, "! "+err.Error()), "\n")
		}
		s = strings.TrimRight(s, "\r\n")
		lines = append(lines, s)
		if len(s) < 4 || s[3] != '-' {
			return strings.Join(lines, "\n")
		}
	}
}

func (d *dialog) expect(line, want string) string {
	d.t.Helper()
	got := d.cmd(line)
	if !strings.HasPrefix(got, want) {
		d.t.Errorf("%s: %q, want %q", line, got, want)
	}
	return got
}

// send is a whole transaction by DATA; it returns the last reply.
func (d *dialog) send(from, to, body string) string {
	d.t.Helper()
	d.expect("MAIL FROM:<"+from+">", "250 ")
	d.expect("RCPT TO:<"+to+">", "250 ")
	d.expect("DATA", "354 ")
	return d.cmd(body + "\r\n.")
}
