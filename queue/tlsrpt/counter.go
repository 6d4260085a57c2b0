package tlsrpt

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/foreign"
	"dancemta/internal/maillog"
)

// Bounds of what is counted in a day: the domains are where users send mail, the
// rest is what other servers publish and do.
const (
	maxDomains  = 20_000
	maxPolicies = 16 // of one domain: a policy changes rarely
	maxFailures = 64 // kinds of failure under one policy; more are told by result alone
	maxStrings  = 64 // lines of a policy
	// maxOctets bounds a day in memory, about: all the bounds above together are some
	// gigabytes, of texts that strangers choose. overhead is that of one entry.
	maxOctets = 64 << 20
	overhead  = 200
	maxText   = 512
)

// Counter counts sessions by day (UTC, RFC 8460 4.1) and policy. A nil Counter
// counts nothing.
type Counter struct {
	dir string
	now func() time.Time
	log *slog.Logger

	disk sync.Mutex // one of save and forget: a day that has ended must not come back

	mu    sync.Mutex
	days  map[string]*day // by date
	dirty map[string]bool // dates whose file is older than the counts
}

// day is what was counted on one, and the form of its file.
type day struct {
	Version int                       `json:"version"`
	Domains map[dnsname.Name]*tallies `json:"domains"`
	full    bool                      // has been said
	octets  int                       // of all entries, about
}

// tallies are those of one domain.
type tallies struct {
	Policies []*tally `json:"policies"`
}

// tally is what was counted under one policy.
type tally struct {
	Type    PolicyType   `json:"type"`
	Domain  dnsname.Name `json:"domain"`
	Strings []string     `json:"strings,omitempty"`
	MXHosts []string     `json:"mx,omitempty"`

	Successes int64      `json:"successes"`
	Failures  []*failure `json:"failures,omitempty"`
}

// failure is one kind of it. Its fields but Count are the kind.
type failure struct {
	Result      ResultType   `json:"result"`
	MX          dnsname.Name `json:"mx,omitzero"`
	Helo        string       `json:"helo,omitempty"`
	SendingIP   netip.Addr   `json:"sending_ip,omitzero"`
	ReceivingIP netip.Addr   `json:"receiving_ip,omitzero"`
	Reason      string       `json:"reason,omitempty"`
	Info        string       `json:"info,omitempty"`

	Count int64 `json:"count"`
}

// Add counts a session of now. It never waits for a disk or a peer, and may be
// called from many goroutines.
func (c *Counter) Add(s Session) {
	if c == nil || s.Domain.IsZero() {
		return
	}
	date := dateOf(c.now())
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.days[date]
	if d == nil {
		d = newDay()
		c.days[date] = d
	}
	all := d.Domains[s.Domain]
	if all == nil {
		if len(d.Domains) >= maxDomains || d.octets >= maxOctets {
			if !d.full {
				d.full = true
				maillog.Trouble(c.log, "TLS sessions of further domains are not counted today", fmt.Errorf("%d domains, %d octets", len(d.Domains), d.octets))
			}
			return
		}
		all = &tallies{}
		d.Domains[s.Domain] = all
		d.octets += overhead
	}
	c.dirty[date] = true
	t := d.tally(all, s.Policy)
	if s.Result == Success {
		t.Successes++
		return
	}
	d.fail(t, s)
}

func newDay() *day { return &day{Version: fileVersion, Domains: map[dnsname.Name]*tallies{}} }

// dateOf is the name of a day in UTC.
func dateOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// tally returns that of a policy. When a domain has too many, or the day, the last
// one of the same type stands for all further ones: no session is left out.
func (d *day) tally(a *tallies, p Policy) *tally {
	p.Strings, p.MXHosts = bounded(p.Strings), bounded(p.MXHosts)
	for _, t := range a.Policies {
		if t.Type == p.Type && t.Domain == p.Domain && slices.Equal(t.Strings, p.Strings) && slices.Equal(t.MXHosts, p.MXHosts) {
			return t
		}
	}
	full := d.octets >= maxOctets
	if full || len(a.Policies) >= maxPolicies {
		for _, t := range slices.Backward(a.Policies) {
			if t.Type == p.Type {
				return t
			}
		}
	}
	t := &tally{Type: p.Type, Domain: p.Domain, Strings: p.Strings, MXHosts: p.MXHosts}
	if full {
		t.Strings, t.MXHosts = nil, nil
	}
	d.octets += t.octets()
	a.Policies = append(a.Policies, t)
	return t
}

// fail counts a failure.
func (d *day) fail(t *tally, s Session) {
	kind := failure{
		Result: s.Result, MX: s.MX, Helo: clean(s.Helo), SendingIP: s.SendingIP, ReceivingIP: s.ReceivingIP,
		Reason: clean(s.Reason), Info: clean(s.Info),
	}
	if t.add(kind) {
		return
	}
	if len(t.Failures) < maxFailures && d.octets < maxOctets {
		t.Failures = append(t.Failures, counted(kind))
		d.octets += kind.octets()
		return
	}
	if kind = (failure{Result: s.Result}); !t.add(kind) {
		t.Failures = append(t.Failures, counted(kind)) // as many more as there are results
		d.octets += kind.octets()
	}
}

func counted(kind failure) *failure {
	kind.Count = 1
	return &kind
}

// add counts a failure of a kind that is known.
func (t *tally) add(kind failure) bool {
	for _, f := range t.Failures {
		if kind.Count = f.Count; *f == kind {
			f.Count++
			return true
		}
	}
	return false
}

func (f failure) octets() int { return overhead + len(f.Helo) + len(f.Reason) + len(f.Info) }

// octets is what a tally takes without its failures, about.
func (t *tally) octets() int {
	n := overhead
	for _, s := range slices.Concat(t.Strings, t.MXHosts) {
		n += len(s)
	}
	return n
}

// size counts what was read from a file.
func (d *day) size() (n int) {
	for _, all := range d.Domains {
		n += overhead
		for _, t := range all.Policies {
			n += t.octets()
			for _, f := range t.Failures {
				n += f.octets()
			}
		}
	}
	return n
}

// failures is the sum.
func (t *tally) failures() (n int64) {
	for _, f := range t.Failures {
		n += f.Count
	}
	return n
}

// bounded keeps what a policy's text may take.
func bounded(texts []string) []string {
	var out []string
	for _, s := range texts[:min(len(texts), maxStrings)] {
		out = append(out, clean(s))
	}
	return out
}

// clean bounds these texts, which all are made of printable ASCII.
func clean(s string) string { return foreign.ASCII(s, maxText) }
