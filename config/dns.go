package config

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dancemta/internal/dnsname"
)

// Upstream is a resolver and how it is asked, as it was written.
type Upstream string

const (
	overTLS = "tls://"
	byKey   = "sha256/"
)

// UnmarshalText reads IP:port, or a resolver over TLS with its name or the digest
// of its key. A host name in place of the address would need the resolver first.
func (u *Upstream) UnmarshalText(b []byte) error {
	v := Upstream(b)
	_, who, named := v.parts()
	if !v.Addr().IsValid() || v.OverTLS() != named {
		return fmt.Errorf("%q is no address of a resolver", b)
	}
	if digest, ok := strings.CutPrefix(who, byKey); ok {
		raw, err := base64.StdEncoding.DecodeString(digest)
		if err != nil || len(raw) != sha256.Size {
			return fmt.Errorf("%q: the digest of a key is SHA-256, in base64", b)
		}
	} else if named {
		if _, err := dnsname.Parse(who); err != nil || isIP(who) {
			return fmt.Errorf("%q: %q is no name of a resolver", b, who)
		}
	}
	*u = v
	return nil
}

func (u Upstream) parts() (addr, who string, named bool) {
	return strings.Cut(strings.TrimPrefix(string(u), overTLS), "#")
}

// Addr is its address, invalid without a port.
func (u Upstream) Addr() netip.Addr {
	text, _, _ := u.parts()
	a, err := netip.ParseAddrPort(text)
	if err != nil || a.Port() == 0 {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// OverTLS tells resolvers over TLS from those in clear.
func (u Upstream) OverTLS() bool { return strings.HasPrefix(string(u), overTLS) }

// ByName reports whether a certificate proves the resolver.
func (u Upstream) ByName() bool {
	_, who, named := u.parts()
	return named && !strings.HasPrefix(who, byKey)
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// Trust says who proves answers of the DNS.
type Trust string

// The values of dns.trust.
const (
	Validate Trust = "validate"
	AD       Trust = "ad"
)

var trusts = []Trust{Validate, AD}

// UnmarshalText accepts the known words only.
func (t *Trust) UnmarshalText(b []byte) error { return oneOf(t, b, trusts) }

const (
	maxUpstreams = 8
	maxSkew      = 5 * time.Minute // a clock that is further off is to be set
)

// stubs of systemd-resolved pass on what others say.
var stubs = map[netip.Addr]bool{
	netip.AddrFrom4([4]byte{127, 0, 0, 53}): true,
	netip.AddrFrom4([4]byte{127, 0, 0, 54}): true,
}

func checkDNS(c *Config, f *faults) {
	d := c.DNS
	// One of them may stand on a line of its own.
	upstreamsRight := !slices.ContainsFunc(f.list, func(e Error) bool { return e.Key == "dns.upstreams" })
	var overTLS, byName bool
	for _, u := range d.Upstreams {
		overTLS, byName = overTLS || u.OverTLS(), byName || u.ByName()
		if ip := u.Addr(); d.Trust == AD && (!ip.IsLoopback() || stubs[ip]) {
			f.key("dns.trust", fmt.Sprintf("%q needs resolvers on this host that validate, and %s is none", AD, u),
				`write "validate", or upstreams such as "127.0.0.1:53", which may not be 127.0.0.53`)
		}
	}
	switch {
	case len(d.Upstreams) > maxUpstreams:
		f.key("dns.upstreams", fmt.Sprintf("names more than %d resolvers", maxUpstreams), "drop those that are not needed")
	case len(d.Upstreams) == 0 && f.index.has("dns.upstreams") && upstreamsRight:
		f.key("dns.upstreams", "names no resolver", `write for example ["127.0.0.1:53"]`)
	}
	cert, key := f.index.has("dns.tls_certificate"), f.index.has("dns.tls_key")
	switch {
	case cert && !key:
		f.key("dns.tls_key", "missing", "add tls_key, the file with the certificate's private key")
	case key && !cert:
		f.key("dns.tls_certificate", "missing", "add tls_certificate, the file with the chain of the key")
	case cert && !overTLS && upstreamsRight:
		f.key("dns.tls_certificate", "no upstream would see it: none is over TLS", `write upstreams such as "tls://192.0.2.1:853#name", or drop tls_certificate and tls_key`)
	}
	if f.index.has("dns.tls_client_name") && !cert && !key {
		f.key("dns.tls_client_name", "the name alone proves nothing", "add tls_certificate and tls_key, or drop tls_client_name")
	}
	if f.index.has("dns.tls_roots") && !byName && upstreamsRight {
		f.key("dns.tls_roots", "is not used: no upstream is known by its name", `write upstreams such as "tls://192.0.2.1:853#name", or drop tls_roots`)
	}
	if d.ClockSkew.Duration > maxSkew {
		f.key("dns.clock_skew", fmt.Sprintf("%v is too much", d.ClockSkew), `write at most "5m", and set the clock`)
	}
}
