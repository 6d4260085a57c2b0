package daneclient

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
	"dancemta/internal/limit"
)

// refusedLife bounds how long a refusal is remembered. The records are cached
// by the resolver, so that asking again costs one comparison; a new record or a
// certificate that has become valid must not wait.
const refusedLife = time.Minute

// claim is what a certificate says of itself, to be proved.
type claim struct {
	owner dnsname.Name
	san   string // the dNSName that claims it, for usage 2
	user  bool
	named bool // by dane_clientid: then the owner itself must be a dNSName
}

// judge proves a claim or returns an *Error. The plan: the cache; then, once
// for all who ask the same, the rates, the gates, the lookup, and the match. Who
// wants to see the evidence is judged alone and anew.
func (v *Verifier) judge(ctx context.Context, c claim, cred Credential) (verdict, error) {
	mem, k, evidence := v.mem.Load(), keyOf(c, cred.Chain), evidenceOf(ctx)
	if got, ok := mem.cache.get(k, v.opts.Now()); ok && evidence == nil {
		return got.result()
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, v.opts.Timeout)
	defer cancel()
	if evidence != nil {
		return v.find(ctx, c, cred, mem.roots, limit.Stranger).result()
	}
	got, err := mem.flights.do(ctx, k, func() (verdict, bool) {
		if got, ok := mem.cache.get(k, v.opts.Now()); ok { // of the flight before
			return got, true
		}
		got := v.find(ctx, c, cred, mem.roots, mem.cache.classOf(k))
		// What became of a caller who went away, or of his share of the
		// lookups, says nothing to the others.
		own := got.refusal != nil && (got.refusal.Reason == Overloaded ||
			got.refusal.Reason == FailedDNS && caller.Err() != nil)
		mem.cache.put(k, got, v.opts.Now())
		return got, !own
	})
	if err != nil {
		return verdict{}, &Error{Reason: FailedDNS, Name: c.owner, Detail: "while others waited for the same", Err: err}
	}
	return got.result()
}

// find looks the records up and compares.
func (v *Verifier) find(ctx context.Context, c claim, cred Credential, roots *x509.CertPool, class limit.Class) verdict {
	start := v.opts.Now()
	answer, full := v.ask(ctx, lookup{c.owner, cred.Peer, class})
	if full != "" {
		v.opts.Logger.LogAttrs(ctx, slog.LevelDebug, "dane overload",
			slog.String("owner", c.owner.String()), slog.String("peer", cred.Peer.String()), slog.String("why", full))
		return verdict{refusal: &Error{Reason: Overloaded, Name: c.owner, Detail: full}}
	}
	now := v.opts.Now()
	o := v.optionsFor(answer, c, now, roots)
	got := weigh(answer, c, cred, o)
	evidenceOf(ctx).note(c, answer, cred, o)
	if err := ctx.Err(); err != nil && got.refusal != nil && got.refusal.Reason == FailedDNS {
		got.refusal.Err = err
	}
	v.log(ctx, c, answer, got, now.Sub(start))
	return got
}

// ask gets the answer, or says which bound was reached. Who is over a rate is
// refused before he waits at the gates, so that floods hold no places there; but
// only a lookup that is made is paid for, since what somebody before asked may be
// known by then.
func (v *Verifier) ask(ctx context.Context, l lookup) (answer dnssec.Answer, full string) {
	if answer, ok := v.cached(l.owner); ok {
		return answer, ""
	}
	if over := v.rates.over(l); over != "" {
		return dnssec.Answer{}, over
	}
	leave, full := v.gates.enter(ctx, l.peer, l.owner)
	if leave == nil {
		return dnssec.Answer{}, "too many at once: " + full
	}
	defer leave()
	if answer, ok := v.cached(l.owner); ok {
		return answer, ""
	}
	if over := v.rates.pay(l); over != "" {
		return dnssec.Answer{}, over
	}
	return v.opts.Resolver.Lookup(ctx, l.owner, dnssec.TypeTLSA), ""
}

// cached returns the answer that the resolver has at hand.
func (v *Verifier) cached(owner dnsname.Name) (dnssec.Answer, bool) {
	if v.known == nil {
		return dnssec.Answer{}, false
	}
	return v.known.Cached(owner, dnssec.TypeTLSA)
}

