package config

import (
	"fmt"
	"strings"
)

// LDAPListener is one port of the LDAP bridge, an [[ldap_listener]] table. There is no
// bind but SASL EXTERNAL, with a certificate under TLS 1.3.
type LDAPListener struct {
	// name (required): how log lines call it. Unique, also among the listeners for mail.
	Name string `toml:"name"`
	// address (required): as in a [[listener]], such as ":389" or "127.0.0.1:636".
	Address ListenAddress `toml:"address"`
	// tls (required): "starttls" (port 389) or "implicit" (port 636, TLS from the first
	// octet).
	TLS LDAPTLS `toml:"tls"`
	// client_certificates: "ask" (asked for, not needed) or "require" (no TLS without one,
	// and none below TLS 1.3). Default "ask".
	ClientCertificates ClientCertificates `toml:"client_certificates"`
	// client_names: as in a [[listener]]: a user's certificate names him, and the
	// extension, where it is sent, must name "_user." with his domain.
	ClientNames []ClientName `toml:"client_names"`
	// dane_failure: as in a [[listener]].
	DANEFailure DANEFailure `toml:"dane_failure"`
	// anonymous: what clients without an identity may do: "root_dse" (read what the bridge
	// says of itself) or "read" (also search and compare at the directory server, as
	// nobody there). Default "root_dse".
	Anonymous LDAPAnonymous `toml:"anonymous"`
}

// LDAPTLS is how TLS begins.
type LDAPTLS string

// The words.
const (
	LDAPStartTLS LDAPTLS = "starttls"
	LDAPImplicit LDAPTLS = "implicit"
)

var ldapTLS = []LDAPTLS{LDAPStartTLS, LDAPImplicit}

// UnmarshalText accepts the known words only.
func (t *LDAPTLS) UnmarshalText(b []byte) error { return oneOf(t, b, ldapTLS) }

// LDAPAnonymous is what nobody may do.
type LDAPAnonymous string

// The words.
const (
	LDAPRootDSE LDAPAnonymous = "root_dse"
	LDAPRead    LDAPAnonymous = "read"
)

var ldapAnonymous = []LDAPAnonymous{LDAPRootDSE, LDAPRead}

// UnmarshalText accepts the known words only.
func (a *LDAPAnonymous) UnmarshalText(b []byte) error { return oneOf(a, b, ldapAnonymous) }

// defaultLDAPListeners fills in what is absent.
func (c *Config) defaultLDAPListeners() {
	for i := range c.LDAPListeners {
		l := &c.LDAPListeners[i]
		if l.ClientCertificates == "" {
			l.ClientCertificates = CertificatesAsk
		}
		if l.DANEFailure == "" {
			l.DANEFailure = Unauthenticated
		}
		if l.Anonymous == "" {
			l.Anonymous = LDAPRootDSE
		}
	}
}

// checkLDAPListeners finds ports of the bridge that lead nowhere, or let nobody in.
func checkLDAPListeners(c *Config, f *faults, names, addresses map[string]string) {
	for i, l := range c.LDAPListeners {
		path := fmt.Sprintf("ldap_listener[%d]", i)
		f.required(path+".name", "by which log lines call it")
		f.required(path+".address", `such as ":389"`)
		f.required(path+".tls", `"starttls" or "implicit"`)
		f.unique(names, l.Name, path+".name", "give each listener its own name")
		if !strings.HasSuffix(string(l.Address), ":0") {
			f.unique(addresses, string(l.Address), path+".address", "give each listener its own address")
		}
		if l.ClientCertificates == CertificatesOff {
			f.key(path+".client_certificates", `"off" lets nobody bind`, `write "ask" or "require"`)
		}
		if len(l.ClientNames) == 0 && f.index.has(path+".client_names") && f.clean(path+".client_names") {
			f.key(path+".client_names", "is empty", `write ["certificate"], or drop the key`)
		}
	}
	if len(c.LDAPListeners) == 0 {
		if f.index.has("ldap") {
			f.key("ldap_listener", "missing", "add at least one [[ldap_listener]] with name, address and tls, or drop [ldap]")
		}
		return
	}
	if !f.index.has("ldap") {
		f.key("ldap", "missing", "add [ldap] with upstream, the directory servers behind the ldap_listener")
	}
	if !f.index.has("tls.certificate") && !f.index.has("tls.key") {
		f.key("tls.certificate", "missing", "add [tls] with certificate and key: there is no bind without TLS")
	}
	if len(c.LDAPRules) == 0 {
		f.key("ldap_rule", "missing", "add at least one [[ldap_rule]]: without one nobody gets in")
	}
}
