package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/internal/pattern"
)

// rightForms says for each type what a right value looks like: the second half
// of every message.
var rightForms = map[reflect.Type]string{
	reflect.TypeFor[dnsname.Name]():       `a domain name such as "mx.example.org"`,
	reflect.TypeFor[mailaddr.Address]():   `a mail address such as "postmaster@example.org"`,
	reflect.TypeFor[pattern.Pattern]():    `a client such as "*._device.example.org" or users such as "*@example.org"`,
	reflect.TypeFor[OwnerName]():          `a TLSA owner name such as "_smtp-client.mx.example.org"`,
	reflect.TypeFor[Path]():               `a file name such as "cert.pem"`,
	reflect.TypeFor[PKIXRoots]():          `"system" or a file name such as "roots.pem"`,
	reflect.TypeFor[Duration]():           `a positive time such as "30s", "5m", "1h30m" or "5d"`,
	reflect.TypeFor[Size]():               `a size such as "512KiB" or "50MiB"`,
	reflect.TypeFor[Rate]():               `a rate such as "10/s", "60/m" or "1000/h"`,
	reflect.TypeFor[ListenAddress]():      `an IP address and a port such as "192.0.2.1:25", "[2001:db8::1]:25" or ":25"`,
	reflect.TypeFor[HostPort]():           `a host and a port such as "mail.example.org:25" or "[192.0.2.1]:25"`,
	reflect.TypeFor[Hop]():                `a host and a port such as "mail.example.org:25" or "[192.0.2.1]:25", or a socket such as "unix:/run/lmtp"`,
	reflect.TypeFor[RouteDomain]():        `"example.org", "*.example.org" or "any"`,
	reflect.TypeFor[OnFailure]():          quoteAll(onFailures),
	reflect.TypeFor[Network]():            `a network such as "10.0.0.0/24", "2001:db8::/64" or "192.0.2.7"`,
	reflect.TypeFor[Address]():            `an IP address of this host such as "192.0.2.1" or "2001:db8::1"`,
	reflect.TypeFor[Protocol]():           quoteAll(protocols),
	reflect.TypeFor[TLSDemand]():          quoteAll(tlsDemands),
	reflect.TypeFor[Login]():              quoteAll(logins),
	reflect.TypeFor[Upstream]():           `an IP address and a port such as "127.0.0.1:53" or "[::1]:53", or "tls://192.0.2.1:853#name", or "tls://192.0.2.1:853#sha256/DIGEST"`,
	reflect.TypeFor[Trust]():              quoteAll(trusts),
	reflect.TypeFor[AddressPattern]():     `"any", "own", "directory", "rick@example.org", "@example.org" or "*@*.example.org"`,
	reflect.TypeFor[Proof]():              quoteAll(proofs),
	reflect.TypeFor[Date]():               `a day such as "2026-12-31"`,
	reflect.TypeFor[Quota]():              `a quota such as "100/h" or "1000/d"`,
	reflect.TypeFor[Delimiter]():          `a delimiter such as "+"`,
	reflect.TypeFor[Level]():              quoteAll(levels),
	reflect.TypeFor[Format]():             quoteAll(formats),
	reflect.TypeFor[Kind]():               quoteAll(kinds),
	reflect.TypeFor[ClientCertificates](): quoteAll(clientCertificates),
	reflect.TypeFor[ClientName]():         quoteAll(clientNames),
	reflect.TypeFor[DANEFailure]():        quoteAll(daneFailures),
	reflect.TypeFor[Recipients]():         quoteAll(recipients),
	reflect.TypeFor[DMARCUse]():           quoteAll(dmarcUses),
	reflect.TypeFor[ProbeFailure]():       quoteAll(probeFailures),
	reflect.TypeFor[Action]():             quoteAll(actions),
	reflect.TypeFor[DirectoryServer]():    `a directory server such as "ldaps://ldap.example.org:636", "ldap://ldap.example.org:389" or "unix:/run/slapd/ldapi"`,
	reflect.TypeFor[LDAPTLS]():            quoteAll(ldapTLS),
	reflect.TypeFor[LDAPAnonymous]():      quoteAll(ldapAnonymous),
	reflect.TypeFor[LDAPOperation]():      quoteAll(ldapOperations),
	reflect.TypeFor[LDAPControl]():        quoteAll(ldapControls),
	reflect.TypeFor[string]():             `a text in quotes`,
	reflect.TypeFor[bool]():               `true or false`,
	reflect.TypeFor[int]():                `a whole number above zero, without quotes`,
}

// Kind is what a listener is for.
type Kind string

// The kinds of listener.
const (
	Relay       Kind = "relay"
	Submission  Kind = "submission"
	Submissions Kind = "submissions"
)

var kinds = []Kind{Relay, Submission, Submissions}

// UnmarshalText accepts the known words only.
func (k *Kind) UnmarshalText(b []byte) error { return oneOf(k, b, kinds) }

// ClientCertificates says whether a listener asks TLS clients for certificates.
type ClientCertificates string

// The values of client_certificates.
const (
	CertificatesOff     ClientCertificates = "off"
	CertificatesAsk     ClientCertificates = "ask"
	CertificatesRequire ClientCertificates = "require"
)

