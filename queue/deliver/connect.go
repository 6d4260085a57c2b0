package deliver

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"

	"dancemta/internal/dnsname"
	"dancemta/queue/deliver/smtpclient"
)

// sources are the addresses that connections come from, one for each family;
// invalid: as the system chooses.
type sources struct{ v4, v6 netip.Addr }

// dial connects. The addresses of names were found before, so that address is an
// IP address with its port, or a path.
func (s sources) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	if to, err := netip.ParseAddrPort(address); err == nil {
		from := s.v4
		if to.Addr().Is6() {
			from = s.v6
		}
		if from.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
	}
	return d.DialContext(ctx, network, address)
}

// connect reaches an address and says EHLO, or LHLO, over TLS from the first octet
// with implicit.
func (d *Deliverer) connect(ctx context.Context, t target, implicit *tls.Config) (*smtpclient.Client, error) {
	dialing, cancel := context.WithTimeout(ctx, d.o.Timeouts.Connect)
	defer cancel()
	network, address := "tcp", t.addr.String()
	if t.host.unix != "" {
		network, address = "unix", t.host.unix
	}
	conn, err := d.o.Dial(dialing, network, address)
	if err != nil {
		return nil, err
	}
	return smtpclient.New(ctx, conn, smtpclient.Options{Hostname: cmp.Or(t.host.hello, d.hello(t)), LMTP: t.host.lmtp, TLS: implicit, Timeouts: d.o.Timeouts})
}

// hello is our name for whoever sees us come from the address of a family: it should
// have the name, and the name it (RFC 5321 4.1.1.1).
func (d *Deliverer) hello(t target) dnsname.Name {
	switch to := t.addr.Addr(); {
	case !to.IsValid(): // a socket in the file system
		return d.o.Hello
	case to.Unmap().Is4():
		return d.o.Hello4
	default:
		return d.o.Hello6
	}
}

// enter makes a session with t and logs in where the route says so. The handshake
// is never nil.
func (d *Deliverer) enter(ctx context.Context, a *attempt, t target) (*smtpclient.Client, *handshake, error) {
	c, state, err := d.reach(ctx, a, t)
	if err != nil {
		return nil, state, err
	}
	if err := login(ctx, c, a.route.Auth); err != nil {
		c.Quit(ctx)
		return nil, state, err
	}
	return c, state, nil
}

// reach makes a session with t that meets what is demanded of its TLS.
func (d *Deliverer) reach(ctx context.Context, a *attempt, t target) (*smtpclient.Client, *handshake, error) {
	if t.host.unix != "" { // nobody else can be at its other end
		c, err := d.connect(ctx, t, nil)
		return c, &handshake{demand: demand{wanted: "unix"}}, err
	}
	dem, v := d.demandTLS(ctx, a.route, t.host, a.job.Envelope)
	if v != nil {
		return nil, &handshake{demand: dem}, refused{v}
	}
	c, state, err := d.session(ctx, a.job.ID, t, dem)
	if err == nil && state.verified() {
		c.MarkVerified()
	}
	return c, state, err
}

// refused is a verdict on a host that was not even called.
type refused struct{ *verdict }

func (r refused) Error() string { return r.text }

var errNoLogin = errors.New("the server does not offer the login that its route demands")

// login says who we are. Whatever the server thinks of it is temporary: mail is not
// lost by a password that was changed.
func login(ctx context.Context, c *smtpclient.Client, a Auth) error {
	var err error
	switch {
	case a.isNone():
		return nil
	case !offersLogin(c, a):
		err = &smtpclient.Error{Step: "AUTH", Err: errNoLogin, Status: statusNoLogin}
	case a.External:
		err = c.AuthExternal(ctx)
	default:
		err = c.AuthPlain(ctx, a.User, a.Password)
	}
	if e, ok := errors.AsType[*smtpclient.Error](err); ok {
		e.Permanent, e.OtherHost = false, true
	}
	return err
}

func offersLogin(c *smtpclient.Client, a Auth) bool {
	return a.isNone() || a.External && c.OffersExternal() || !a.External && c.OffersPlain()
}
