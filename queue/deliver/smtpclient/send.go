package smtpclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"dancemta/internal/mailaddr"
)

// blockSize is how much of a body is read and written at a time: two TLS
// records, large enough to make system calls rare.
const blockSize = 32 << 10

// Message is what Send takes.
type Message struct {
	Sender     mailaddr.Address   // zero: the null sender
	Recipients []mailaddr.Address // at least one
	Size       int64              // octets of the body, for SIZE (RFC 1870)
	EightBit   bool               // the body was declared as 8BITMIME
	// Open returns the body. It is called before anything is said, and twice
	// when the body must be searched for 8-bit text first.
	Open func() (io.ReadCloser, error)
}

// Send makes one transaction for all recipients. The slice has an entry for
// each: nil when the server has taken responsibility, with the reply accepted;
// else why not.
func (c *Client) Send(ctx context.Context, m Message) (accepted Reply, refused []*Error) {
	defer c.guard(ctx)()
	t := &transaction{Client: c, m: m, refused: make([]*Error, len(m.Recipients))}
	accepted, e := t.run(ctx)
	if e != nil {
		t.rest(e)
	}
	return accepted, t.refused
}

type transaction struct {
	*Client
	m         Message
	pipelined bool
	refused   []*Error
}

// rest gives e to all recipients that no other error has stopped yet.
func (t *transaction) rest(e *Error) {
	for i, have := range t.refused {
		if have == nil {
			t.refused[i] = e
		}
	}
}

func (t *transaction) alive() bool {
	for _, e := range t.refused {
		if e == nil {
			return true
		}
	}
	return false
}

// run makes the transaction: what can be known to be in vain is not begun; the
// body is opened; MAIL, RCPT and DATA, in one go where the server can; the body,
// or a lone dot when nobody wants it. Its error concerns all recipients left.
func (t *transaction) run(ctx context.Context) (accepted Reply, e *Error) {
	if t.broken {
		return Reply{}, lost(ctx, stepMAIL, errors.New("the session has ended"))
	}
	if e := t.fits(); e != nil {
		return Reply{}, e
	}
	body, err := t.m.Open()
	if err != nil {
		return Reply{}, ownFault(err)
	}
	defer body.Close()
	if e := t.reset(ctx); e != nil {
		return Reply{}, e
	}
	data, e := t.envelope(ctx)
	switch {
	case e != nil:
		return Reply{}, e
	case data.Code == 0: // not asked: no recipient is left
		return Reply{}, nil
	}
	if e := t.refusal(stepDATA, data, 3); e != nil {
		return Reply{}, e
	}
	if !t.alive() {
		t.loneDot(ctx)
		return Reply{}, nil
	}
	if e := t.send(ctx, body); e != nil {
		return Reply{}, e
	}
	return t.verdict(ctx)
}

// fits finds what the server said it cannot take.
func (t *transaction) fits() *Error {
	if limit, err := strconv.ParseInt(t.extensions["SIZE"], 10, 64); err == nil && limit > 0 && t.m.Size > limit {
		return &Error{Step: stepMAIL, Permanent: true, Status: "5.3.4",
			Err: fmt.Errorf("the message has %d octets and the server takes %d", t.m.Size, limit)}
	}
	if _, ok := t.Extension("8BITMIME"); ok || !t.m.EightBit {
		return nil
	}
	body, err := t.m.Open()
	if err != nil {
		return ownFault(err)
	}
	defer body.Close()
	switch needed, err := hasEightBit(body); {
	case err != nil:
		return ownFault(err)
	case needed: // RFC 6152 3: convert or return; converting would break signatures
		return &Error{Step: stepMAIL, Permanent: true, Status: "5.6.3",
			Err: errors.New("the message has 8-bit text and the server takes none")}
	}
	return nil
}

// ownFault is trouble of ours with the message: temporary, and no other host
// could help.
func ownFault(err error) *Error {
	return &Error{Step: stepBody, Err: fmt.Errorf("read the message: %w", err), Status: "4.3.0"}
}

// reset ends the transaction before, if it may still be open.
func (t *transaction) reset(ctx context.Context) *Error {
	if !t.open {
		return nil
	}
	code, lines, e := t.ask(ctx, "RSET", "RSET", t.limits.Mail)
	if e != nil {
		return e
	}
	if e := t.refusal("RSET", newReply(code, lines), 2); e != nil {
		t.broken = true
		return e.anywhere()
	}
	t.open = false
	return nil
}

// mailCommand and rcptCommand are the only places where addresses are written;
// mailaddr quotes them so that they cannot hold a parameter or a line end.
func (t *transaction) mailCommand() string {
	command := "MAIL FROM:<" + t.m.Sender.String() + ">"
	if _, ok := t.Extension("SIZE"); ok {
		command += " SIZE=" + strconv.FormatInt(t.m.Size, 10) // RFC 1870 6
	}
	if _, ok := t.Extension("8BITMIME"); ok && t.m.EightBit {
		command += " BODY=8BITMIME" // RFC 6152 2
	}
	return command
}

