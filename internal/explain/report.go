package explain

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/foreign"
)

// The kinds of peers.
const (
	kindClient = "client"
	kindUser   = "user"
)

// The verdicts.
const (
	Accepted  = "accepted"
	Open      = "open" // a name alone: nothing stands in its way, a certificate decides
	Refused   = "refused"
	Temporary = "temporary" // cannot be judged now
)

// Report is an explanation; all its texts are clean and bounded.
type Report struct {
	Kind     string     `json:"kind"`
	Listener string     `json:"listener"`
	Verdict  string     `json:"verdict"`
	Reason   string     `json:"reason,omitempty"` // a stable word, as in the log
	Detail   string     `json:"detail,omitempty"` // the rest of the log's text
	Reply    string     `json:"reply,omitempty"`  // what the peer reads when it is refused
	Identity string     `json:"identity,omitempty"`
	Record   string     `json:"record,omitempty"` // that matched
	Until    *time.Time `json:"until,omitempty"`  // judged again then

	Source string        `json:"source"`          // where the name comes from
	Name   string        `json:"name,omitempty"`  // the name, where it is told or given
	Names  []Name        `json:"names"`           // that the rules were asked about
	LDAP   *LDAP         `json:"ldap,omitempty"`  // of a user at the bridge, once he is proved
	Chain  []Certificate `json:"chain,omitempty"` // as it is shown
	DNS    *DNS          `json:"dns,omitempty"`   // nil: no query was made
	Hints  []string      `json:"hints"`
}

// Name is a name that a rule decided about.
type Name struct {
	Name    string `json:"name"`
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason,omitempty"` // no-rule, denied
	Rule    string `json:"rule,omitempty"`   // that decided, with its line
}

// Certificate is one of a chain.
type Certificate struct {
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	CA         bool      `json:"ca"`
	DNSNames   []string  `json:"dns_names,omitempty"` // the first of them
	MoreNames  int       `json:"more_names,omitempty"`
	SHA256     string    `json:"sha256"`
	SPKISHA256 string    `json:"spki_sha256"`
}

// DNS is what DNS said of one name.
type DNS struct {
	Owner    string    `json:"owner"`
	State    string    `json:"state"` // secure, insecure, bogus, failed
	Reason   string    `json:"reason,omitempty"`
	Final    string    `json:"final,omitempty"` // where CNAMEs led
	Wildcard bool      `json:"wildcard,omitempty"`
	Expires  time.Time `json:"expires"`
	Steps    []Step    `json:"steps"`
	Records  []Record  `json:"records"`
}

// Step is one proof on the way, or one that is wrong or missing.
type Step struct {
	State  string `json:"state"`
	Zone   string `json:"zone,omitempty"` // whose keys were used
	Name   string `json:"name"`
	Type   string `json:"type"`
	Detail string `json:"detail"` // signer and key tag, or what is wrong
}

// Record is one TLSA record.
type Record struct {
	Record  string `json:"record"`
	Usable  bool   `json:"usable"`
	Matches bool   `json:"matches"`
	Why     string `json:"why,omitempty"` // why it does not match
}

const (
	maxText  = 300 // octets of one foreign text: a distinguished name may be of any length
	maxNames = 20  // dNSNames shown of one certificate
	maxShown = 10  // certificates of a chain: more are not looked at
)

// clean keeps a terminal from obeying what a stranger wrote into a certificate or
// a zone.
func clean(s string) string { return foreign.Printable(s, maxText) }

func certificates(chain []*x509.Certificate) []Certificate {
	var shown []Certificate
	for _, c := range chain[:min(len(chain), maxShown)] {
		if c == nil {
			break
		}
		whole, key := sha256.Sum256(c.Raw), sha256.Sum256(c.RawSubjectPublicKeyInfo)
		s := Certificate{
			Subject: clean(c.Subject.String()), Issuer: clean(c.Issuer.String()),
			NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), CA: c.BasicConstraintsValid && c.IsCA,
			MoreNames: max(len(c.DNSNames)-maxNames, 0),
			SHA256:    hex.EncodeToString(whole[:]), SPKISHA256: hex.EncodeToString(key[:]),
		}
		for _, name := range c.DNSNames[:min(len(c.DNSNames), maxNames)] {
			s.DNSNames = append(s.DNSNames, clean(name))
		}
		shown = append(shown, s)
	}
	return shown
}

// dns turns the evidence into its part of the report.
func (x *explanation) dns() *DNS {
	if x.seen.Owner.IsZero() {
		return nil
	}
	a := x.seen.Answer
	d := &DNS{
		Owner: x.seen.Owner.String(), State: a.State.String(), Reason: clean(a.Reason),
		Wildcard: a.Wildcard, Expires: a.Expires.UTC(), Steps: []Step{}, Records: []Record{},
	}
	if a.CNAME {
		d.Final = a.Final.String()
	}
	for _, s := range a.Steps {
		d.Steps = append(d.Steps, Step{s.State.String(), clean(s.Zone), clean(s.Name), clean(s.Type), clean(s.Detail)})
	}
	for _, f := range x.seen.Records {
		d.Records = append(d.Records, x.record(f.Record.String(), f.Usable, f.Matches, f.Why))
	}
	return d
}

// record words one finding; without a certificate nothing was compared.
func (x *explanation) record(text string, usable, matches bool, why string) Record {
	if usable && len(x.cred.Chain) == 0 {
		why = "not compared: no certificate was given"
	}
	return Record{text, usable, matches, clean(why)}
}

// owner is the place of the records that were, or would have been, asked for.
func (x *explanation) owner() (daneclient.Owner, bool) {
	var o daneclient.Owner
	var err error
	if x.report.Kind == kindUser {
		o, err = daneclient.UserOwner(x.user.Domain)
	} else {
		o, err = daneclient.FreeOwner(x.seen.Owner)
	}
	return o, err == nil
}
