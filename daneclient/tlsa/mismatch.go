package tlsa

import (
	"fmt"
	"strings"

	"dancemta/internal/foreign"
)

const (
	maxTried = 6   // attempts that a log line shows
	maxWhy   = 200 // octets of one reason; x509 errors quote names of the peer
)

// MismatchError says which records were tried and why none of them counts. It
// is for the log, never for the peer, and bounded.
type MismatchError struct {
	Tried []Attempt
	More  int // attempts that are not listed
	// OnlyName says that a record of usages 0 to 2 matched in everything but the name:
	// the certificate is good, and was not made for who shows it.
	OnlyName bool
}

// Attempt is one record that did not match.
type Attempt struct {
	Record string // Record.Short
	Why    string
}

// Error returns the attempts on one line.
func (e *MismatchError) Error() string {
	if len(e.Tried) == 0 {
		return "no records to compare with"
	}
	var b strings.Builder
	for i, a := range e.Tried {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(a.Record + ": " + a.Why)
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "; and %d more", e.More)
	}
	return b.String()
}

func (e *MismatchError) add(r Record, why string) {
	if len(e.Tried) >= maxTried {
		e.More++
		return
	}
	e.Tried = append(e.Tried, Attempt{r.Short(), clean(why)})
}

// addName says that a record matched, and the name was wrong.
func (e *MismatchError) addName(r Record, o Options) {
	e.OnlyName = true
	if len(o.Hosts) > 0 {
		e.add(r, fmt.Sprintf("leaf is for no server called %.100q", o.Hosts))
		return
	}
	e.add(r, fmt.Sprintf("leaf does not hold the dNSName %.80q", o.Name))
}

// clean makes a text safe for a log line: certificates of strangers get into the
// errors of crypto/x509.
func clean(s string) string { return foreign.Printable(s, maxWhy) }
