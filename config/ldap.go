package config

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"dancemta/internal/dnsname"
)

// LDAP is the bridge from users who have proved themselves to a directory server, the
// [ldap] table. Its listeners are [[ldap_listener]] tables, and [[ldap_rule]] tables
// say who comes in.
type LDAP struct {
	// ldap.upstream (required): the directory servers, the one to be preferred first: as
	// "ldaps://host:636", as "ldap://host:389" (TLS begins by StartTLS before anything
	// else is said), or as "unix:/run/slapd/ldapi". They hear from us by SASL EXTERNAL,
	// and act for our users by proxied authorization (RFC 4370).
	Upstream []DirectoryServer `toml:"upstream"`
	// ldap.roots: a PEM file with the CAs at which the certificates of servers with TLS
	// must end, which must also have the host's name. Required for these.
	Roots Path `toml:"roots"`
	// ldap.certificate: a PEM file with the chain by which servers with TLS know us.
	// Required for these.
	Certificate Path `toml:"certificate"`
	// ldap.key: the PEM file with its private key. Both are read again on SIGHUP.
	Key Path `toml:"key"`
	// ldap.connections: to the directory servers, in all. A client has one for himself
	// from his first operation until he is idle: for 30 seconds, or for a moment while others wait. Default 200.
	Connections int `toml:"connections"`
	// ldap.connections_per_domain: how many of these the users of one domain keep busy at
	// once, so that no partner keeps the others out; further requests get busy (51). Whoever
	// is nobody counts as of one domain more. Default: three quarters of connections.
	PerDomain int `toml:"connections_per_domain"`
	// ldap.connection_wait: how long a client waits for one before he hears busy (51).
	// Default "5s".
	ConnectionWait Duration `toml:"connection_wait"`
	// ldap.idle_connections: how many are kept without a client. Default 8.
	IdleConnections int `toml:"idle_connections"`
	// ldap.connect_timeout: how long connecting to a server may take, its TLS and our
	// bind included. Default "10s".
	ConnectTimeout Duration `toml:"connect_timeout"`
	// ldap.reply_timeout: how long a server may say nothing while it owes a reply.
	// Default "5m".
	ReplyTimeout Duration `toml:"reply_timeout"`
	// ldap.reply_size: the largest reply (an entry) that is passed on. Default "16MiB".
	ReplySize Size `toml:"reply_size"`

	// ldap.naming_contexts: the suffixes that the root DSE names. Default: those that
	// the directory server shows to everybody.
	NamingContexts []string `toml:"naming_contexts"`
	// ldap.clients: connections of clients at once, in all. From three quarters on, those
	// who have not bound lose theirs after 10 seconds of silence. Default 4000.
	Clients int `toml:"clients"`
	// ldap.clients_per_address: of those, from one IPv4 address or one IPv6 network of 64
	// bits. Peers on this host are not counted. Default 500.
	ClientsPerAddress int `toml:"clients_per_address"`
	// ldap.clients_per_network: of those, from one network of 24 bits (IPv4) or 48 bits
	// (IPv6). Default 1000.
	ClientsPerNetwork int `toml:"clients_per_network"`
	// ldap.handshakes: TLS handshakes of clients at once. Default: half of clients.
	Handshakes int `toml:"handshakes"`
	// ldap.outstanding: operations of one client that have no reply yet. Default 64.
	Outstanding int `toml:"outstanding"`
	// ldap.request_size: the largest request, after a bind; before one 16 KiB are enough
	// for everybody. Default "256KiB".
	RequestSize Size `toml:"request_size"`
	// ldap.search_entries: entries that one search may bring, where the client does not
	// ask for fewer. Default: as the directory server says.
	SearchEntries int `toml:"search_entries"`
	// ldap.search_time: how long one search may take, in the same way; whole seconds.
	// Default: as the directory server says.
	SearchTime Duration `toml:"search_time"`
	// ldap.idle_timeout: how long a client that has bound may be silent. Default "15m".
	IdleTimeout Duration `toml:"idle_timeout"`
	// ldap.anonymous_timeout: how long one that has not may be. Default "1m".
	AnonymousTimeout Duration `toml:"anonymous_timeout"`
	// ldap.connection_time: how long a connection of a client may last. Default "1d".
	ConnectionTime Duration `toml:"connection_time"`
	// ldap.write_timeout: how long a client may take none of its replies. Default "1m".
	WriteTimeout Duration `toml:"write_timeout"`
}

// DirectoryServer is a server and how it is reached, as it was written.
type DirectoryServer string

const (
	ldapsScheme = "ldaps://"
	ldapScheme  = "ldap://"
	unixScheme  = unixHop
)

// UnmarshalText reads a scheme with host and port, or a path.
func (d *DirectoryServer) UnmarshalText(b []byte) error {
	v := DirectoryServer(b)
	if v.IsUnix() {
		if !filepath.IsAbs(v.Address()) || strings.ContainsRune(string(b), 0) {
			return fmt.Errorf("%q is no absolute path", v.Address())
		}
		*d = v
		return nil
	}
	if v.Address() == string(v) {
		return fmt.Errorf("%q does not say how the server is reached", b)
	}
	var p HostPort
	if err := p.UnmarshalText([]byte(v.Address())); err != nil {
		return err
	}
	*d = v
	return nil
}

// IsUnix tells a socket of this host.
func (d DirectoryServer) IsUnix() bool { return strings.HasPrefix(string(d), unixScheme) }

// IsTLS tells a port with TLS from the first octet from one that begins in clear.
func (d DirectoryServer) IsTLS() bool { return strings.HasPrefix(string(d), ldapsScheme) }

// Address is what to dial: host:port, or a path.
func (d DirectoryServer) Address() string {
	for _, scheme := range []string{ldapsScheme, ldapScheme, unixScheme} {
		if rest, ok := strings.CutPrefix(string(d), scheme); ok {
			return rest
		}
	}
	return string(d)
}

// Host is whom the certificate must name: a host in A-labels, or an IP address.
func (d DirectoryServer) Host() string {
	host, _, err := net.SplitHostPort(d.Address())
	if err != nil {
		return ""
	}
	if name, err := dnsname.ParseUnicode(host); err == nil && !isIP(host) {
		return name.String()
	}
	return host
}

// checkLDAP finds directory servers that could not be reached safely.
func checkLDAP(c *Config, f *faults) {
	if !f.index.has("ldap") {
		return
	}
	f.required("ldap.upstream", `the directory servers, such as ["ldaps://ldap.example.org:636"]`)
	if len(c.LDAP.Upstream) == 0 && f.index.has("ldap.upstream") && f.clean("ldap.upstream") {
		f.key("ldap.upstream", "names no server", `write for example ["ldaps://ldap.example.org:636"]`)
	}
	tls := false
	for _, s := range c.LDAP.Upstream {
		tls = tls || s != "" && !s.IsUnix()
	}
	for key, what := range map[string]string{
		"ldap.roots":       "a PEM file with the CAs that prove the directory servers",
		"ldap.certificate": "the file with the chain by which the directory servers know us",
		"ldap.key":         "the file with the certificate's private key",
	} {
		switch {
		case tls:
			f.required(key, what)
		case f.index.has(key) && len(c.LDAP.Upstream) > 0 && f.clean("ldap.upstream"):
			f.key(key, "no upstream would see it: all are sockets of this host", "drop it")
		}
	}
}
