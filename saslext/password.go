package saslext

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-sasl"
	"golang.org/x/text/secure/precis"

	"dancemta/internal/dnsname"
)

// Password is a secret that no format, log line or error text shows.
type Password struct{ text string }

// maxPassword is far beyond what people type and programs make; slapd takes more,
// and hashes all of it.
const maxPassword = 1024

// NewPassword takes a password as it was sent, in the form of RFC 8265 4.2. An empty
// one is an error: an LDAP bind with it is no proof of anything, and succeeds (RFC 4513
// 5.1.2).
func NewPassword(text string) (Password, error) {
	switch {
	case text == "":
		return Password{}, errors.New("the password is empty")
	case len(text) > maxPassword:
		return Password{}, fmt.Errorf("the password is over %d octets", maxPassword)
	case !utf8.ValidString(text):
		return Password{}, errors.New("the password is not UTF-8")
	}
	normal, err := precis.OpaqueString.String(text)
	if err != nil || normal == "" { // the library's text might quote what it refuses
		return Password{}, errors.New("the password has characters that no password has")
	}
	return Password{normal}, nil
}

// Reveal returns the secret, for whoever checks it.
func (p Password) Reveal() string { return p.text }

// Format writes stars for every verb.
func (p Password) Format(s fmt.State, _ rune) { fmt.Fprint(s, "***") }

// LogValue is the same for logs.
func (p Password) LogValue() slog.Value { return slog.StringValue("***") }

// ErrPassword says that a password is not the user's, or that there is no such user:
// nobody is told which.
var ErrPassword = errors.New("no such user with this password")

// PasswordChecker knows the passwords of users.
type PasswordChecker interface {
	// CheckPassword returns nil when password is id's, ErrPassword when it is not or
	// when there is no id. Any other error says that this cannot be known now.
	CheckPassword(ctx context.Context, id Identity, password Password) error
}

const (
	// maxLogin is that of a name and a password with room to spare (RFC 4616 2).
	maxLogin = 2*maxText + maxPassword
	// passwordTime is how long a password proves its user: as long as a certificate at
	// the most. It is not kept, so that the client must log in anew.
	passwordTime = time.Hour
)

// PasswordAuthenticator logs users in by SASL PLAIN (RFC 4616). It is safe for
// concurrent use. What is nil refuses, or knows nothing.
type PasswordAuthenticator struct {
	Domains map[dnsname.Name]bool // whose users have passwords; in no other a password proves anything
	Checker PasswordChecker
	Rules   Rules
	// Rate takes one try from those that a user, as he was named, may still have now.
	Rate func(id Identity) bool
	Now  func() time.Time // nil: time.Now
}

// message is the one that a client sends.
type message struct{ authzid, authcid, password string }

// parsePlain reads authzid NUL authcid NUL passwd.
func parsePlain(response []byte) (message, bool) {
	parts := bytes.Split(response, []byte{0})
	if len(response) > maxLogin || len(parts) != 3 || !utf8.Valid(response) { // RFC 4616 2: no further NUL
		return message{}, false
	}
	return message{string(parts[0]), string(parts[1]), string(parts[2])}, true
}

// Login logs in whoever a PLAIN message names. Every error is an *Error.
//
// The order matters. What costs nothing comes first, and the rate before everything
// that differs between users, so that it tells nobody which there are. A user whom no
// rule allows costs the directory nothing. Only who is proved learns whether he may act
// as another.
func (a *PasswordAuthenticator) Login(ctx context.Context, response []byte) (Login, error) {
	m, ok := parsePlain(response)
	if !ok {
		return Login{}, &Error{Reason: BadMessage}
	}
	wanted, err := wantedBy(m.authzid)
	if err != nil {
		return Login{}, err
	}
	id, err := ParseIdentity(m.authcid)
	switch {
	case err != nil:
		return Login{}, &Error{Reason: BadIdentity, Err: err}
	case !a.Domains[id.Domain]:
		return Login{}, &Error{Reason: NoPasswords, Authenticated: id} // RFC 4954 6: its reply tells of the domain alone
	case a.Rate == nil || !a.Rate(id):
		return Login{}, &Error{Reason: TooManyTries, Authenticated: id}
	case a.Rules == nil || !a.Rules.AllowsUser(id):
		return Login{}, &Error{Reason: NotAllowed, Authenticated: id}
	}
	if err := a.check(ctx, id, m.password); err != nil {
		return Login{}, err
	}
	return Login{Identity: id, Authenticated: id, Until: a.now().Add(passwordTime)}.as(wanted, a.Rules)
}

// check asks whether the password is the user's. Only ErrPassword is a refusal.
func (a *PasswordAuthenticator) check(ctx context.Context, id Identity, text string) error {
	password, err := NewPassword(text)
	if err != nil {
		return &Error{Reason: BadPassword, Authenticated: id, Err: err}
	}
	if a.Checker == nil {
		return &Error{Reason: Unchecked, Authenticated: id, Err: errors.New("nobody knows passwords")}
	}
	err = a.Checker.CheckPassword(ctx, id, password)
	switch {
	case errors.Is(err, ErrPassword):
		return &Error{Reason: BadPassword, Authenticated: id, Err: err}
	case err != nil:
		return &Error{Reason: Unchecked, Authenticated: id, Err: err}
	}
	return nil
}

func (a *PasswordAuthenticator) now() time.Time {
	if a.Now == nil {
		return time.Now()
	}
	return a.Now()
}

// Server returns the PLAIN exchange of one AUTH command; done as for Authenticator.Server.
// sasl.NewPlainServer words the refusal of a malformed message itself.
func (a *PasswordAuthenticator) Server(ctx context.Context, done func(Login, error) error) sasl.Server {
	return &exchange{login: func(response []byte) error {
		if done == nil {
			return errNoCallback
		}
		login, err := a.Login(ctx, response)
		return done(login, err)
	}}
}