// weigh turns an answer into a verdict (client-auth 5, RFC 7671 5). It is pure.
func weigh(answer dnssec.Answer, c claim, cred Credential, o tlsa.Options) verdict {
	now, roots := o.Now, o.Roots
	refuse := func(reason Reason, detail string, cause error) verdict {
		e := &Error{Reason: reason, Name: c.owner, Detail: detail, Err: cause}
		if e.Temporary() {
			return verdict{refusal: e} // no time of life: never cached
		}
		return verdict{refusal: e, until: earliest(answer.Expires, now.Add(refusedLife))}
	}
	if reason, ok := refusalOf(answer.State); ok { // RFC 6698 4.1: only secure counts
		return refuse(reason, answer.Reason, nil)
	}
	if len(answer.TLSA) == 0 {
		return refuse(NoRecord, denial(answer), nil)
	}
	if answer.Wildcard && !mayBeWildcard(c, answer.Enclosers) {
		return refuse(WildcardForbidden, "", nil)
	}
	records := recordsOf(answer.TLSA)
	usable := tlsa.Usable(records, roots)
	if len(usable) == 0 {
		return refuse(Unusable, problems(records, roots), nil)
	}
	if o.AnchorsOnly && !slices.ContainsFunc(usable, isAnchor) {
		if answer.Wildcard {
			return refuse(WildcardForbidden, "a key, not a CA, made from a wildcard", nil)
		}
		return refuse(Unusable, "a key that is published makes no user, only a CA does", nil)
	}
	match, err := tlsa.Match(usable, cred.Chain, o)
	if err != nil {
		if miss, ok := errors.AsType[*tlsa.MismatchError](err); ok && miss.OnlyName {
			return refuse(NameMismatch, "", err)
		}
		return refuse(NoMatch, "", err)
	}
	until := earliest(answer.Expires, now.Add(maxLife))
	if !match.NotAfter.IsZero() {
		until = earliest(until, match.NotAfter)
	}
	return verdict{record: match.Record, until: until}
}

// optionsFor says what counts when an answer's records are compared. A key of
// usage 3 or 1 made from a wildcard would be every name below it, and the holder
// of a user's key could sign himself any uid (client-auth 3.2).
func (v *Verifier) optionsFor(answer dnssec.Answer, c claim, now time.Time, roots *x509.CertPool) tlsa.Options {
	anchorsOnly := c.user || answer.Wildcard
	first, _ := c.owner.Cut()
	return tlsa.Options{
		Name: c.san, Now: now, AnchorsOnly: anchorsOnly, Roots: roots, Paths: v.paths,
		ServerLeaf: v.opts.ServerLeaves && !c.user && first == serviceLabel,
	}
}

// refusalOf says why an answer in this state proves nothing; false for secure.
func refusalOf(s dnssec.State) (Reason, bool) {
	switch s {
	case dnssec.Secure:
		return 0, false
	case dnssec.Insecure:
		return Insecure, true
	case dnssec.Bogus:
		return BogusDNS, true
	}
	return FailedDNS, true
}

// mayBeWildcard reports whether a claim may rest on records made from wildcards
// below these names: only a device's, and only from *._device (client-auth 3.2),
// so that *.example.org cannot become a CA of users, of mail servers or of
// devices by accident.
func mayBeWildcard(c claim, enclosers []dnsname.Name) bool {
	for _, e := range enclosers {
		if !slices.Contains(e.Labels(), deviceLabel) {
			return false
		}
	}
	return !c.user && len(enclosers) > 0 && slices.Index(c.owner.Labels(), deviceLabel) > 0
}

func isAnchor(r tlsa.Record) bool {
	return r.Usage == tlsa.UsageDANETA || r.Usage == tlsa.UsagePKIXTA
}

func recordsOf(answers []dnssec.TLSA) []tlsa.Record {
	records := make([]tlsa.Record, len(answers))
	for i, a := range answers {
		records[i] = tlsa.Record(a)
	}
	return records
}

// problems says why the first few of unusable records are so.
func problems(records []tlsa.Record, roots *x509.CertPool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d records", len(records))
	for _, r := range records[:min(len(records), maxShown)] {
		if p := r.Problem(roots); p != "" {
			fmt.Fprintf(&b, "; %s: %s", r.Short(), p)
		}
	}
	return b.String()
}

func denial(a dnssec.Answer) string {
	if a.NXDomain {
		return "no such name"
	}
	return "the name has no TLSA records"
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// log writes the one debug line of a verdict that needed a lookup.
func (v *Verifier) log(ctx context.Context, c claim, answer dnssec.Answer, got verdict, took time.Duration) {
	attrs := []slog.Attr{
		slog.String("owner", c.owner.String()),
		slog.Bool("user", c.user),
		slog.String("dnssec", answer.State.String()),
		slog.String("final", answer.Final.String()), // where CNAMEs led
		slog.Duration("took", took),
	}
	if answer.Trusted != "" {
		attrs = append(attrs, slog.String("trust", answer.Trusted)) // not proved here
	}
	if got.refusal != nil {
		attrs = append(attrs, slog.String("refused", got.refusal.Error()))
	} else {
		attrs = append(attrs, slog.String("tlsa", got.record.Short()), slog.Time("until", got.until))
	}
	v.opts.Logger.LogAttrs(ctx, slog.LevelDebug, "dane verdict", attrs...)
}
