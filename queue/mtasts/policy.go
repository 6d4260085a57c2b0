// Package mtasts knows what other domains say of their mail servers' TLS by
// HTTPS (RFC 8461). The idea: a policy that was once fetched holds until its
// max_age is over, whatever DNS and HTTPS say meanwhile, since whoever can break
// TLS can hide both; so it is kept on disk, and nothing but a newer policy, fetched
// with a proof, takes its place.
//
// Start with New, then Client.Policy for each domain that mail goes to; Client.Run
// refreshes what is kept. Nothing is known here of SMTP: the caller obeys.
package mtasts

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"dancemta/internal/dnsname"
)

// Mode is what a policy wants. The zero Mode is that of no policy at all.
type Mode uint8

// The modes (RFC 8461 5).
const (
	None    Mode = iota // nothing: as if there were no policy
	Testing             // failures are reported, mail goes all the same
	Enforce             // mail goes to hosts that pass, and to no others
)

var modes = map[string]Mode{"none": None, "testing": Testing, "enforce": Enforce}

// String returns the word of RFC 8461 3.2.
func (m Mode) String() string {
	switch m {
	case Enforce:
		return "enforce"
	case Testing:
		return "testing"
	}
	return "none"
}

const (
	maxPolicy = 64 << 10               // octets: RFC 8461 3.3 suggests it
	maxAge    = 31557600 * time.Second // RFC 8461 3.2
	maxDigits = 10                     // of max_age, RFC 8461 3.2
	// maxPatterns is far above what a domain has MX hosts, and bounds what is
	// compared at each attempt.
	maxPatterns = 200
)

// Policy is what a domain wants. The zero Policy is none.
type Policy struct {
	Domain  dnsname.Name // whose it is; zero: there is no policy
	ID      string       // of the TXT record under which it was fetched
	Mode    Mode
	MX      []string // host names, or "*." and a name, in lower case
	MaxAge  time.Duration
	Fetched time.Time
}

// Expires is when the policy is no longer believed, if nothing newer came.
func (p Policy) Expires() time.Time { return p.Fetched.Add(p.MaxAge) }

// Lines is the policy as text without what it says to others than us, as reports
// want it (RFC 8460 4.4).
func (p Policy) Lines() []string {
	if p.Domain.IsZero() {
		return nil
	}
	lines := []string{"version: STSv1", "mode: " + p.Mode.String()}
	for _, mx := range p.MX {
		lines = append(lines, "mx: "+mx)
	}
	return append(lines, "max_age: "+strconv.FormatInt(int64(p.MaxAge/time.Second), 10))
}

// Match reports whether a host may take the domain's mail (RFC 8461 4.1): its name
// is a pattern, or one label stands where a pattern has the star.
func (p Policy) Match(host dnsname.Name) bool {
	_, parent := host.Cut()
	return slices.ContainsFunc(p.MX, func(pattern string) bool {
		if below, ok := strings.CutPrefix(pattern, "*."); ok {
			return !parent.IsZero() && parent.String() == below
		}
		return host.String() == pattern
	})
}

var (
	errNoVersion = errors.New("no version STSv1")
	errNoMode    = errors.New("no mode that is known")
	errNoAge     = errors.New("no max_age")
	errNoMX      = errors.New("no mx")
	errManyMX    = errors.New("too many mx")
)

// parsePolicy reads the text of a policy (RFC 8461 3.2). Of a key that may stand
// once the first counts, and unknown ones say nothing to us.
func parsePolicy(text string) (Policy, error) {
	first := map[string]string{}
	var p Policy
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return Policy{}, fmt.Errorf("%.80q is no field", line)
		}
		value = strings.TrimLeft(value, " \t")
		if key == "mx" {
			pattern, err := parsePattern(value)
			if err != nil {
				return Policy{}, err
			}
			p.MX = append(p.MX, pattern)
		}
		if _, again := first[key]; !again {
			first[key] = value
		}
	}
	return p.complete(first)
}

// complete takes the keys that stand once.
func (p Policy) complete(first map[string]string) (Policy, error) {
	mode, known := modes[first["mode"]]
	age, err := parseAge(first["max_age"])
	switch {
	case first["version"] != "STSv1":
		return Policy{}, errNoVersion
	case !known:
		return Policy{}, errNoMode
	case err != nil:
		return Policy{}, err
	case len(p.MX) == 0 && mode != None: // RFC 8461 3.2
		return Policy{}, errNoMX
	case len(p.MX) > maxPatterns:
		return Policy{}, errManyMX
	}
	p.Mode, p.MaxAge = mode, age
	return p, nil
}

// parseAge cuts what is too long rather than refuse it: the domain wants more
// protection than there is, not less.
func parseAge(text string) (time.Duration, error) {
	if text == "" || len(text) > maxDigits {
		return 0, errNoAge
	}
	seconds, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, errNoAge
	}
	return time.Duration(min(seconds, uint64(maxAge/time.Second))) * time.Second, nil
}

// parsePattern reads the value of mx: A-labels, a star for the first label at most.
func parsePattern(text string) (string, error) {
	below, star := strings.CutPrefix(text, "*.")
	name, err := dnsname.Parse(below)
	if err != nil {
		return "", fmt.Errorf("mx %w", err)
	}
	if star {
		return "*." + name.String(), nil
	}
	return name.String(), nil
}
