package smtpclient

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"dancemta/internal/dialog"
)

// hellosTLS is the beginning of a session that begins TLS; what was offered
// before must not count.
const hellosTLS = `
	S: 220 mx
	C: EHLO mx.example.test
	S: 250-mx
	S: 250-AUTH EXTERNAL
	S: 250 STARTTLS
	C: STARTTLS
	S: 220 go
	TLS
	C: EHLO mx.example.test
	S: 250-mx
`

func TestAuthExternal(t *testing.T) {
	for _, c := range []struct {
		name, script, want string
		permanent, usable  bool
	}{
		{"taken", "S: 235 2.7.0 you are rick", "", false, true},
		{"refused", "S: 535 5.7.8 no", "AUTH: 535 5.7.8 no", true, true},
		{"DNS trouble", "S: 454 4.7.0 later", "AUTH: 454 4.7.0 later", false, true},
		{"asked once more", "S: 334 ", "AUTH: unexpected reply 334", false, false},
		{"taken by halves", "S: 354 go on", "AUTH: unexpected reply 354 go on", false, false},
		{"leaves", "S: 421 4.7.0 too often", "AUTH: 421 4.7.0 too often", false, false},
		{"gone", "DROP", "AUTH: the server closed the connection", false, false},
	} {
		end := quit
		if !c.usable {
			end = ""
		}
		s := connect(t, hellosTLS+"S: 250 AUTH PLAIN external\nC: AUTH EXTERNAL =\n"+c.script+end)
		if err := s.StartTLS(t.Context(), &tls.Config{InsecureSkipVerify: true}); err != nil {
			t.Fatal(err)
		}
		if !s.OffersExternal() {
			t.Errorf("%s: the offer was not seen", c.name)
		}
		got := ""
		err := s.AuthExternal(t.Context())
		if err != nil {
			got = err.Error()
		}
		e, _ := errors.AsType[*Error](err)
		if got != c.want || e != nil && e.Permanent != c.permanent || s.Usable() != c.usable {
			t.Errorf("%s: %q, usable %v; want %q", c.name, got, s.Usable(), c.want)
		}
		s.Quit(t.Context())
	}
}

func TestOffersExternal(t *testing.T) {
	for offer, want := range map[string]bool{
		"AUTH EXTERNAL": true, "auth plain external": true, "AUTH PLAIN EXTERNAL-X": false, "AUTH": false, "AUTH=EXTERNAL": false, "SIZE 1": false,
	} {
		c := connect(t, "S: 220 mx\nC: EHLO mx.example.test\nS: 250-mx\nS: 250 "+offer+quit)
		if got := c.OffersExternal(); got != want {
			t.Errorf("%s: %v", offer, got)
		}
		c.Quit(t.Context())
	}
}

// Nobody is logged in by a certificate that no TLS has shown.
func TestAuthInClear(t *testing.T) {
	c := connect(t, "S: 220 mx\nC: EHLO mx.example.test\nS: 250-mx\nS: 250 AUTH EXTERNAL"+quit)
	if err := c.AuthExternal(t.Context()); !errors.Is(err, errAuthInClear) {
		t.Error(err)
	}
	c.Quit(t.Context())
}

// TLS from the first octet: nothing is said before it, and what was said in clear
// is no greeting.
func TestImplicitTLS(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"good", "TLS\nS: 220 mx\nC: EHLO mx.example.test\nS: 250 AUTH EXTERNAL" + quit, ""},
		{"greeting in clear", "S: 220 mx\nBYTE\nDROP", "TLS: TLS failed: "},
		{"refused after the handshake", "TLS\nDROP", "TLS: TLS failed: "},
		{"refused in words", "TLS\nS: 554 5.7.1 go away", "greeting: 554 5.7.1 go away"},
	} {
		o := options
		o.TLS = &tls.Config{InsecureSkipVerify: true}
		s, err := New(t.Context(), dial(t, dialog.Serve(t, c.script)), o)
		if err == nil {
			s.Quit(t.Context())
			err = errors.New("")
		}
		if e, ok := errors.AsType[*Error](err); !strings.HasPrefix(err.Error(), c.want) || ok && e.Permanent {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		if strings.Contains(c.want, "TLS failed") != errors.Is(err, ErrHandshake) {
			t.Errorf("%s: ErrHandshake: %v", c.name, err)
		}
	}
}
