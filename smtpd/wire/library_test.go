package wire

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emersion/go-smtp"

	player "dancemta/internal/dialog"
)

// TestLibraryAlone: what go-smtp does without the wire, and no RFC wants. These are
// failures that are expected; where one is gone, so may be the wire's part about it.
// What a peer meets instead is in smtpd/testdata/dialogs/library.txt.
func TestLibraryAlone(t *testing.T) {
	for _, c := range []struct{ what, script string }{
		{"RFC 5321 4.3.2: out of order is 503", "C: RCPT TO:<c@d>\nS: 502 5.5.1 Missing MAIL FROM command."},
		{"RFC 5321 4.1.1.11: an unknown parameter is 555", "C: MAIL FROM:<a@b> FUTURE\nS: 500 5.5.4 *"},
		{"a repeated parameter is malformed", "C: MAIL FROM:<a@b> SIZE=1 SIZE=2\nS: 250 2.0.0 *"},
		{"RFC 5321 2.3.8: only CRLF ends a line", "C! \"NOOP\\nNOOP\\r\\n\"\nS: 250 2.0.0 *\nS: 250 2.0.0 *"},
		{"RFC 5321 3.3: no MAIL within a transaction", "C: MAIL FROM:<a@b>\nR: 250\nC: MAIL FROM:<c@d>\nS: 250 2.0.0 *"},
		{"RFC 5321 4.5.3.1.6: longer lines may be taken", "C: MAIL FROM:<a@b>\nR: 250\nC: RCPT TO:<c@d>\nR: 250\nC: DATA\nR: 354\nC: " + strings.Repeat("x", 2001) + "\nR: 554\nR: 500"},
		{"RFC 5321 4.1.1.4: a lone LF is no line end in a message, either", "C: MAIL FROM:<a@b>\nR: 250\nC: RCPT TO:<c@d>\nR: 250\nC: DATA\nR: 354\nC! \"a\\nb\\r\\n.\\r\\n\"\nS: 250 2.0.0 *"},
		{"CR CRLF . CRLF ends no message and breaks none", "C: MAIL FROM:<a@b>\nR: 250\nC: RCPT TO:<c@d>\nR: 250\nC: DATA\nR: 354\nC! \"a\\r\\r\\n.\\r\\n\""},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return taker{}, nil }))
			s.Domain = "x"
			ours, theirs := net.Pipe()
			_ = s.Serve(&oneConn{conn: theirs})
			defer ours.Close()
			call := &player.Call{}
			call.Begin(ours)
			for line := range strings.Lines("R: 220\nC: EHLO x\nR: 250\n" + c.script) {
				if err := call.Line(strings.TrimSuffix(line, "\n")); err != nil {
					t.Errorf("%s: is it mended? %s: %v", c.what, line, err)
					break
				}
			}
			if err := call.End(); err != nil {
				t.Errorf("%s: is it mended? %v", c.what, err)
			}
		})
	}
}

// taker takes everything.
type taker struct{}

func (taker) Mail(string, *smtp.MailOptions) error { return nil }
func (taker) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (taker) Reset()                               {}
func (taker) Logout() error                        { return nil }
func (taker) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