var clientCertificates = []ClientCertificates{CertificatesOff, CertificatesAsk, CertificatesRequire}

// UnmarshalText accepts the known words only.
func (c *ClientCertificates) UnmarshalText(b []byte) error { return oneOf(c, b, clientCertificates) }

// ClientName is a source of a client's TLSA owner name.
type ClientName string

// The sources of names.
const (
	FromExtension   ClientName = "extension"   // dane_clientid
	FromCertificate ClientName = "certificate" // the subjectAltName
)

var clientNames = []ClientName{FromExtension, FromCertificate}

// UnmarshalText accepts the known words only.
func (c *ClientName) UnmarshalText(b []byte) error { return oneOf(c, b, clientNames) }

// DANEFailure is what becomes of a peer that told a name and did not prove it.
type DANEFailure string

// The values of dane_failure.
const (
	Unauthenticated DANEFailure = "unauthenticated"
	Abort           DANEFailure = "abort"
)

var daneFailures = []DANEFailure{Unauthenticated, Abort}

// UnmarshalText accepts the known words only.
func (d *DANEFailure) UnmarshalText(b []byte) error { return oneOf(d, b, daneFailures) }

// Recipients says which mailboxes of a relay domain exist.
type Recipients string

// The values of recipients.
const (
	RecipientsFile  Recipients = "file"
	RecipientsAny   Recipients = "any"
	RecipientsProbe Recipients = "probe"

	RecipientsDirectory Recipients = "directory"
)

var recipients = []Recipients{RecipientsFile, RecipientsDirectory, RecipientsProbe, RecipientsAny}

// UnmarshalText accepts the known words only.
func (r *Recipients) UnmarshalText(b []byte) error { return oneOf(r, b, recipients) }

// ProbeFailure is what becomes of mail when a backend cannot be asked.
type ProbeFailure string

// The values of probe_failure.
const (
	ProbeTemporary ProbeFailure = "temporary"
	ProbeAccept    ProbeFailure = "accept"
)

var probeFailures = []ProbeFailure{ProbeTemporary, ProbeAccept}

// UnmarshalText accepts the known words only.
func (p *ProbeFailure) UnmarshalText(b []byte) error { return oneOf(p, b, probeFailures) }

// Action is what a rule does.
type Action string

// The actions of a rule.
const (
	Allow Action = "allow"
	Deny  Action = "deny"
)

var actions = []Action{Allow, Deny}

// UnmarshalText accepts the known words only.
func (a *Action) UnmarshalText(b []byte) error { return oneOf(a, b, actions) }

// Level is the least weight of a log line that is written.
type Level string

var levels = []Level{"debug", "info", "warn", "error"}

// UnmarshalText accepts the known words only.
func (l *Level) UnmarshalText(b []byte) error { return oneOf(l, b, levels) }

// Format is the form of log lines.
type Format string

// The forms of log lines.
const (
	Text Format = "text"
	JSON Format = "json"
)

var formats = []Format{Text, JSON}

// UnmarshalText accepts the known words only.
func (f *Format) UnmarshalText(b []byte) error { return oneOf(f, b, formats) }

func oneOf[T ~string](to *T, b []byte, known []T) error {
	if !slices.Contains(known, T(b)) {
		return fmt.Errorf("%q is not known", b)
	}
	*to = T(b)
	return nil
}

func quoteAll[T ~string](known []T) string {
	words := make([]string, len(known))
	for i, k := range known {
		words[i] = strconv.Quote(string(k))
	}
	return list(words, "or")
}

// list writes words as people do: a, b or c.
func list(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}

// OwnerName is a name with underscore labels, at which TLSA records stand.
type OwnerName struct{ dnsname.Name }

// UnmarshalText reads A-labels, as they are told in TLS.
func (n *OwnerName) UnmarshalText(b []byte) (err error) {
	n.Name, err = dnsname.ParseOwner(string(b))
	return err
}

// Path is a file name; absolute after Load, "" when the key is absent.
type Path string

// UnmarshalText refuses what no file can be called.
func (p *Path) UnmarshalText(b []byte) error {
	if len(b) == 0 || strings.ContainsRune(string(b), 0) {
		return fmt.Errorf("%q is no file name", b)
	}
	*p = Path(b)
	return nil
}

// PKIXRoots is SystemRoots or a file name; absolute after Load, "" when the key
// is absent.
type PKIXRoots string

// SystemRoots are the CAs that this host trusts. A file of that name is
// written "./system".
const SystemRoots PKIXRoots = "system"

// UnmarshalText accepts what a file can be called, which the word is, too.
func (r *PKIXRoots) UnmarshalText(b []byte) error { return (*Path)(r).UnmarshalText(b) }

// Duration is a positive span of time.
type Duration struct{ time.Duration }

const day = 24 * time.Hour

