package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"dancemta/internal/dnsname"
	"dancemta/internal/pattern"
)

// RouteDomain is a domain, "*." before a domain, or "any".
type RouteDomain string

// UnmarshalText brings names to A-labels in lower case.
func (r *RouteDomain) UnmarshalText(b []byte) error {
	s := string(b)
	if s == pattern.Any {
		*r = RouteDomain(s)
		return nil
	}
	rest, starred := strings.CutPrefix(s, "*.")
	name, err := dnsname.ParseUnicode(rest)
	if err != nil {
		return err
	}
	if *r = RouteDomain(name.String()); starred {
		*r = "*." + *r
	}
	return nil
}

// Matches reports whether a destination, a domain in A-labels or an address
// literal, is meant.
func (r RouteDomain) Matches(destination string) bool {
	rest, starred := strings.CutPrefix(string(r), "*")
	switch {
	case r == pattern.Any:
		return true
	case starred: // whole labels, at least one, since rest begins with a dot
		return len(destination) > len(rest) && strings.HasSuffix(destination, rest)
	}
	return string(r) == destination
}

// Closeness orders those that match one destination: the more, the closer.
func (r RouteDomain) Closeness() int {
	switch {
	case r == pattern.Any:
		return 0
	case strings.HasPrefix(string(r), "*"):
		return len(r)
	}
	return maxCloseness
}

const maxCloseness = 1 << 10 // above the length of every name

// Hop is a next hop: host:port, [ip]:port, or unix: and the path of a socket.
type Hop string

const unixHop = "unix:"

// IsUnix reports whether h is a socket in the file system.
func (h Hop) IsUnix() bool { return strings.HasPrefix(string(h), unixHop) }

// UnmarshalText reads a HostPort, or a path.
func (h *Hop) UnmarshalText(b []byte) error {
	if path, ok := strings.CutPrefix(string(b), unixHop); ok {
		if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
			return fmt.Errorf("%q is no absolute path", path)
		}
		*h = Hop(b)
		return nil
	}
	var p HostPort
	if err := p.UnmarshalText(b); err != nil {
		return err
	}
	*h = Hop(p)
	return nil
}

// Protocol is what a next hop speaks.
type Protocol string

// The protocols.
const (
	SMTP Protocol = "smtp"
	LMTP Protocol = "lmtp"
)

var protocols = []Protocol{SMTP, LMTP}

// UnmarshalText accepts the known words only.
func (p *Protocol) UnmarshalText(b []byte) error { return oneOf(p, b, protocols) }

// TLSDemand is what a destination's TLS must be.
type TLSDemand string

// The values of tls in a route.
const (
	TLSMay      TLSDemand = "may"
	TLSEncrypt  TLSDemand = "encrypt"
	TLSVerify   TLSDemand = "verify"
	TLSDANE     TLSDemand = "dane"
	TLSDANEOnly TLSDemand = "dane-only"
)

var tlsDemands = []TLSDemand{TLSMay, TLSEncrypt, TLSVerify, TLSDANE, TLSDANEOnly}

// UnmarshalText accepts the known words only.
func (t *TLSDemand) UnmarshalText(b []byte) error { return oneOf(t, b, tlsDemands) }

// Login is how we log in at a next hop.
type Login string

// The values of auth.
const (
	LoginPlain    Login = "plain"
	LoginExternal Login = "external"
)

var logins = []Login{LoginPlain, LoginExternal}

// UnmarshalText accepts the known words only.
func (l *Login) UnmarshalText(b []byte) error { return oneOf(l, b, logins) }

// Address is an IP address.
type Address struct{ netip.Addr }

// UnmarshalText refuses zones: they are names of this host's interfaces.
func (a *Address) UnmarshalText(b []byte) error {
	ip, err := netip.ParseAddr(string(b))
	if err != nil || ip.Zone() != "" || ip.IsUnspecified() {
		return fmt.Errorf("%q is no IP address of this host", b)
	}
	a.Addr = ip.Unmap()
	return nil
}

