package explain

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"dancemta/smtpd/policy"
)

// Print writes the report for people.
func (r *Rcpt) Print(w io.Writer) error {
	t := &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.printf("mail to %s: %s\n", r.Address, r.title())
	t.line("from strangers", r.door())
	t.line("way", r.Way)
	t.line("limits", r.limits())
	r.printHosts(t)
	r.printLookups(t)
	r.printQueued(t)
	t.flush()
	return t.err
}

func (r *Rcpt) title() string {
	switch r.Verdict {
	case Open:
		return "hosts would be called"
	case Temporary:
		return "it would wait"
	}
	return "it would bounce"
}

func (r *Rcpt) door() string {
	if r.Door.Open {
		return "taken"
	}
	if r.Door.Reason == policy.AskBackend.String() {
		return "the next hop is asked for the mailbox"
	}
	return "refused (" + r.Door.Reason + "); a rule may let clients and users send there"
}

func (r *Rcpt) limits() string {
	s := fmt.Sprintf("%d octets a message, %d deliveries at once, %d of them to one destination", r.Limits.MessageBytes, r.Limits.Deliveries, r.Limits.PerDestination)
	if n := r.Limits.Connections; n > 0 {
		s += fmt.Sprintf(", %d connections at once on this way", n)
	}
	if r.Limits.Rate != "" {
		s += ", " + r.Limits.Rate + " on this way"
	}
	return s
}

func (r *Rcpt) printHosts(t *table) {
	t.head("hosts, in the order of calls")
	for _, h := range r.Hosts {
		t.line(strconv.Itoa(h.Group), h.Host, h.where())
		if h.TLS.Wanted != "" {
			t.line("", "TLS", h.demand())
		}
		if !h.Proved && !h.isSocket() {
			t.line("", "name", "not proved to be the destination's")
		}
		for _, record := range h.TLS.Records {
			t.line("", "record", record)
		}
		t.line("", "MTA-STS", strings.Join(h.TLS.Published, "; "))
		t.line("", "trouble", h.TLS.Trouble)
		if h.TLS.Ours {
			t.line("", "ours", "our certificate is shown")
		}
		if h.Refused != nil {
			t.line("", "NOT used", h.Refused.String())
		}
	}
	for _, f := range r.Refused {
		t.line("", "none", f.String())
	}
}

// isSocket: a Unix socket has no address, no name in DNS and no TLS.
func (h Host) isSocket() bool { return strings.HasPrefix(h.Host, "unix:") }

func (h Host) where() string {
	if h.isSocket() {
		return "a socket of this host"
	}
	return orNone(strings.Join(h.Addresses, " "))
}

// String is what a bounce or the list of the queue would say.
func (h Hindrance) String() string {
	word := "waits"
	if h.Final {
		word = "bounces"
	}
	return fmt.Sprintf("%s (%s %s)", h.Text, h.Status, word)
}

func (r *Rcpt) printLookups(t *table) {
	t.head("DNS")
	for _, l := range r.Lookups {
		what := strings.Join(l.Answers, ", ")
		if l.Reason != "" {
			what = strings.TrimPrefix(what+"; "+l.Reason, "; ")
		}
		if what == "" {
			what = "none"
		}
		t.line(l.State, l.Name+" "+l.Type, what)
	}
	if len(r.Lookups) == 0 {
		t.line("not asked")
	}
}

func (r *Rcpt) printQueued(t *table) {
	t.head("in the queue for " + r.Destination)
	for _, q := range r.Queued {
		t.line(q.ID, q.State, fmt.Sprintf("%d tries, next %s UTC", q.Attempts, q.Next.Format(time.DateTime)))
		t.line("", "last reply", q.LastReply)
		t.line("", "last TLS", q.LastTLS)
	}
	if r.MoreQueued > 0 {
		t.line(fmt.Sprintf("and %d more", r.MoreQueued))
	}
	switch {
	case r.QueueUnknown != "":
		t.line("not known: " + clean(r.QueueUnknown))
	case len(r.Queued) == 0:
		t.line("nothing")
	}
}
