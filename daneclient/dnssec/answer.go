// Package dnssec is a validating stub resolver: it fetches records from any
// recursive resolver and proves them itself, from the trust anchors of the
// root down (RFC 4033 to 4035, RFC 5155).
//
// There is one call, Resolver.Lookup, and its Answer has one of four states:
// secure (proved), insecure (proved to be unsigned), bogus (records came and a
// proof is wrong or missing) and failed (no answer that could be judged).
// Bogus and failed are trouble of the moment, never an empty answer; what is
// not proved is never insecure.
package dnssec

import (
	"net/netip"
	"time"

	"dancemta/internal/dnsname"
)

// Type is the type of the records asked for.
type Type uint16

// The types that Lookup takes.
const (
	TypeA     Type = 1
	TypeCNAME Type = 5
	TypePTR   Type = 12
	TypeMX    Type = 15
	TypeTXT   Type = 16
	TypeAAAA  Type = 28
	TypeTLSA  Type = 52
)

// State says what an answer is worth. The zero State is Failed, so that an
// answer that nobody filled in is trusted by nobody.
type State uint8

// The states (RFC 4035 4.3; Failed is "indeterminate" there).
const (
	Failed   State = iota // no answer, a limit, a clock, a proof not supported: temporary
	Bogus                 // records came and a proof is wrong or missing: temporary
	Insecure              // proved to be unsigned: true as far as the resolver can be trusted
	Secure                // proved
)

// String returns the stable word for logs.
func (s State) String() string {
	switch s {
	case Secure:
		return "secure"
	case Insecure:
		return "insecure"
	case Bogus:
		return "bogus"
	}
	return "failed"
}

// TLSA is the RDATA of one TLSA record (RFC 6698 2.1), not judged.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// MX is the RDATA of one MX record. A null MX (RFC 7505) has the zero Host.
type MX struct {
	Preference uint16
	Host       dnsname.Name
}

// Answer is what Lookup found, and what it is worth. The record fields have
// content only when State is Secure or Insecure; of them only the one of the
// type asked for. An Answer is shared by callers: it must not be changed.
type Answer struct {
	State  State
	Reason string // one line for the log: why it is not secure; "" when it is

	NXDomain bool // the name (after CNAMEs) does not exist; without records and this, it has none of the type
	Wildcard bool // some link of the answer (CNAME, DNAME or the records) was made from a wildcard
	CNAME    bool // there was at least one CNAME on the way, or a DNAME that makes one

	// Enclosers are what stands to the right of the star of each such wildcard;
	// the zero Name for what can be no owner name.
	Enclosers []dnsname.Name

	Final   dnsname.Name // where the CNAMEs led, the zero Name for what can be no owner name; without CNAMEs the name asked for
	Expires time.Time    // of this answer: min of TTLs and signature ends, capped; of bogus and failed: not asked again before

	TLSA  []TLSA
	MX    []MX
	Addrs []netip.Addr   // A and AAAA
	Names []dnsname.Name // PTR and CNAME targets; names that are no host names are left out
	TXT   []string       // the strings of each record joined

	Steps []Step // the evidence, in order

	// Trusted is "ad" when the State is what a resolver said that Options.Trust
	// believes, and "" when it was proved here.
	Trusted string
}

// Step is one proof, or one failure to prove, on the way to an answer.
type Step struct {
	Zone   string // the zone whose keys were used; "." for the root
	Name   string // owner of what was proved
	Type   string // "DS", "DNSKEY", "TLSA" …
	State  State
	Detail string // signer, key tag, or what is wrong
}