func rcptCommand(to mailaddr.Address) string { return "RCPT TO:<" + to.String() + ">" }

// envelope says MAIL, RCPT and DATA, all at once if the server can pipeline
// (RFC 2920 3.1), and returns the reply to DATA; none when DATA was not said.
func (t *transaction) envelope(ctx context.Context) (data Reply, e *Error) {
	if _, t.pipelined = t.Extension("PIPELINING"); t.pipelined {
		all := t.mailCommand() + "\r\n"
		for _, to := range t.m.Recipients {
			all += rcptCommand(to) + "\r\n"
		}
		if e := t.write(ctx, stepMAIL, all+"DATA\r\n", t.limits.Mail); e != nil {
			return Reply{}, e
		}
	}
	t.open = true
	mail, e := t.say(ctx, stepMAIL, t.mailCommand(), t.limits.Mail)
	if e != nil {
		return Reply{}, e
	}
	if e := t.refusal(stepMAIL, mail, 2); e != nil {
		t.rest(e)
		if t.broken || !t.pipelined {
			return Reply{}, nil
		}
	}
	for i, to := range t.m.Recipients {
		rcpt, e := t.say(ctx, stepRCPT, rcptCommand(to), t.limits.Rcpt)
		if e != nil {
			return Reply{}, e
		}
		if e := t.rcptRefusal(rcpt); e != nil && t.refused[i] == nil {
			t.refused[i] = e
		}
		if t.broken {
			return Reply{}, t.refused[i]
		}
	}
	if !t.pipelined && !t.alive() {
		return Reply{}, nil
	}
	return t.say(ctx, stepDATA, "DATA", t.limits.Data)
}

// say reads the reply to a command, which it writes unless it stands in the
// pipeline already.
func (t *transaction) say(ctx context.Context, step, command string, limit time.Duration) (Reply, *Error) {
	if !t.pipelined {
		if e := t.write(ctx, step, command+"\r\n", limit); e != nil {
			return Reply{}, e
		}
	}
	return t.read(ctx, step, limit)
}

// rcptRefusal judges the reply to RCPT. It concerns this recipient only.
func (t *transaction) rcptRefusal(r Reply) *Error {
	e := t.refusal(stepRCPT, r, 2)
	if e == nil || t.broken {
		return e
	}
	e.OtherHost = false
	if r.Code == 552 { // RFC 5321 4.5.3.1.10: old servers mean 452, too many recipients
		e.Permanent = false
	}
	return e
}

// loneDot ends a body that nobody wants: a server may say 354 although it
// refused all recipients (RFC 2920 3.1).
func (t *transaction) loneDot(ctx context.Context) {
	if code, _, e := t.ask(ctx, stepDot, ".", t.limits.Dot); e == nil && code/100 != 3 {
		t.open = false
		return
	}
	t.broken = true
}

// send writes the body. Whenever it cannot end it properly it cuts the
// connection, so that no server takes a part for the whole.
func (t *transaction) send(ctx context.Context, body io.Reader) *Error {
	if e := t.unasked(stepBody); e != nil {
		t.abort()
		return e
	}
	w := bufio.NewWriterSize(blockWriter{t.conn, t.limits.Block}, blockSize)
	dots := &dotWriter{w: w}
	buf := make([]byte, blockSize)
	for {
		n, rerr := body.Read(buf)
		if _, err := dots.Write(buf[:n]); err != nil {
			return t.cut(ctx, err)
		}
		if rerr == io.EOF {
			break
		}
		if rerr != nil {
			t.abort()
			return ownFault(rerr)
		}
	}
	if err := dots.finish(); err != nil {
		return t.cut(ctx, err)
	}
	if err := w.Flush(); err != nil {
		e := t.cut(ctx, err)
		return unanswered(e) // the dot may have left
	}
	return nil
}

// cut ends the connection within a body.
func (t *transaction) cut(ctx context.Context, err error) *Error {
	t.abort()
	if errors.Is(err, errLines) {
		return &Error{Step: stepBody, Err: err, Permanent: true, Status: "5.6.0"}
	}
	return lost(ctx, stepBody, err)
}

// verdict reads the reply to the final dot.
func (t *transaction) verdict(ctx context.Context) (Reply, *Error) {
	r, e := t.read(ctx, stepDot, t.limits.Dot)
	if e == nil {
		t.open = false
		if e = t.refusal(stepDot, r, 2); e == nil {
			return r, nil
		}
		e.OtherHost = false // it judged the message, not itself
	}
	if e.Reply.Code == 0 {
		unanswered(e)
	}
	return Reply{}, e
}

// unanswered marks an error after the final dot: the server may have taken the
// message (RFC 5321 4.5.3.2.6). To lose it would be worse than to send it twice,
// but not at once to the next host.
func unanswered(e *Error) *Error {
	e.Step, e.OtherHost = stepDot, false
	e.Err = fmt.Errorf("no proper reply, it may be delivered twice: %w", e.Err)
	return e
}
