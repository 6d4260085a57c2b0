package smtpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// blockSize is how much of a body is read and written at a time: two TLS
// records, large enough to make system calls rare.
const blockSize = 32 << 10

// Result is what became of a message for one recipient.
type Result struct {
	Reply Reply  // of the server that has taken responsibility
	Err   *Error // why it has not; nil: it has
}

// Send makes one transaction and returns a result for each recipient, in order.
// It may be called again while Usable.
func (c *Client) Send(ctx context.Context, m Message) []Result {
	defer c.guard(ctx)()
	c.until = time.Time{} // what was before has ended
	t := &transaction{Client: c, m: m, results: make([]Result, len(m.Recipients))}
	if e := t.run(ctx); e != nil {
		t.rest(e)
	}
	return t.results
}

type transaction struct {
	*Client
	m         Message
	utf8      bool // SMTPUTF8 is said
	pipelined bool // the command that say is asked for was written before
	accepted  int  // RCPTs answered by 2xx
	results   []Result
}

// waits reports whether nothing is settled for a recipient.
func (r Result) waits() bool { return r.Err == nil && r.Reply.Code == 0 }

// rest gives e to all recipients for whom nothing is settled yet.
func (t *transaction) rest(e *Error) {
	for i := range t.results {
		if t.results[i].waits() {
			t.results[i].Err = e
		}
	}
}

func (t *transaction) alive() bool {
	for _, r := range t.results {
		if r.waits() {
			return true
		}
	}
	return false
}

// run makes the transaction: what can be known to be in vain is not begun; the
// body is opened; MAIL and RCPT, in one go where the server can; the body by BDAT
// or DATA. Its error concerns all recipients left.
func (t *transaction) run(ctx context.Context) *Error {
	if t.broken {
		return lost(ctx, stepMAIL, errors.New("the session has ended"))
	}
	if e := t.fits(); e != nil {
		return e
	}
	body, err := t.m.Open()
	if err != nil {
		return ownFault(err)
	}
	defer body.Close()
	if e := t.reset(ctx); e != nil {
		return e
	}
	if t.m.AskOnly {
		return t.question(ctx)
	}
	if t.chunked() {
		return t.chunks(ctx, body)
	}
	return t.data(ctx, body)
}

// question says MAIL and RCPT and no more. The next transaction, or QUIT, ends this one.
func (t *transaction) question(ctx context.Context) *Error {
	if _, e := t.envelope(ctx, ""); e != nil {
		return e
	}
	for i := range t.results {
		if t.results[i].waits() {
			t.results[i].Reply = Reply{Code: 250, Text: "recipient accepted"}
		}
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

// envelope says MAIL and RCPT and then last, which is "DATA" or nothing, all at
// once if the server can pipeline (RFC 2920 3.1): the answers to MAIL and RCPT
// settle the recipients, the one to last is for the caller to read. It returns
// false when nothing was said that is still to be answered.
func (t *transaction) envelope(ctx context.Context, last string) (more bool, e *Error) {
	t.open = true
	t.mails++
	t.until = time.Now().Add(t.limits.Mail + several(t.limits.Rcpt, len(t.m.Recipients)))
	defer func() { t.until = time.Time{} }()
	if t.pipelined = t.offers(extPipelining); t.pipelined {
		all := t.mailCommand() + "\r\n"
		for _, to := range t.m.Recipients {
			all += t.rcptCommand(to) + "\r\n"
		}
		if e := t.write(ctx, stepMAIL, all+last, t.limits.Mail); e != nil {
			return false, e
		}
	}
	mail, e := t.say(ctx, stepMAIL, t.mailCommand(), t.limits.Mail)
	if e != nil {
		return false, e
	}
	if e := t.refusal(stepMAIL, mail, 2); e != nil {
		t.rest(e)
		if t.broken || !t.pipelined {
			return false, nil
		}
	}
	for i, to := range t.m.Recipients {
		if e := t.rcpt(ctx, i, to); e != nil {
			return false, e
		}
	}
	return t.alive() || t.pipelined && last != "", nil
}

// rcpt settles one recipient, if he is refused. Its error ends the session.
func (t *transaction) rcpt(ctx context.Context, i int, to Recipient) *Error {
	reply, e := t.say(ctx, stepRCPT, t.rcptCommand(to), t.limits.Rcpt)
	if e != nil {
		return e
	}
	e = t.rcptRefusal(reply)
	switch {
	case t.broken:
		return e
	case e == nil:
		t.accepted++
	case t.results[i].waits():
		t.results[i].Err = e
	}
	return nil
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

// data sends the body by DATA, or a lone dot when nobody wants it.
func (t *transaction) data(ctx context.Context, body io.Reader) *Error {
	more, e := t.envelope(ctx, "DATA\r\n")
	if e != nil || !more {
		return e
	}
	data, e := t.say(ctx, stepDATA, "DATA", t.limits.Data)
	if e == nil {
		e = t.refusal(stepDATA, data, 3)
	}
	switch {
	case e != nil:
		return e
	case !t.alive():
		t.loneDot(ctx)
		return nil
	}
	if e := t.send(ctx, body); e != nil {
		return e
	}
	return t.verdicts(ctx)
}

// loneDot ends a body that nobody wants: a server may say 354 although it
// refused all recipients (RFC 2920 3.1). How many answers an LMTP server gives
// then, nobody knows, so that session is over.
func (t *transaction) loneDot(ctx context.Context) {
	if t.lmtp {
		t.abort()
		return
	}
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
	buf, w := t.buffers()
	lines := &lineWriter{w: w}
	for {
		n, rerr := body.Read(buf)
		if _, err := lines.Write(buf[:n]); err != nil {
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
	if err := lines.finish(); err != nil {
		return t.cut(ctx, err)
	}
	if err := w.Flush(); err != nil {
		e := t.cut(ctx, err)
		if e.Reply.Code == 0 {
			unanswered(e) // the dot may have left
		}
		return e
	}
	return nil
}

// cut ends the connection within a body. A server that has closed it may have said
// why, as when a message is too large for it.
func (t *transaction) cut(ctx context.Context, err error) *Error {
	defer t.abort()
	if errors.Is(err, errLines) {
		return &Error{Step: stepBody, Err: err, Permanent: true, Status: "5.6.0"}
	}
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return lost(ctx, stepBody, err) // it is there, and silent
	}
	switch r, e := t.read(ctx, stepBody, lastWord); {
	case e != nil && e.Reply.Code == 421:
		return e
	case e == nil && r.Code/100 >= 4:
		return &Error{Step: stepBody, Reply: r, Permanent: r.Code/100 == 5}
	}
	return lost(ctx, stepBody, err)
}

// lastWord is how long the word of a server that has closed is waited for: it has
// come, or will not.
const lastWord = time.Second

// verdicts reads what is said of a body that was sent to its end: one reply for
// all, or in LMTP one for each RCPT that was accepted, in their order
// (RFC 2033 4.2).
func (t *transaction) verdicts(ctx context.Context) *Error {
	if !t.lmtp {
		r, e := t.verdict(ctx)
		if e != nil {
			return e
		}
		for i := range t.results {
			if t.results[i].waits() {
				t.results[i].Reply = r
			}
		}
		return nil
	}
	t.until = time.Now().Add(several(t.limits.Dot, t.accepted))
	defer func() { t.until = time.Time{} }()
	for i := range t.results {
		if !t.results[i].waits() {
			continue
		}
		r, e := t.verdict(ctx)
		if t.broken {
			return e
		}
		t.results[i] = Result{Reply: r, Err: e}
	}
	return nil
}

// verdict reads one reply to the whole message.
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
