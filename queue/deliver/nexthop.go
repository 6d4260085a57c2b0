package deliver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"dancemta/internal/dnsname"
)

// Route is what the operator says of a destination. The zero value: its MX
// hosts, as DNS names them.
type Route struct {
	// Version changes whenever what the operator says does: a connection made under
	// another one is not used again.
	Version uint64
	// Hosts are its next hops as "host:port", "[ip]:port" or "unix:/path", in order;
	// none: its MX hosts.
	Hosts []string
	// LMTP is spoken with Hosts (RFC 2033).
	LMTP bool
	// TLS is demanded of Hosts or MX hosts.
	TLS TLSPolicy
	// ImplicitTLS: with Hosts it begins with the first octet (RFC 8314 3).
	ImplicitTLS bool
	// Roots decide on certificates where PKIX does; nil: the system's.
	Roots *x509.CertPool
	// Certificate is our own as a client of Hosts, and of no others: whoever a
	// stranger's MX names need not know who we are. Under it mail is sent over TLS
	// or not at all. nil: none is shown.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// Auth is how we log in at Hosts.
	Auth Auth
	// Hello is our name in EHLO; zero: that of the Deliverer.
	Hello dnsname.Name
}

// Auth says how we log in. The zero value: not at all. It hides itself from
// everything that prints.
type Auth struct {
	External       bool // by Certificate
	User, Password string
}

// String shows no password.
func (a Auth) String() string {
	switch {
	case a.External:
		return "external"
	case a.User != "":
		return "plain"
	}
	return "none"
}

// GoString shows no password either.
func (a Auth) GoString() string { return a.String() }

func (a Auth) isNone() bool { return !a.External && a.User == "" }

// unixHop begins a next hop that is a socket in the file system.
const unixHop = "unix:"

var (
	errLMTPPort = errors.New("LMTP is not for port 25, which is the Internet's (RFC 2033 5)")
	errUnixTLS  = errors.New("a Unix socket has neither TLS nor a login")
)

// configured reads next hops. What cannot be read was let through by our own
// configuration, so it defers: mail is not lost by a slip of the pen.
func configured(r Route) (groups []group, v *verdict) {
	for _, hop := range r.Hosts {
		h, err := parseHop(hop, r)
		if err != nil {
			return nil, &verdict{status: statusConfig, text: "next hop " + err.Error()}
		}
		groups = append(groups, group{h})
	}
	return groups, nil
}

// parseHop reads one next hop of a route.
func parseHop(hop string, r Route) (host, error) {
	h := host{configured: true, lmtp: r.LMTP, implicit: r.ImplicitTLS, certificate: r.Certificate}
	if path, ok := strings.CutPrefix(hop, unixHop); ok {
		if h.unix = path; r.ImplicitTLS || r.Certificate != nil || !r.Auth.isNone() {
			return host{}, fmt.Errorf("%q: %w", hop, errUnixTLS)
		}
		return h, nil
	}
	name, port, err := net.SplitHostPort(hop)
	if err != nil {
		return host{}, err
	}
	if h.port, err = strconv.Atoi(port); err != nil || h.port < 1 || h.port > 65535 {
		return host{}, fmt.Errorf("%q: no such port", hop)
	}
	if h.lmtp && h.port == smtpPort {
		return host{}, fmt.Errorf("%q: %w", hop, errLMTPPort)
	}
	if h.addr, err = netip.ParseAddr(name); err == nil {
		return h, nil
	}
	h.name, err = dnsname.ParseUnicode(name)
	h.from = origin{domain: h.name, secure: true}
	return h, err
}
