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

// errNoTLS: a host to which we are to show a certificate.
var errNoTLS = errors.New("the server offers no TLS, and its route has a client_certificate")

// visit talks to one address: connect, TLS when offered, then transactions for
// the open recipients, maxTransaction at a time. Recipients that the host has
// answered for are settled; the others stay open for the next address.
func (d *Deliverer) visit(ctx context.Context, a *attempt, t target) {
	c, err := d.session(ctx, a, t)
	if err != nil {
		a.note(new(hostVerdict(t, err)))
		return
	}
	defer c.Quit(ctx)
	var open []int
	for chunk := range slices.Chunk(a.open, maxTransaction) {
		accepted, refused := c.Send(ctx, a.message(chunk))
		for n, i := range chunk {
			switch e := refused[n]; {
			case e == nil:
				a.set(i, verdict{queue.Delivered, accepted.EnhancedStatus(), accepted.String(), t.host.String()})
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

// session connects and begins TLS when the server offers it. When TLS fails,
// the same host gets one more chance in clear: whoever could break TLS could
// have hidden the offer too (RFC 7435 3).
func (d *Deliverer) session(ctx context.Context, a *attempt, t target) (*smtpclient.Client, error) {
	c, err := d.connect(ctx, t)
	if err != nil {
		return nil, err
	}
	if t.host.certificate != nil {
		return d.identified(ctx, c, t)
	}
	if _, offered := c.Extension("STARTTLS"); !offered {
		return c, nil
	}
	err = c.StartTLS(ctx, d.tlsConfig(t))
	switch {
	case err == nil, c.Usable(): // Usable: it took the offer back, in words
		return c, nil
	case errors.Is(err, smtpclient.ErrHandshake):
		c.Close()
		maillog.TLSFailed(d.o.Logger, string(a.job.ID), t.String(), err)
		return d.connect(ctx, t)
	}
	c.Close()
	return nil, err
}

// identified begins TLS where we show who we are. In clear the host would take us
// for a stranger and refuse for good what is only to be tried again.
func (d *Deliverer) identified(ctx context.Context, c *smtpclient.Client, t target) (*smtpclient.Client, error) {
	err := error(&smtpclient.Error{Step: "EHLO", Err: errNoTLS, Status: statusNoTLS, OtherHost: true})
	if _, offered := c.Extension("STARTTLS"); offered {
		err = c.StartTLS(ctx, d.tlsConfig(t))
	}
	if err == nil {
		return c, nil
	}
	c.Quit(ctx)
	return nil, err
}

func (d *Deliverer) connect(ctx context.Context, t target) (*smtpclient.Client, error) {
	dialing, cancel := context.WithTimeout(ctx, d.o.Timeouts.Connect)
	defer cancel()
	conn, err := d.o.Dial(dialing, "tcp", t.addr.String())
	if err != nil {
		return nil, err
	}
	return smtpclient.New(ctx, conn, smtpclient.Options{Hostname: d.o.Hostname, Timeouts: d.o.Timeouts})
}

// tlsConfig verifies nothing: the alternative would be plaintext (RFC 7435 3).
func (d *Deliverer) tlsConfig(t target) *tls.Config {
	c := &tls.Config{ServerName: t.host.name.String(), InsecureSkipVerify: true}
	if show := t.host.certificate; show != nil {
		c.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if r.Version < tls.VersionTLS13 {
				return new(tls.Certificate), nil // it would travel in clear
			}
			return show(r)
		}
	}
	return c
}
