package deliver

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"

	"dancemta/internal/maillog"
	"dancemta/queue"
	"dancemta/queue/deliver/smtpclient"
)

// visit talks to one address: connect, TLS when offered, then transactions for
// the open recipients, maxTransaction at a time. Recipients that the host has
// answered for are settled; the others stay open for the next address.
func (d *Deliverer) visit(ctx context.Context, a *attempt, t target) {
	dem, v := d.demandTLS(ctx, d.o.Route(a.job.Destination), t.host, a.job.Envelope)
	if v != nil {
		a.note(v)
		return
	}
	c, tls, err := d.session(ctx, a.job.ID, t, dem)
	a.tls = tls.String()
	if err != nil {
		a.note(new(hostVerdict(t, err)))
		return
	}
	defer c.Quit(ctx)
	var open []int
	for chunk := range slices.Chunk(a.open, maxTransaction) {
		for n, r := range c.Send(ctx, a.message(chunk)) {
			i := chunk[n]
			switch e := r.Err; {
			case e == nil:
				a.set(i, verdict{queue.Delivered, r.Reply.EnhancedStatus(), r.Reply.String(), t.host.String()})
			case e.OtherHost:
				open = append(open, i)
				a.note(new(hostVerdict(t, e)))
			default:
				a.set(i, hostVerdict(t, e))
			}
		}
	}
	a.open = open
}

// hostVerdict says what err means for recipients.
func hostVerdict(t target, err error) verdict {
	var e *smtpclient.Error
	if !errors.As(err, &e) {
		return verdict{status: statusNoAnswer, text: "connect to " + t.String() + ": " + maillog.Clean(err.Error())}
	}
	v := verdict{status: e.EnhancedStatus()}
	if e.Permanent {
		v.result = queue.Failed
	}
	if e.Reply.Code != 0 {
		v.text, v.remote = e.Reply.String(), t.host.String()
	} else {
		v.text = t.String() + ": " + maillog.Clean(e.Error())
	}
	return v
}

// connect reaches an address and says EHLO, over TLS from the first octet with
// implicit.
func (d *Deliverer) connect(ctx context.Context, t target, implicit *tls.Config) (*smtpclient.Client, error) {
	dialing, cancel := context.WithTimeout(ctx, d.o.Timeouts.Connect)
	defer cancel()
	conn, err := d.o.Dial(dialing, "tcp", t.addr.String())
	if err != nil {
		return nil, err
	}
	return smtpclient.New(ctx, conn, smtpclient.Options{Hostname: d.o.Hostname, TLS: implicit, Timeouts: d.o.Timeouts})
}
