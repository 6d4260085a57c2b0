package msgauth

import (
	"context"
	"slices"
	"strconv"
	"strings"

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

// policyRecords returns the tags of those records of one name that are about DMARC.
func policyRecords(ctx context.Context, r Resolver, at dnsname.Name) (records []map[string]string, ok bool) {
	owner, err := at.Prepend("_dmarc")
	if err != nil {
		return nil, true // longer than a name can be
	}
	a := r.Lookup(ctx, owner, TypeTXT)
	if !a.Known {
		return nil, false
	}
	for _, text := range a.TXT {
		if tags := policyTags(text); tags != nil {
			records = append(records, tags)
		}
	}
	return records, true
}

// policyTags reads a record, which must begin with its version. What cannot be read
// is as if it were not there. RFC 7489 6.3
func policyTags(text string) map[string]string {
	tags := map[string]string{}
	for part := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if len(tags) == 0 && (name != "v" || value != "DMARC1") {
			return nil
		}
		if _, twice := tags[name]; !twice {
			tags[name] = value
		}
	}
	return tags
}

// readPolicy reads what a record asks for; above says that it is the organization's,
// and the mail that of a domain below. RFC 7489 6.3, 6.6.3
func readPolicy(tags map[string]string, above bool) found {
	f := found{state: Pass, percent: 100, strictSPF: tags["aspf"] == "s", strictDKIM: tags["adkim"] == "s"}
	p, ok := demandOf(tags["p"])
	if sp, there := tags["sp"]; there && ok {
		var below Demand
		if below, ok = demandOf(sp); above {
			p = below
		}
	}
	switch {
	case ok:
		f.demand = p
	case strings.Contains(tags["rua"], ":"): // it wants reports, at least
		f.demand = NoDemand
	default:
		return found{state: None}
	}
	if n, err := strconv.Atoi(tags["pct"]); err == nil && n >= 0 && n < 100 {
		f.percent = n
	}
	return f
}

func demandOf(s string) (Demand, bool) {
	d := Demand(strings.ToLower(s))
	return d, d == NoDemand || d == Quarantine || d == Reject
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
