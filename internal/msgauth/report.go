package msgauth

import (
	"slices"
	"strings"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

// Result is a word of RFC 8601 2.7.
type Result string

// The results.
const (
	None      Result = "none" // nothing to judge
	Pass      Result = "pass"
	Fail      Result = "fail"
	SoftFail  Result = "softfail"  // SPF: not authorized, says somebody who is not sure
	Neutral   Result = "neutral"   // SPF: the domain says nothing; DKIM: cannot be read
	Policy    Result = "policy"    // DKIM: not taken here, such as a key that is too short
	TempError Result = "temperror" // DNS does not say now
	PermError Result = "permerror" // the domain's records, or the message, are wrong
)

// unjudged is the zero Result.
const unjudged Result = ""

// SPF is what RFC 7208 says.
type SPF struct {
	Result Result
	Domain dnsname.Name // that was asked; zero: there was none to ask
	Helo   bool         // it is the peer's name, since the sender is null. RFC 7208 2.4
	Why    string
}

// Signature is what RFC 6376 says of one DKIM-Signature field.
type Signature struct {
	Result           Result
	Domain, Selector dnsname.Name // d= and s=; zero: they cannot be read
	Algorithm        string       // a=; "" when it is none that is known
	Begins           string       // the first octets of b=, which tell it from others. RFC 6008 4
	Why              string       // for people; no text of the peer
}

// DMARC is what RFC 7489 says.
type DMARC struct {
	Result Result
	Author dnsname.Name // the domain in From; zero: it is not as it must be
	Demand Demand       // what its record asks for; "": there is none, or it is not known
	// Verdict is what a receiver that obeys does.
	Verdict Verdict
	Why     string
}

// Demand is what a domain asks to be done with mail that is not its own.
type Demand string

// The demands. RFC 7489 6.3
const (
	NoDemand   Demand = "none"
	Quarantine Demand = "quarantine"
	Reject     Demand = "reject"
)

// Report is what was found out about a message.
type Report struct {
	// Authors are the addresses in From; none when it is not as it must be.
	Authors []mailaddr.Address

	SPF   SPF
	DKIM  []Signature // in the order of the header; at most maxSignatures
	DMARC DMARC
}

// Verdict is what a receiver that obeys DMARC does.
type Verdict uint8

// The verdicts. The zero Verdict takes nothing.
const (
	Later    Verdict = iota // DNS did not say what is needed. RFC 7489 6.6.2
	Take                    // no domain asks for anything else than delivery
	Refuse                  // the domain in From asks for it
	NoAuthor                // there is not exactly one From field that can be read. RFC 7489 6.6.1
)

// DKIMResult is the best result of all signatures.
func (r Report) DKIMResult() Result {
	best := None
	for _, s := range r.DKIM {
		if rank(s.Result) > rank(best) {
			best = s.Result
		}
	}
	return best
}

// ranks orders the results of signatures: what may still become a pass comes right
// before it.
var ranks = []Result{None, Neutral, Policy, PermError, Fail, TempError, Pass}

func rank(r Result) int { return slices.Index(ranks, r) }

// Detail is the report for the log.
func (r Report) Detail() string {
	var b strings.Builder
	b.WriteString("spf=" + string(r.SPF.Result) + " " + r.SPF.Domain.String())
	for _, s := range r.DKIM {
		b.WriteString(" dkim=" + string(s.Result) + " " + s.Domain.String() + because(s.Why))
	}
	b.WriteString(" dmarc=" + string(r.DMARC.Result) + " " + r.DMARC.Author.String() + because(r.DMARC.Why))
	return b.String()
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}
