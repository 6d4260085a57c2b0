package dnssec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// lookup is the state of one lookup. One goroutine uses it.
type lookup struct {
	fetch func(context.Context, question) (*reply, error) // upstreams.exchange
	mem   *memory
	now   time.Time        // of the whole lookup, which takes seconds
	clock func() time.Time // goes on meanwhile; nil: stands still
	skew  time.Duration    // by which dates of signatures may be off
	ad    bool             // the resolver proves, see vouchedLink
	spent budget
	steps []Step
	says  map[question]string // what upstreams said with their replies, for people
}

// link is one step of a chain of CNAMEs: the records of a name, or that there
// are none, proved or proved to be unprovable.
type link struct {
	state    State
	why      string // when it is insecure
	set      *rrset // nil for a denial
	nxdomain bool
	encloser string // of the wildcard that the records were made from; "" for none
	expires  time.Time
}

// ask sends one question, within the budget, and takes no answer but NOERROR
// and NXDOMAIN.
func (l *lookup) ask(ctx context.Context, q question) (*reply, error) {
	if err := spend(&l.spent.queries, 1, maxQueries, "queries"); err != nil {
		return nil, err
	}
	r, err := l.fetch(ctx, q)
	if err != nil && ctx.Err() != nil {
		return nil, l.outOfTime(ctx)
	}
	if err == nil && r.extended != "" {
		l.heard(q, r.extended)
	}
	return r, err
}

// heard keeps what an upstream said about a question. RFC 8914
func (l *lookup) heard(q question, text string) {
	if l.says == nil {
		l.says = map[question]string{}
	}
	l.says[q] = text
}

// end is when a failure shows: from then on it is remembered, since it may have
// taken longer to show than it is to be remembered.
func (l *lookup) end() time.Time {
	if l.clock == nil {
		return l.now
	}
	return l.clock()
}

// outOfTime is the fault of a lookup whose context has ended.
func (l *lookup) outOfTime(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &fault{state: Failed, kind: deadline, reason: "no answer in time"}
	}
	return &fault{state: Failed, kind: ours, reason: "lookup given up: " + ctx.Err().Error()}
}

// resolveLink finds the records of one name and judges them.
func (l *lookup) resolveLink(ctx context.Context, q question) (link, error) {
	if l.ad {
		return l.vouchedLink(ctx, q)
	}
	r, err := l.ask(ctx, q)
	if err != nil {
		return link{}, l.blame("", q, err)
	}
	if dname := r.dnameAbove(q.name); dname != nil {
		return l.redirect(ctx, q, r, dname)
	}
	set := r.answer[q]
	if set == nil {
		set = r.answer[question{q.name, dns.TypeCNAME}]
	}
	return l.judgeReply(ctx, q, r, set)
}

// judgeReply judges one RRset of a reply to q, or that there is none. The
// question is that for the set itself.
func (l *lookup) judgeReply(ctx context.Context, q question, r *reply, set *rrset) (link, error) {
	signer := denierOf(r, q.name)
	if set != nil {
		signer = signerOf(set)
	}
	if signer == "" {
		return l.judgeUnsigned(ctx, q, r, set)
	}
	before := len(l.steps)
	found, err := l.judgeSigned(ctx, q, r, set, signer)
	if !isBogus(err) {
		return found, err
	}
	// In an unsigned zone a signature is noise, whatever it says; only the
	// chain of trust tells.
	evidence := l.steps
	l.steps = l.steps[:before:before]
	at, walkErr := l.walk(ctx, q.name)
	if walkErr == nil && at.zone == nil {
		return l.insecureLink(r, set, at.why, at.expires), nil
	}
	l.steps = evidence
	return link{}, err
}

// judgeSigned proves an RRset, or a denial when set is nil, by the keys of the
// signer that it names, which must be a zone. RFC 4035 5.3.1
func (l *lookup) judgeSigned(ctx context.Context, q question, r *reply, set *rrset, signer string) (link, error) {
	at, err := l.walk(ctx, signer)
	switch {
	case err != nil:
		return link{}, err
	case at.zone == nil:
		return l.insecureLink(r, set, at.why, at.expires), nil
	case at.zone.name != signer:
		return link{}, l.blame(at.zone.name, q, bogus("%s: signed by %s, which is no zone", q, signer))
	case set == nil:
		found, err := l.judgeDenial(at.zone, r, q)
		return found, l.blame(signer, q, err)
	}
	p, optOut, err := l.verifyExpanded(at.zone, r, set)
	if err != nil {
		return link{}, l.blame(signer, q, err)
	}
	if optOut {
		found := l.insecureLink(r, set, "made from a wildcard in an opt-out span of "+signer, p.expires)
		found.encloser = p.encloser
		return found, nil
	}
	l.note(Step{Zone: signer, Name: set.owner, Type: typeText(set.typ), State: Secure, Detail: signedBy(at.zone, p)})
	return link{state: Secure, set: set, encloser: p.encloser, expires: p.expires}, nil
}

