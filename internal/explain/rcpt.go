package explain

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/queue"
	"dancemta/queue/deliver"
	"dancemta/smtpd/policy"
)

const kindRcpt = "rcpt"

// maxQueued bounds the messages that are listed; the others are counted. maxLookups
// and maxAnswers bound what is shown of DNS.
const maxQueued, maxLookups, maxAnswers = 20, 60, 10

// Recorder is a resolver that remembers what it was asked, and what came.
type Recorder struct {
	Resolver interface {
		Lookup(ctx context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer
	}

	mu   sync.Mutex
	seen []seen // guarded by mu
}

type seen struct {
	name   dnsname.Name
	typ    dnssec.Type
	answer dnssec.Answer
}

// Lookup implements the resolver of those who decide.
func (r *Recorder) Lookup(ctx context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer {
	a := r.Resolver.Lookup(ctx, name, t)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seen {
		if s.name == name && s.typ == t {
			return a
		}
	}
	r.seen = append(r.seen, seen{name, t, a})
	return a
}

// Planner says how mail leaves; *deliver.Deliverer is one.
type Planner interface {
	Plan(ctx context.Context, destination string, e queue.Envelope) deliver.Plan
}

// Limits are those that bound mail to a destination.
type Limits struct {
	MessageBytes   int64  `json:"message_bytes"`
	Deliveries     int    `json:"deliveries"`            // at once, in all
	PerDestination int    `json:"per_destination"`       // of them
	Connections    int    `json:"connections,omitempty"` // of the route, at once; 0: no bound of its own
	Rate           string `json:"rate,omitempty"`        // of the route; "" for none
}

// RcptExplainer explains what becomes of mail to an address. Planner, Recorder and
// Rules are required.
type RcptExplainer struct {
	Planner  Planner
	Recorder *Recorder // that the Planner asks
	Rules    interface {
		RelayRecipient(to mailaddr.Address) (known bool, v policy.Verdict)
	}
	Way    string // which table of the configuration says how it leaves; "" for none
	Limits Limits
}

// Rcpt is the report on an address; all its texts are clean and bounded.
type Rcpt struct {
	Kind         string      `json:"kind"`
	Address      string      `json:"address"`
	Destination  string      `json:"destination"`
	Verdict      string      `json:"verdict"` // open (hosts would be called), refused (it would bounce), temporary (it would wait)
	Door         Door        `json:"door"`
	Way          string      `json:"way"`
	Limits       Limits      `json:"limits"`
	Hosts        []Host      `json:"hosts"`
	Refused      []Hindrance `json:"refused"` // why there are no hosts, or some are left out
	Lookups      []Lookup    `json:"lookups"`
	Queued       []Queued    `json:"queued"`                  // mail for the same destination
	QueueUnknown string      `json:"queue_unknown,omitempty"` // why the queue could not be read
	MoreQueued   int         `json:"more_queued,omitempty"`
}

// Door says whether strangers may send to the address.
type Door struct {
	Open   bool   `json:"open"`
	Reason string `json:"reason,omitempty"` // why not
}

// Host is one that would be called, in the order of the calls.
type Host struct {
	Host      string     `json:"host"`
	Group     int        `json:"group"` // hosts of one are tried in a random order
	Addresses []string   `json:"addresses"`
	Proved    bool       `json:"proved"` // the way to its name, by DNSSEC or by the configuration
	TLS       TLS        `json:"tls"`
	Refused   *Hindrance `json:"refused,omitempty"` // why no mail would go there
}

// TLS is what the host must show.
type TLS struct {
	Wanted    string   `json:"wanted"`
	Required  bool     `json:"required"`
	Proof     string   `json:"proof,omitempty"`
	Lenient   bool     `json:"lenient,omitempty"`
	Names     []string `json:"names,omitempty"`
	Base      string   `json:"base,omitempty"`
	Records   []string `json:"records,omitempty"`
	Published []string `json:"mta_sts,omitempty"`
	Trouble   string   `json:"trouble,omitempty"`
	Ours      bool     `json:"certificate_shown,omitempty"`
}

// Hindrance is why a host or a destination is not used.
type Hindrance struct {
	Final  bool   `json:"final"`
	Status string `json:"status"`
	Text   string `json:"text"`
}

// Lookup is one question to DNS.
type Lookup struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	State   string   `json:"state"`
	Reason  string   `json:"reason,omitempty"`
	Answers []string `json:"answers"`
}

// Queued is a message that waits for the same destination.
type Queued struct {
	ID        string    `json:"id"`
	State     string    `json:"state"`
	Attempts  int       `json:"attempts"`
	Next      time.Time `json:"next,omitzero"`
	LastReply string    `json:"last_reply,omitempty"`
	LastTLS   string    `json:"last_tls,omitempty"`
}

// Explain plans a delivery, and writes down what was seen.
func (e *RcptExplainer) Explain(ctx context.Context, to mailaddr.Address) *Rcpt {
	r := &Rcpt{
		Kind: kindRcpt, Address: to.String(), Destination: queue.Destination(to), Limits: e.Limits,
		Hosts: []Host{}, Refused: []Hindrance{}, Lookups: []Lookup{}, Queued: []Queued{},
	}
	if r.Way = e.Way; r.Way == "" {
		r.Way = "the MX hosts of " + r.Destination
	}
	known, v := e.Rules.RelayRecipient(to)
	if r.Door.Open = known && v.Allow; !r.Door.Open {
		r.Door.Reason = v.Reason.String()
	}
	plan := e.Planner.Plan(ctx, r.Destination, queue.Envelope{})
	r.take(plan)
	e.Recorder.mu.Lock()
	defer e.Recorder.mu.Unlock()
	for _, s := range e.Recorder.seen[:min(len(e.Recorder.seen), maxLookups)] {
		r.Lookups = append(r.Lookups, s.shown())
	}
	return r
}

// take copies the plan, cleaned, and makes the verdict of it: a temporary reason
// outlives a final one, as in an attempt.
func (r *Rcpt) take(p deliver.Plan) {
	waits, used := false, false
	refused := func(f deliver.Refusal) Hindrance {
		waits = waits || !f.Final
		return Hindrance{f.Final, f.Status, clean(f.Text)}
	}
	for i, g := range p.Groups {
		for _, s := range g {
			h := Host{Host: clean(s.Host), Group: i + 1, Addresses: []string{}, Proved: s.Secure, TLS: tlsOf(s.TLS)}
			for _, a := range s.Addrs {
				h.Addresses = append(h.Addresses, a.String())
			}
			if s.Refuse != nil {
				h.Refused = new(refused(*s.Refuse))
			}
			used = used || s.Refuse == nil && (s.Socket || len(s.Addrs) > 0)
			r.Hosts = append(r.Hosts, h)
		}
	}
	for _, f := range p.Refuse {
		r.Refused = append(r.Refused, refused(f))
	}
	switch {
	case used:
		r.Verdict = Open
	case waits:
		r.Verdict = Temporary
	default:
		r.Verdict = Refused
	}
}

func tlsOf(t deliver.TLSPlan) TLS {
	return TLS{
		Wanted: t.Wanted, Required: t.Required, Proof: t.Proof, Lenient: t.Lenient, Names: t.Names,
		Base: t.Base, Records: cleanAll(t.Records), Published: cleanAll(t.Published), Trouble: clean(t.Trouble), Ours: t.Ours,
	}
}

func cleanAll(texts []string) (all []string) {
	for _, t := range texts[:min(len(texts), maxAnswers)] {
		all = append(all, clean(t))
	}
	return all
}

func (s seen) shown() Lookup {
	a := s.answer
	l := Lookup{Name: s.name.String(), Type: typeWord(s.typ), State: a.State.String(), Reason: clean(a.Reason), Answers: []string{}}
	var all []string
	for _, m := range a.MX {
		all = append(all, fmt.Sprintf("%d %s", m.Preference, orNone(m.Host.String())))
	}
	for _, ip := range a.Addrs {
		all = append(all, ip.String())
	}
	for _, t := range a.TLSA {
		all = append(all, fmt.Sprintf("%d %d %d (%d octets)", t.Usage, t.Selector, t.Matching, len(t.Data)))
	}
	for _, n := range a.Names {
		all = append(all, n.String())
	}
	all = append(all, a.TXT...)
	if a.NXDomain {
		all = append(all, "no such name")
	}
	if a.CNAME && !a.Final.IsZero() {
		all = append(all, "by way of "+a.Final.String())
	}
	if all = cleanAll(all); all != nil {
		l.Answers = all
	}
	return l
}

// typeWord names the types that a delivery asks for.
func typeWord(t dnssec.Type) string {
	switch t {
	case dnssec.TypeA:
		return "A"
	case dnssec.TypeAAAA:
		return "AAAA"
	case dnssec.TypeMX:
		return "MX"
	case dnssec.TypeTLSA:
		return "TLSA"
	case dnssec.TypeTXT:
		return "TXT"
	case dnssec.TypeCNAME:
		return "CNAME"
	}
	return fmt.Sprintf("TYPE%d", t)
}

// Add lists a message of the queue if it waits for the same destination.
func (r *Rcpt) Add(s queue.Summary) {
	for _, to := range s.Recipients {
		if to.Destination != r.Destination || to.Next.IsZero() {
			continue
		}
		if len(r.Queued) == maxQueued {
			r.MoreQueued++
			return
		}
		r.Queued = append(r.Queued, Queued{string(s.ID), to.State, to.Attempts, to.Next.UTC(), clean(to.LastReply), clean(to.LastTLS)})
		return // all recipients of a destination are tried together
	}
}

// demand words what a host's TLS must show.
func (h *Host) demand() string {
	t := h.TLS
	var b strings.Builder
	b.WriteString(orNone(t.Wanted))
	switch {
	case t.Proof == "dane":
		b.WriteString(": TLSA records at " + t.Base + " decide")
	case t.Proof == "pkix":
		b.WriteString(": a certificate for " + strings.Join(t.Names, " or "))
	case t.Required:
		b.WriteString(": TLS, with whomever")
	default:
		b.WriteString(": TLS when it is offered")
	}
	if t.Lenient {
		b.WriteString("; a failure is reported only")
	}
	return b.String()
}
