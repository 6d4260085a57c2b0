package daneclient

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"dancemta/daneclient/tlsa"
)

// advisedTTL is that of a record which is advised: as long as an identity lives,
// so that a removed record is not believed for longer.
const advisedTTL = uint32(maxLife / time.Second)

// WouldMatch returns the record that would let a chain prove itself at this owner
// of a client or of users: one of the leaf's key, or of the CA in the chain. With
// what is published already, from Evidence.Records, it gets on. The error says
// why no record would do.
func (o Owner) WouldMatch(chain []*x509.Certificate, published []tlsa.Finding, now time.Time) (tlsa.Entry, error) {
	if o.name == "" || o.kind != machine && o.kind != domainUsers {
		return tlsa.Entry{}, fmt.Errorf("%q: %w", o.name, ErrOwner)
	}
	if len(chain) == 0 || chain[0] == nil {
		return tlsa.Entry{}, &Error{Reason: NoCertificate}
	}
	r, _, err := o.Record(Material{Certificates: chain}, Fields{}, now)
	if err == nil && outdone(r, published) {
		strongest := tlsa.MatchingSHA512
		r, _, err = o.Record(Material{Certificates: chain}, Fields{Matching: &strongest}, now)
	}
	if err != nil {
		return tlsa.Entry{}, err
	}
	match := tlsa.Options{Name: o.of.String(), Now: now, AnchorsOnly: o.kind == domainUsers}
	if _, err := tlsa.Match([]tlsa.Record{r}, chain, match); err != nil {
		return tlsa.Entry{}, err
	}
	return tlsa.Entry{Owner: o.name, TTL: advisedTTL, Record: r}, nil
}

// outdone reports whether r would not count beside a stronger digest (RFC 7671 9).
func outdone(r tlsa.Record, published []tlsa.Finding) bool {
	return slices.ContainsFunc(published, func(f tlsa.Finding) bool {
		return f.Usable && f.Record.Usage == r.Usage && f.Record.Selector == r.Selector && f.Record.Matching > r.Matching
	})
}
