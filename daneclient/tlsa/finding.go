package tlsa

import (
	"crypto/x509"
	"errors"
	"fmt"
)

// Finding is what one published record is worth for a chain, for people.
type Finding struct {
	Record  Record
	Usable  bool // it may say something here
	Matches bool
	Why     string // why it does not match, bounded and clean
}

// Findings judges each record of an RRset by the rules of Usable and Match, one
// by one. Of more than 100 records, of which none is usable, the first 100 are
// returned. It decides nothing: Match does.
func Findings(records []Record, chain []*x509.Certificate, o Options) []Finding {
	kept := map[string]bool{}
	for _, r := range Usable(records, o.Roots) {
		kept[r.String()] = true
	}
	found := make([]Finding, min(len(records), maxRecords))
	for i := range found {
		f := Finding{Record: records[i]}
		switch problem := f.Record.Problem(o.Roots); {
		case problem != "":
			f.Why = problem
		case !kept[f.Record.String()] && len(records) > maxRecords:
			f.Why = fmt.Sprintf("one of %d records, over %d: none of them counts", len(records), maxRecords)
		case !kept[f.Record.String()]:
			f.Why = "a record with a stronger digest stands beside it" // RFC 7671 9
		case o.AnchorsOnly && (f.Record.Usage == UsageDANEEE || f.Record.Usage == UsagePKIXEE):
			f.Why = onlyCA
		default:
			f.compare(chain, o)
		}
		found[i] = f
	}
	return found
}

// compare asks Match about the one record.
func (f *Finding) compare(chain []*x509.Certificate, o Options) {
	f.Usable = true
	_, err := Match([]Record{f.Record}, chain, o)
	f.Matches = err == nil
	if miss, ok := errors.AsType[*MismatchError](err); ok && len(miss.Tried) > 0 {
		f.Why = miss.Tried[0].Why
	}
}
