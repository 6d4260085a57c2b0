package milter

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/emersion/go-milter"
)

// Chain is the milters that one listener asks, in order.
type Chain []*Filter

// Transaction is a message on its way through a chain. Its methods must not overlap;
// Close ends it. It does not outlive the context of Begin.
type Transaction struct {
	peer Peer
	env  Envelope
	dir  string
	open []*conversation
	// Failed are the verdicts of milters that failed and whose failure lets mail pass,
	// since the last look: the caller writes them down and empties it.
	Failed []Verdict
}

// Begin tells each milter who the peer is and who sends. A verdict other than
// Continue ends the transaction.
func (c Chain) Begin(ctx context.Context, p Peer, e Envelope) (*Transaction, Verdict) {
	t := &Transaction{peer: p, env: e}
	for _, f := range c {
		t.dir = f.o.Dir
		conv, act, err := f.begin(ctx, p)
		if err != nil {
			if v, passes := t.failed(f, err); !passes {
				t.Close()
				return nil, v
			}
			continue
		}
		t.open = append(t.open, conv)
		v, err := conv.judge(act, nil)
		if err == nil && v.Action == Continue && !conv.done {
			v, err = conv.judge(conv.mail(p, e))
		}
		if v, goes := t.settle(conv, v, err); !goes {
			t.Close()
			return nil, v
		}
	}
	return t, Verdict{Action: Continue}
}

// judge is verdict for what a stage returned.
func (c *conversation) judge(act *milter.Action, err error) (Verdict, error) {
	if err != nil {
		return Verdict{}, err
	}
	return c.verdict(act)
}

// Rcpt asks about a recipient. Only he is refused by a verdict other than Continue,
// but for Discard, which means the message.
func (t *Transaction) Rcpt(to string) Verdict {
	for _, c := range slices.Clone(t.open) {
		if c.done {
			continue
		}
		v, err := c.judge(c.rcpt(t.env.ID, to))
		if v, goes := t.settle(c, v, err); !goes {
			return v
		}
	}
	return Verdict{Action: Continue}
}

// settle decides what a verdict or a failure means: true lets the mail go on.
func (t *Transaction) settle(c *conversation, v Verdict, err error) (Verdict, bool) {
	if err == nil {
		return v, v.Action == Continue
	}
	c.close()
	t.open = slices.DeleteFunc(t.open, func(o *conversation) bool { return o == c })
	return t.failed(c.filter, err)
}

// failed is settle for a milter that has failed.
func (t *Transaction) failed(f *Filter, err error) (Verdict, bool) {
	v := Verdict{Action: TempFail, Milter: f.Name(), Err: err}
	if !f.o.AcceptOnFailure {
		return v, false
	}
	v.Action = Continue
	t.Failed = append(t.Failed, v)
	return v, true
}

// Waits reports whether a milter is there that wants to see the message.
func (t *Transaction) Waits() bool {
	return t != nil && slices.ContainsFunc(t.open, func(c *conversation) bool { return !c.done })
}

// Message shows the message to the milters, each as the one before has left it. The
// message that comes out must be closed; it is nil with a verdict other than
// Continue. An error is one of in, of our disk, or ErrHeader, and not a milter's.
func (t *Transaction) Message(in io.Reader) (io.ReadCloser, Changes, Verdict, error) {
	m, err := readMessage(in, t.dir)
	if err != nil {
		return nil, Changes{}, Verdict{}, err
	}
	var all Changes
	for _, c := range slices.Clone(t.open) {
		if c.done {
			continue
		}
		v, err := c.edit(m, &all, t.env.ID)
		if v, goes := t.settle(c, v, err); !goes {
			m.body.Close()
			return nil, Changes{}, v, nil
		}
	}
	return filtered{m.reader(), m}, all, Verdict{Action: Continue}, nil
}

// edit lets one milter see and change the message. After an error it is as it was.
func (c *conversation) edit(m *message, all *Changes, id string) (Verdict, error) {
	act, wanted, body, err := c.message(id, m)
	v, err := c.judge(act, err)
	if err != nil || v.Action != Continue {
		if body != nil {
			err = errors.Join(err, body.Close())
		}
		return v, err
	}
	c.done = true
	e, err := m.apply(*all, c.session.ActionOpts, wanted)
	if err != nil {
		if body != nil {
			body.Close()
		}
		return v, err
	}
	m.fields, *all = e.fields, e.Changes
	if body != nil {
		m.body.Close()
		m.body, m.fresh = &body.spool, true
		all.Edited, all.EightBit = true, all.EightBit || body.eightBit
	}
	return v, nil
}

// filtered is a message as the milters have left it.
type filtered struct {
	io.Reader
	m *message
}

func (f filtered) Close() error { return f.m.body.Close() }

// Close ends the conversations.
func (t *Transaction) Close() {
	if t == nil {
		return
	}
	for _, c := range t.open {
		c.close()
	}
	t.open = nil
}
