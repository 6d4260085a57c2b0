package msgauth

import (
	"context"
	"net/netip"

	"dancemta/internal/dnsname"
)

// Type is a type of DNS records.
type Type string

// The types that are asked for.
const (
	TypeA    Type = "A"
	TypeAAAA Type = "AAAA"
	TypeMX   Type = "MX"
	TypePTR  Type = "PTR"
	TypeTXT  Type = "TXT"
)

// Answer is what DNS says: records, or that there are none. The zero Answer says
// nothing, and is trouble of the moment.
type Answer struct {
	Known    bool // it says something that can be believed
	NXDomain bool // the name does not exist
	TXT      []string
	Addrs    []netip.Addr   // of A and AAAA
	Names    []dnsname.Name // of PTR and MX; a null MX (RFC 7505) is none
}

// Resolver asks DNS. Lookup follows CNAMEs and returns soon after ctx has ended.
type Resolver interface {
	Lookup(ctx context.Context, name dnsname.Name, t Type) Answer
}
