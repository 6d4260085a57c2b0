package smtpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// The steps of a session, as errors name them.
const (
	stepTLS      = "TLS"
	stepGreeting = "greeting"
	stepEHLO     = "EHLO"
	stepSTARTTLS = "STARTTLS"
	stepAUTH     = "AUTH"
	stepMAIL     = "MAIL"
	stepRCPT     = "RCPT"
	stepDATA     = "DATA"
	stepBody     = "message"
	stepDot      = "end of message"
)

// Error says why a session or a recipient came to nothing. The zero Permanent
// means temporary: what nobody stated can be tried again.
type Error struct {
	Step      string // "greeting", "EHLO", "MAIL", "end of message" …
	Reply     Reply  // of the server; zero when it gave none that counts
	Err       error  // what happened instead of a reply
	Permanent bool   // this message is refused for good
	OtherHost bool   // another host of the same destination may do better at once
	Status    string // enhanced status code of our own finding; "" with a Reply
}

// Error says what went wrong; the reply is part of it.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Step + ": " + e.Reply.String()
	}
	return e.Step + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// EnhancedStatus returns a code (RFC 3463) whose class agrees with Permanent,
// whatever the server wrote.
func (e *Error) EnhancedStatus() string {
	status := e.Status
	if status == "" {
		status = e.Reply.EnhancedStatus()
	}
	if e.Permanent {
		return "5" + status[1:]
	}
	return "4" + status[1:]
}

// TooMany reports whether the server wants this recipient in a further
// transaction, or wants him later (RFC 5321 4.5.3.1.10). A mailbox that is full
// (RFC 3463 3.3) is not meant.
func (e *Error) TooMany() bool {
	return e.Step == stepRCPT && (e.Reply.Code == 452 || e.Reply.Code == 552) && !strings.HasSuffix(e.Reply.Status, ".2.2")
}

// Judged reports whether the server has spoken of the message or the recipient,
// rather than of itself.
func (e *Error) Judged() bool {
	return e.Reply.Code != 0 && e.Reply.Code != 421 && slices.Contains([]string{stepMAIL, stepRCPT, stepDATA, stepBody, stepDot}, e.Step)
}

// anywhere turns an error of the host, met before any transaction, into a
// temporary one: another host may think otherwise (RFC 5321 3.1).
func (e *Error) anywhere() *Error {
	e.Permanent, e.OtherHost = false, true
	return e
}

// lost describes a connection that gave no answer.
func lost(ctx context.Context, step string, err error) *Error {
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errors.New("no answer in time")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("the server closed the connection")
	}
	return &Error{Step: step, Err: err, Status: "4.4.2", OtherHost: true}
}

// refusal judges a reply whose first digit should be want (RFC 5321 4.3.2: only
// that digit counts). 0 is never right. Codes that make no sense here mean that
// we and the server have lost step.
func (c *Client) refusal(step string, r Reply, want int) *Error {
	switch class := r.Code / 100; {
	case class == want:
		return nil
	case class == 4:
		return &Error{Step: step, Reply: r, OtherHost: true}
	case class == 5:
		return &Error{Step: step, Reply: r, Permanent: true}
	}
	c.broken = true
	return &Error{Step: step, Err: fmt.Errorf("unexpected reply %s", r), Status: "4.5.0", OtherHost: true}
}
