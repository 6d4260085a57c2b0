package msgauth

import (
	"context"
	"slices"
	"strings"

	"github.com/emersion/go-msgauth/dmarc"
	"golang.org/x/net/publicsuffix"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

// maxAuthors is how many domains one From field may name. RFC 7489 6.6.1 leaves the
// bound to us; people write from one.
const maxAuthors = 4

// found is what DNS says of the policy of a domain.
type found struct {
	state                 Result // Pass: there is one; None; TempError
	demand                Demand // of mail that has the domain in From
	percent               int    // of which it asks so
	strictSPF, strictDKIM bool
}

// authors returns the addresses of the From field and their domains, each once; none when there is
// not exactly one field, with at least one address and no domain too many: which of two
// a reader would see, nobody knows. RFC 7489 6.6.1
func authors(fields []raw) (all []mailaddr.Address, domains []dnsname.Name) {
	var from []field
	for _, f := range fields {
		if strings.EqualFold(f.name, "From") {
			from = append(from, f.field)
		}
	}
	all, ok := mailboxes(from)
	if !ok {
		return nil, nil
	}
	for _, a := range all {
		switch d := a.Domain(); {
		case d.IsZero():
			return nil, nil // an address literal
		case !slices.Contains(domains, d):
			domains = append(domains, d)
		}
	}
	if len(domains) > maxAuthors {
		return nil, nil
	}
	return all, domains
}

// organization is the domain that was registered, by the list of public suffixes.
// RFC 7489 3.2
func organization(d dnsname.Name) dnsname.Name {
	if text, err := publicsuffix.EffectiveTLDPlusOne(d.String()); err == nil {
		if org, err := dnsname.ParseOwner(text); err == nil {
			return org
		}
	}
	return d // a public suffix itself
}

// findPolicy looks for the policy of a domain, there and at its organization.
// RFC 7489 6.6.3
func findPolicy(ctx context.Context, r Resolver, domain dnsname.Name) found {
	org := organization(domain)
	records, answered := policyRecords(ctx, r, domain)
	above := answered && len(records) == 0 && domain != org
	if above {
		records, answered = policyRecords(ctx, r, org)
	}
	switch {
	case !answered:
		return found{state: TempError}
	case len(records) != 1: // none, or nobody knows which
		return found{state: None}
	}
	return readPolicy(records[0], above)
}

// policyRecords returns those records of one name that are about DMARC: they begin with
// its version. RFC 7489 6.6.3
func policyRecords(ctx context.Context, r Resolver, at dnsname.Name) (records []string, ok bool) {
	owner, err := at.Prepend("_dmarc")
	if err != nil {
		return nil, true // longer than a name can be
	}
	a := r.Lookup(ctx, owner, TypeTXT)
	if !a.Known {
		return nil, false
	}
	for _, text := range a.TXT {
		first, _, _ := strings.Cut(text, ";")
		if name, value, _ := strings.Cut(first, "="); strings.TrimSpace(name) == "v" && strings.TrimSpace(value) == "DMARC1" {
			records = append(records, text)
		}
	}
	return records, true
}

// readPolicy reads what a record asks for; above says that it is the organization's,
// and the mail that of a domain below. What cannot be read is as if it were not
// there. RFC 7489 6.3, 6.6.3
func readPolicy(text string, above bool) found {
	record, reports := parsePolicy(text)
	switch {
	case record != nil:
	case reports: // it wants these, at least
		record = &dmarc.Record{Policy: dmarc.PolicyNone}
	default:
		return found{state: None}
	}
	f := found{state: Pass, demand: Demand(record.Policy), percent: 100,
		strictSPF: record.SPFAlignment == dmarc.AlignmentStrict, strictDKIM: record.DKIMAlignment == dmarc.AlignmentStrict}
	if above && record.SubdomainPolicy != "" {
		f.demand = Demand(record.SubdomainPolicy)
	}
	if record.Percent != nil {
		f.percent = *record.Percent
	}
	return f
}

// parsePolicy gives the library those tags that it can read: it would give up the whole
// record for a mistake in any, where only that tag is to be ignored (RFC 7489 6.3), and
// takes no upper case. A mistake in p= or sp= is one of the record. reports says whether
// it names somebody who wants them.
func parsePolicy(text string) (record *dmarc.Record, reports bool) {
	const version = "v=DMARC1"
	kept := []string{version}
	for tag := range strings.SplitSeq(strings.ToLower(text), ";") {
		name, value, _ := strings.Cut(tag, "=")
		switch name = strings.TrimSpace(name); {
		case name == "v":
			continue
		case name == "rua":
			reports = strings.Contains(value, ":")
		case name != "p" && name != "sp":
			if _, err := dmarc.Parse(version + ";p=none;" + tag); err != nil {
				continue
			}
		}
		kept = append(kept, tag)
	}
	record, err := dmarc.Parse(strings.Join(kept, ";"))
	if err != nil {
		return nil, reports
	}
	return record, reports
}

// judge makes the result of DMARC: of several authors that of the one who asks for most.
// RFC 7489 6.6.1, 6.6.2
func (r *Report) judge(authors []dnsname.Name, policies []found, percent func() int) {
	if len(authors) == 0 {
		r.DMARC = DMARC{Result: PermError, Verdict: NoAuthor, Why: "not one From field that can be read"}
		return
	}
	for i, author := range authors {
		d := r.author(author, policies[i], percent)
		if i == 0 || severity(d) > severity(r.DMARC) {
			r.DMARC = d
		}
	}
}

// severity orders results by what they ask for.
func severity(d DMARC) int {
	return 10*slices.Index([]Verdict{Take, Later, Refuse}, d.Verdict) + slices.Index([]Result{None, Pass, TempError, Fail}, d.Result)
}

// author judges for one domain in From.
func (r *Report) author(author dnsname.Name, f found, percent func() int) DMARC {
	d := DMARC{Author: author, Demand: f.demand, Verdict: Take}
	passed, pending := r.evidence(author, f)
	switch {
	case f.state == None:
		d.Result = None
	case f.state == Pass && passed:
		d.Result = Pass
	case f.state != Pass:
		d.Result, d.Why = TempError, "no answer about the policy"
		if !passed { // with the same name in both it would pass any
			d.Verdict = Later
		}
	case pending:
		d.Result, d.Why = TempError, "no answer about SPF or DKIM"
		if f.demand == Reject {
			d.Verdict = Later
		}
	default:
		d.Result = Fail
		if f.demand == Reject {
			d.Verdict = Refuse
		}
	}
	if d.Verdict != Take && f.percent < 100 && f.state == Pass && percent() >= f.percent {
		d.Verdict, d.Why = Take, "not among those that the record is about" // RFC 7489 6.6.4: as if it asked for quarantine
	}
	return d
}

// evidence reports whether something proved speaks for the author, and whether
// something that DNS did not answer might. While the policy is not known, only the
// same name speaks for him: that does in every mode.
func (r *Report) evidence(author dnsname.Name, f found) (passed, pending bool) {
	look := func(result Result, domain dnsname.Name, strict bool) {
		if aligned(author, domain, strict || f.state == TempError) {
			passed = passed || result == Pass
			pending = pending || result == TempError
		}
	}
	look(r.SPF.Result, r.SPF.Domain, f.strictSPF)
	for _, s := range r.DKIM {
		look(s.Result, s.Domain, f.strictDKIM)
	}
	return passed, pending
}

// aligned reports whether a domain that was proved speaks for the author. RFC 7489 3.1
func aligned(author, proved dnsname.Name, strict bool) bool {
	if proved.IsZero() {
		return false
	}
	return author == proved || !strict && organization(author) == organization(proved)
}