// judgeDenial proves that there are no records. What the records of the denial
// say counts, not the response code, which nobody signed.
func (l *lookup) judgeDenial(z *zone, r *reply, q question) (link, error) {
	d, err := l.denialsOf(z, r)
	if err != nil {
		return link{}, err
	}
	found, err := d.judge(q.name, q.typ)
	if err != nil {
		return link{}, err
	}
	expires := earlier(d.expires, l.now.Add(r.negativeTTL()))
	if found == optedOut {
		return l.insecureLink(r, nil, q.name+" lies in an opt-out span of "+z.name, expires), nil
	}
	detail := "none of the type"
	if found == noName {
		detail = "no such name"
	}
	l.note(Step{Zone: z.name, Name: q.name, Type: typeText(q.typ), State: Secure, Detail: detail})
	return link{state: Secure, nxdomain: found == noName, expires: expires}, nil
}

// judgeUnsigned judges what came without a signature that could count: right
// in an unsigned zone, bogus in a signed one.
func (l *lookup) judgeUnsigned(ctx context.Context, q question, r *reply, set *rrset) (link, error) {
	at, err := l.walk(ctx, q.name)
	switch {
	case err != nil:
		return link{}, err
	case at.zone == nil:
		return l.insecureLink(r, set, at.why, at.expires), nil
	case set == nil:
		_, err = l.judgeDenial(at.zone, r, q)
	default:
		_, err = l.verify(at.zone, set)
	}
	if err == nil { // cannot be, since no signature is of this zone
		err = bogus("%s: not signed", q)
	}
	return link{}, l.blame(at.zone.name, q, err)
}

// insecureLink takes what an unsigned zone says as it is.
func (l *lookup) insecureLink(r *reply, set *rrset, why string, expires time.Time) link {
	if set == nil {
		return link{
			state: Insecure, why: why, nxdomain: r.rcode == dns.RcodeNameError,
			expires: earlier(expires, l.now.Add(r.negativeTTL())),
		}
	}
	l.note(Step{Name: set.owner, Type: typeText(set.typ), State: Insecure, Detail: why})
	return link{state: Insecure, why: why, set: set, expires: earlier(expires, l.in(lowestTTL(set.rrs)))}
}

// denierOf returns the zone that denies a name in a reply: the longest signer
// of its NSEC and NSEC3 records that is the name or above it.
func denierOf(r *reply, name string) string {
	denier := ""
	for _, set := range r.authority {
		if set.typ != dns.TypeNSEC && set.typ != dns.TypeNSEC3 {
			continue
		}
		if s := signerOf(set); s != "" && within(s, name) && (denier == "" || below(denier, s)) {
			denier = s
		}
	}
	return denier
}

// note adds evidence that is not there yet.
func (l *lookup) note(steps ...Step) {
	for _, s := range steps {
		if s.Name != "" && len(l.steps) < maxSteps && !slices.Contains(l.steps, s) {
			l.steps = append(l.steps, s)
		}
	}
}

// noted adds evidence and returns it, to be kept with a cut.
func (l *lookup) noted(s Step) []Step {
	l.note(s)
	return []Step{s}
}

// blame notes which step a fault belongs to, once, and what the resolver thinks.
func (l *lookup) blame(zone string, q question, err error) error {
	if err == nil {
		return nil
	}
	f := *asFault(err)
	if f.step.Name == "" {
		f.step = Step{Zone: zone, Name: q.name, Type: typeText(q.typ), State: f.state, Detail: f.reason}
		l.note(f.step)
		if said := l.says[q]; said != "" {
			f.reason += "; resolver says: " + said // a hint, no evidence. RFC 8914 6
		}
	}
	return &f
}

// faultText names the question when the reason does not.
func faultText(q question, f *fault) string {
	if strings.HasPrefix(f.reason, q.name+" ") {
		return f.reason
	}
	return fmt.Sprintf("%s: %s", q, f.reason)
}