func checkRoutes(c *Config, f *faults) {
	seen := map[string]string{}
	for i, r := range c.Routes {
		path := fmt.Sprintf("route[%d]", i)
		f.required(path+".domain", `a domain, "*.example.org" or "any"`)
		if r.Domain != "" {
			f.unique(seen, string(r.Domain), path+".domain", "write each domain once")
		}
		if len(r.NextHop) == 0 && f.index.has(path+".next_hop") && f.clean(path+".next_hop") {
			f.key(path+".next_hop", "is empty", "write where the mail goes, or drop the key for the MX hosts")
		}
		checkClientIdentity(f, path)
		checkRouteHops(f, path, r)
		checkRouteTLS(f, path, r)
		checkRouteLogin(f, path, r)
	}
}

// checkRouteHops finds what only next hops can do, and what these cannot.
func checkRouteHops(f *faults, path string, r Route) {
	if len(r.NextHop) == 0 && f.clean(path+".next_hop") {
		for _, key := range []string{"protocol", "implicit_tls", "roots", "auth"} {
			if f.index.has(path + "." + key) {
				f.key(path+"."+key, "needs next_hop: it is not for hosts that DNS names", "add next_hop, or drop "+key)
			}
		}
	}
	for _, h := range r.NextHop {
		switch {
		case r.Protocol == LMTP && strings.HasSuffix(string(h), ":25") && !h.IsUnix(): // RFC 2033 5
			f.key(path+".next_hop", fmt.Sprintf("%q: LMTP must not use port 25", h), `write the port of the LMTP server, often 24`)
		case h.IsUnix():
			for _, key := range []string{"tls", "implicit_tls", "roots", "auth", "client_certificate"} {
				if f.index.has(path + "." + key) {
					f.key(path+"."+key, fmt.Sprintf("has no meaning for %q", h), "drop "+key+", or write a host and a port")
				}
			}
		}
	}
}

// checkRouteTLS finds demands that contradict each other.
func checkRouteTLS(f *faults, path string, r Route) {
	cert := f.index.has(path + ".client_certificate")
	switch {
	case r.TLS == TLSMay && (r.ImplicitTLS || cert):
		f.key(path+".tls", `"may" means that mail may go in clear, and implicit_tls and client_certificate that it never does`, `write "encrypt" or better, or drop tls`)
	case r.TLS == TLSMay && r.Auth != "", r.TLS == TLSEncrypt && r.Auth == LoginPlain, r.TLS == TLSDANE && r.Auth == LoginPlain:
		f.key(path+".tls", fmt.Sprintf("%q does not prove the server that we log in at", r.TLS), `write "verify" or "dane-only"`)
	}
	if r.TLS != TLSVerify && r.TLS != "" && f.index.has(path+".roots") {
		f.key(path+".roots", fmt.Sprintf("is not read with tls = %q", r.TLS), `write tls = "verify", or drop roots`)
	}
}

// checkRouteLogin finds logins without what they log in by.
func checkRouteLogin(f *faults, path string, r Route) {
	for _, key := range []string{"user", "password_file"} {
		has := f.index.has(path + "." + key)
		switch {
		case r.Auth == LoginPlain && !has:
			f.key(path+"."+key, `missing, and auth is "plain"`, "add "+key)
		case r.Auth != LoginPlain && has:
			f.key(path+"."+key, `is not read without auth = "plain"`, `write auth = "plain", or drop `+key)
		}
	}
	if r.Auth == LoginPlain && r.User == "" && f.index.has(path+".user") && f.clean(path+".user") {
		f.key(path+".user", "is empty", "write the name to log in by")
	}
	if r.Auth == LoginExternal && !f.index.has(path+".client_certificate") {
		f.key(path+".auth", `"external" logs in by client_certificate, which is missing`, "add client_certificate and client_key")
	}
}

func checkSources(c *Config, f *faults) {
	if a := c.Delivery.SourceIPv4; a.IsValid() && !a.Is4() {
		f.key("delivery.source_ipv4", fmt.Sprintf("%v is of IPv6", a), "write an IPv4 address of this host")
	}
	if a := c.Delivery.SourceIPv6; a.IsValid() && !a.Is6() {
		f.key("delivery.source_ipv6", fmt.Sprintf("%v is of IPv4", a), "write an IPv6 address of this host")
	}
}
