package saslext_test

import (
	"errors"
	"testing"

	"github.com/emersion/go-sasl"

	"dancemta/saslext"
)

func TestServer(t *testing.T) {
	tests := []struct {
		name      string
		responses [][]byte // nil: no initial response
		want      string
		reason    saslext.Reason
	}{
		{"initial response, empty", [][]byte{{}}, "rick@example.org", 0},
		{"initial response", [][]byte{[]byte("Rick@example.org")}, "rick@example.org", 0},
		{"empty challenge, empty response", [][]byte{nil, {}}, "rick@example.org", 0},
		{"empty challenge, no response", [][]byte{nil, nil}, "rick@example.org", 0},
		{"empty challenge, response", [][]byte{nil, []byte("sales@example.org")}, "sales@example.org", 0},
		{"NUL", [][]byte{[]byte("rick@example.org\x00")}, "", saslext.BadAuthzid},
		{"other user", [][]byte{nil, []byte("eve@example.org")}, "", saslext.AuthzidDenied},
	}
	reply := errors.New("the reply")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &saslext.Authenticator{Verifier: &anchorer{}, Rules: rules{
				users: []string{"rick@example.org"}, acts: []string{"rick@example.org>sales@example.org"}}}
			calls := 0
			var got saslext.Login
			var gotErr error
			server := a.Server(t.Context(), credential(t, "rick", "example.org"), func(l saslext.Login, err error) error {
				calls++
				got, gotErr = l, err
				return reply
			})
			for _, r := range tt.responses[:len(tt.responses)-1] {
				challenge, done, err := server.Next(r)
				if challenge == nil || len(challenge) > 0 || done || err != nil || calls > 0 {
					t.Fatalf("challenge %q, %v, %v, %d calls; want an empty one", challenge, done, err, calls)
				}
			}
			challenge, done, err := server.Next(tt.responses[len(tt.responses)-1])
			if challenge != nil || !done || err != reply || calls != 1 { // as it is, not wrapped: go-smtp asserts the type
				t.Fatalf("end: %q, %v, %v, %d calls", challenge, done, err, calls)
			}
			var e *saslext.Error
			if errors.As(gotErr, &e); tt.reason != 0 && (e == nil || e.Reason != tt.reason) || got.Identity.String() != tt.want {
				t.Errorf("got %q, %v; want %q, %v", got.Identity, gotErr, tt.want, tt.reason)
			}
			if _, _, err := server.Next([]byte{}); !errors.Is(err, sasl.ErrUnexpectedClientResponse) || calls != 1 {
				t.Errorf("after the end: %v, %d calls", err, calls)
			}
		})
	}
}

func TestServerWithoutCallback(t *testing.T) {
	dns := &anchorer{}
	a := &saslext.Authenticator{Verifier: dns, Rules: rules{users: []string{"rick@example.org"}}}
	if _, _, err := a.Server(t.Context(), credential(t, "rick", "example.org"), nil).Next([]byte{}); err == nil || len(dns.asked) > 0 {
		t.Errorf("error %v, asked %v", err, dns.asked)
	}
}

func FuzzAuthzid(f *testing.F) {
	for _, s := range []string{"", "rick@example.org", "u:rick@example.org", "RICK@EXAMPLE.ORG", "rick@example.org\x00", "eve@example.org", "\u212a@a.b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, authzid []byte) {
		a := &saslext.Authenticator{Verifier: &anchorer{}, Rules: rules{users: []string{"rick@example.org"}}}
		login, err := a.Login(t.Context(), credential(t, "rick", "example.org"), string(authzid))
		var e *saslext.Error
		switch {
		case err == nil && login.Identity.ASCIIDomain() != "rick@example.org":
			t.Fatalf("%q made %q", authzid, login.Identity)
		case err != nil && (!errors.As(err, &e) || e.Reason != saslext.BadAuthzid && e.Reason != saslext.AuthzidDenied):
			t.Fatalf("%q: %v", authzid, err)
		}
	})
}
