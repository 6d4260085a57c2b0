package explain

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Print writes the report for people: the verdict first, then where it comes
// from, in the order in which it was found.
func (r *Report) Print(w io.Writer) error {
	t := &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	r.printVerdict(t)
	r.printName(t)
	r.printLDAP(t)
	r.printChain(t)
	r.printDNS(t)
	for i, h := range r.Hints {
		if i == 0 {
			t.head("what to do")
		}
		t.text(h)
	}
	t.flush()
	return t.err
}

// table writes sections of aligned lines.
type table struct {
	w   *tabwriter.Writer
	err error
}

func (t *table) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(t.w, format, args...); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *table) flush() {
	if err := t.w.Flush(); err != nil && t.err == nil {
		t.err = err
	}
}

// head begins a section, whose columns are its own.
func (t *table) head(title string) {
	t.flush()
	t.printf("\n%s\n", title)
}

// line writes cells; one without text, as the last, is left out with its line.
func (t *table) line(cells ...string) {
	if cells[len(cells)-1] != "" {
		t.printf("  %s\n", strings.Join(cells, "\t"))
	}
}

func (t *table) text(s string) { t.printf("  - %s\n", s) }

func (r *Report) printVerdict(t *table) {
	t.printf("%s\n", r.title())
	t.line("reason", r.Detail)
	t.line("reply", r.Reply)
	t.line("identity", r.Identity)
	t.line("record", r.Record)
	if r.Until != nil {
		t.line("holds until", day(*r.Until)+" UTC")
	}
}

func (r *Report) title() string {
	verdict := r.Verdict
	switch {
	case r.Reason != "":
		verdict += " (" + r.Reason + ")"
	case r.Verdict == Open:
		verdict += ": with a certificate that matches a record below it is accepted"
	}
	return fmt.Sprintf("%s on listener %s: %s", r.Kind, r.Listener, verdict)
}

func (r *Report) printName(t *table) {
	t.head("name")
	t.line("from", r.Source)
	t.line("name", r.Name)
	for _, n := range r.Names {
		switch {
		case n.Allowed:
			t.line(n.Name, "allowed by rule "+n.Rule)
		case n.Rule != "":
			t.line(n.Name, "denied by rule "+n.Rule)
		default:
			t.line(n.Name, "no rule allows it")
		}
	}
	if len(r.Names) == 0 {
		t.line("rules", "not asked")
	}
}

func (r *Report) printChain(t *table) {
	if len(r.Chain) == 0 {
		return
	}
	t.head("certificates")
	for i, c := range r.Chain {
		word := "own"
		if i > 0 {
			word = "sent with it"
		}
		t.line(word, "subject", orNone(c.Subject))
		t.line("", "issuer", orNone(c.Issuer))
		t.line("", "valid", day(c.NotBefore)+" to "+day(c.NotAfter)+" UTC")
		if c.CA {
			t.line("", "CA", "yes")
		}
		t.line("", "dNSName", names(c))
		t.line("", "SHA-256", c.SHA256)
		t.line("", "of its key", c.SPKISHA256)
	}
}

func names(c Certificate) string {
	s := strings.Join(c.DNSNames, ", ")
	if c.MoreNames > 0 {
		s += fmt.Sprintf(" and %d more", c.MoreNames)
	}
	return s
}

func orNone(s string) string {
	if s == "" {
		return "(empty)"
	}
	return s
}

func (r *Report) printDNS(t *table) {
	if r.DNS == nil {
		t.head("DNS")
		t.line("not asked")
		return
	}
	d := r.DNS
	t.head(fmt.Sprintf("DNS: %s TLSA is %s", d.Owner, d.State))
	t.line("led to", d.Final)
	if d.Wildcard {
		t.line("made from", "a wildcard")
	}
	t.flush()
	for _, s := range d.Steps {
		t.line(s.State, s.Name+" "+s.Type, s.Detail)
	}
	if len(d.Records) == 0 {
		return
	}
	t.head("records")
	for _, rec := range d.Records {
		t.line(rec.Record)
		switch {
		case rec.Matches:
			t.line("  matches")
		case rec.Usable:
			t.line("  " + rec.Why)
		default:
			t.line("  does not count: " + rec.Why)
		}
	}
}
