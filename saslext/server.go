package saslext

import (
	"context"
	"errors"

	"github.com/emersion/go-sasl"

	"dancemta/daneclient"
)

// Server returns the EXTERNAL exchange of one AUTH command. The result of Login
// goes to done, whose error is what Next returns, as it is: so the caller words
// every reply. ctx ends the look-ups of this exchange.
//
// It does what sasl.NewExternalServer does, but for one thing: that one refuses
// a NUL with an error of its own, past the caller.
func (a *Authenticator) Server(ctx context.Context, cred daneclient.Credential, done func(Login, error) error) sasl.Server {
	return External(func(authzid string) (Login, error) { return a.Login(ctx, cred, authzid) }, done)
}

var errNoCallback = errors.New("saslext: nobody takes the result")

// exchange is one of a single message from the client.
type exchange struct {
	login func(response []byte) error
	asked bool // the empty challenge is out
	ended bool
}

// Next takes the one response. A nil first response means that there was no
// initial response, which asks for an empty challenge; an empty one is a message of its
// own, to EXTERNAL the identity of the certificate (RFC 4422 appendix A).
func (e *exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	if e.ended {
		return nil, false, sasl.ErrUnexpectedClientResponse
	}
	if response == nil && !e.asked {
		e.asked = true
		return []byte{}, false, nil
	}
	e.ended = true
	return nil, true, e.login(response)
}