// UnmarshalText reads Go's form and whole days ("5d"). Numbers without a unit
// are refused: nobody could tell seconds from minutes.
func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	var v time.Duration
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is no time", s)
		}
		v = time.Duration(days) * day
	} else {
		var err error
		if v, err = time.ParseDuration(s); err != nil {
			return fmt.Errorf("%q is no time", s)
		}
	}
	if v <= 0 {
		return fmt.Errorf("%q is not above zero", s)
	}
	d.Duration = v
	return nil
}

// Size is a number of octets above zero.
type Size struct{ Bytes int64 }

var units = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}}

// UnmarshalText reads a whole number with its unit: B, KiB, MiB or GiB.
func (z *Size) UnmarshalText(b []byte) error {
	for _, u := range units {
		digits, ok := strings.CutSuffix(string(b), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 32) // 32 bits: no product overflows
		if err != nil || n <= 0 {
			break
		}
		z.Bytes = n * u.bytes
		return nil
	}
	return fmt.Errorf("%q is no size", b)
}

// Rate is so many events at once, and from then on as many in each span, evenly.
type Rate struct {
	N   int
	Per time.Duration
}

var spans = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// maxRate is far beyond what one machine does; more is a slip of the finger.
const maxRate = 1_000_000

// UnmarshalText reads a whole number above zero, a stroke and s, m or h.
func (r *Rate) UnmarshalText(b []byte) error {
	digits, unit, _ := strings.Cut(string(b), "/")
	n, err := strconv.ParseUint(digits, 10, 64)
	per, ok := spans[unit]
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange), !ok:
		return fmt.Errorf("%q is no rate", b)
	case err == nil && n == 0:
		return fmt.Errorf("%q is not above zero", b)
	case err != nil || n > maxRate:
		return fmt.Errorf("%q is over %d", b, maxRate)
	}
	*r = Rate{int(n), per}
	return nil
}

// String writes a rate as it is read.
func (r Rate) String() string {
	for unit, per := range spans {
		if r.Per == per {
			return fmt.Sprintf("%d/%s", r.N, unit)
		}
	}
	return fmt.Sprintf("%d in %v", r.N, r.Per)
}

// Above reports whether r allows more than s in the long run.
func (r Rate) Above(s Rate) bool {
	return float64(r.N)*s.Per.Seconds() > float64(s.N)*r.Per.Seconds()
}

// ListenAddress is an address to listen on, in the form that package net takes.
type ListenAddress string

// UnmarshalText reads IP:port; an empty IP means every address of the host.
func (a *ListenAddress) UnmarshalText(b []byte) error {
	host, port, err := net.SplitHostPort(string(b))
	if err == nil && host != "" {
		_, err = netip.ParseAddr(host)
	}
	if err != nil || !isPort(port, 0) {
		return fmt.Errorf("%q is no address to listen on", b)
	}
	*a = ListenAddress(b)
	return nil
}

// HostPort is a next hop: host:port or [ip]:port.
type HostPort string

// UnmarshalText reads a host name or an IP address, and a port.
func (h *HostPort) UnmarshalText(b []byte) error {
	host, port, err := net.SplitHostPort(string(b))
	if err != nil || !isPort(port, 1) {
		return fmt.Errorf("%q is no host and port", b)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		*h = HostPort(net.JoinHostPort(ip.String(), port))
		return nil
	}
	name, err := dnsname.ParseUnicode(host)
	if err != nil {
		return fmt.Errorf("host %w", err)
	}
	*h = HostPort(net.JoinHostPort(name.String(), port))
	return nil
}

func isPort(s string, least uint64) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n >= least
}

// AddressPattern names envelope addresses in a rule, as it was written.
type AddressPattern string

// Own means the user's own address.
const Own AddressPattern = "own"

// UnmarshalText checks the form; what it matches is the policy's matter.
func (p *AddressPattern) UnmarshalText(b []byte) error {
	s := string(b)
	if s != pattern.Any && AddressPattern(s) != Own && AddressPattern(s) != InDirectory {
		if err := checkAddressPattern(s); err != nil {
			return err
		}
	}
	*p = AddressPattern(s)
	return nil
}

func checkAddressPattern(s string) error {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return fmt.Errorf("%q has no @", s)
	}
	local, domain := s[:i], s[i+1:]
	switch {
	case local == "" || local == "*":
		if domain == pattern.Any {
			return fmt.Errorf("%q: every address is %q", s, pattern.Any)
		}
		_, err := pattern.Parse("*@" + domain)
		return err
	case strings.ContainsAny(s, "{}"):
		rest := strings.Replace(strings.Replace(s, "{label}", "x", 1), "{uid}", "x", 1)
		if strings.ContainsAny(rest, "{}*") || strings.Contains(local, "{label}") && strings.Contains(local, "{uid}") || strings.ContainsAny(domain, "{}") {
			return fmt.Errorf("%q: one of {label} and {uid} stands before the @, once", s)
		}
		_, err := mailaddr.Parse(rest)
		return err
	case strings.Contains(local, "*"): // it would be a star and nothing more
		return fmt.Errorf("%q: a star stands for the whole local part", s)
	case strings.Contains(domain, "*"):
		return fmt.Errorf("%q: before @ and a starred domain stands * or nothing", s)
	}
	_, err := mailaddr.Parse(s)
	return err
}
