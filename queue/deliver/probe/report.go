package probe

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"dancemta/internal/maillog"
)

// Report is what was seen. All its texts are clean and bounded.
type Report struct {
	Host      string        `json:"host"`
	Port      uint16        `json:"port"`
	Verdict   string        `json:"verdict"`
	Trouble   string        `json:"trouble,omitempty"` // why there is no address
	Addresses []Address     `json:"addresses"`         // that were tried
	Banner    string        `json:"banner,omitempty"`
	Clear     []string      `json:"extensions_clear,omitempty"` // offered before TLS
	Secure    []string      `json:"extensions_tls,omitempty"`   // offered inside
	TLS       TLS           `json:"tls"`
	Chain     []Certificate `json:"chain,omitempty"`
	PKIX      Judgement     `json:"pkix"`
	DANE      DANE          `json:"dane"`
	STS       *STS          `json:"mta_sts,omitempty"` // nil: no domain was given
}

// Address is one that was tried.
type Address struct {
	Address string `json:"address"`
	Error   string `json:"error,omitempty"`
}

// TLS is what came of the handshake.
type TLS struct {
	Offered bool   `json:"offered"`
	Version string `json:"version,omitempty"`
	Cipher  string `json:"cipher,omitempty"`
	Group   string `json:"group,omitempty"`
	Error   string `json:"error,omitempty"`
	Alert   string `json:"alert,omitempty"` // that came from there

	AsksCertificate bool `json:"asks_certificate"`
	AsksName        bool `json:"asks_dane_clientid"`
	CAs             int  `json:"acceptable_cas,omitempty"` // that it names: with any, others need not try
	Shown           bool `json:"certificate_shown"`        // ours was
}

// Judgement is what one of those who may vouch for a certificate says of it: match,
// mismatch, or nothing when none came.
type Judgement struct {
	Verdict string `json:"verdict,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// DANE is the judgement of the TLSA records. Its verdict is match, mismatch, unknown
// (not reached), or the reason why there are none: no-record, insecure, unusable,
// bogus-dns, failed-dns.
type DANE struct {
	Judgement
	Base    string   `json:"base,omitempty"` // where they stand
	Records []string `json:"records,omitempty"`
	Record  string   `json:"record,omitempty"` // that matched
}

// STS is what the domain's MTA-STS policy says.
type STS struct {
	Domain    string   `json:"domain"`
	Found     bool     `json:"found"`
	Mode      string   `json:"mode"`
	MX        []string `json:"mx"`
	NamesHost bool     `json:"names_host"`
	Reason    string   `json:"reason,omitempty"` // why there is none, or none newer
}

// Certificate is one of the chain.
type Certificate struct {
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	Key        string    `json:"key"`
	DNSNames   []string  `json:"dns_names,omitempty"` // the first of them
	SHA256     string    `json:"sha256"`
	SPKISHA256 string    `json:"spki_sha256"`
}

func certificates(chain []*x509.Certificate) (shown []Certificate) {
	for _, c := range chain[:min(len(chain), maxCertificates)] {
		whole, key := sha256.Sum256(c.Raw), sha256.Sum256(c.RawSubjectPublicKeyInfo)
		s := Certificate{
			Subject: maillog.Clean(c.Subject.String()), Issuer: maillog.Clean(c.Issuer.String()),
			NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), Key: keyOf(c),
			SHA256: hex.EncodeToString(whole[:]), SPKISHA256: hex.EncodeToString(key[:]),
		}
		for _, name := range c.DNSNames[:min(len(c.DNSNames), maxNames)] {
			s.DNSNames = append(s.DNSNames, maillog.Clean(name))
		}
		shown = append(shown, s)
	}
	return shown
}

func keyOf(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return c.PublicKeyAlgorithm.String()
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	p := &printer{}
	p.line("%s port %d: %s", r.Host, r.Port, r.Verdict)
	if r.Trouble != "" {
		p.line("  DNS: %s", r.Trouble)
	}
	for _, a := range r.Addresses {
		p.line("  address %s%s", a.Address, behind(": ", a.Error))
	}
	if r.Banner != "" {
		p.line("  greeting: %s", r.Banner)
	}
	p.list("  offers in clear: ", r.Clear)
	if r.Banner != "" || r.TLS.Offered {
		p.tls(r.TLS)
	}
	p.list("  offers inside TLS: ", r.Secure)
	for i, c := range r.Chain {
		p.line("  certificate %d: %s, by %s", i, cmp.Or(c.Subject, "no subject"), cmp.Or(c.Issuer, "nobody"))
		p.line("    %s, %s to %s", c.Key, c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
		p.list("    names: ", c.DNSNames)
		p.line("    sha256 %s, of the key %s", c.SHA256, c.SPKISHA256)
	}
	if r.PKIX.Verdict != "" {
		p.line("  PKIX: %s%s", r.PKIX.Verdict, behind(": ", r.PKIX.Reason))
	}
	p.line("  DANE: %s%s%s", r.DANE.Verdict, behind(" by ", r.DANE.Record), behind(": ", strings.Replace(r.DANE.Reason, string(r.DANE.Verdict)+": ", "", 1)))
	for _, record := range r.DANE.Records {
		p.line("    TLSA at %s: %s", r.DANE.Base, record)
	}
	if s := r.STS; s != nil {
		p.sts(s)
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// Greetless reports that a host took the connection and did not greet.
func (r *Report) Greetless() bool {
	return slices.ContainsFunc(r.Addresses, func(a Address) bool { return strings.HasPrefix(a.Error, "greeting:") })
}

type printer struct{ b strings.Builder }

func (p *printer) line(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

func (p *printer) list(what string, words []string) {
	if len(words) > 0 {
		p.line("%s%s", what, strings.Join(words, ", "))
	}
}

func (p *printer) tls(t TLS) {
	switch {
	case !t.Offered:
		p.line("  TLS: not offered")
	case t.Version != "":
		p.line("  TLS: %s, %s%s", t.Version, t.Cipher, behind(", ", t.Group))
	}
	if t.Error != "" {
		p.line("  TLS failed: %s", t.Error)
	}
	if t.Alert != "" {
		p.line("  its alert: %s", t.Alert)
	}
	switch {
	case t.AsksName:
		p.line("  asks for a certificate, and for a name by dane_clientid")
	case t.AsksCertificate:
		p.line("  asks for a certificate%s", behind(", ", cas(t.CAs)))
	case t.Version != "":
		p.line("  asks for no certificate")
	}
	if t.Shown {
		p.line("  ours was shown")
	}
}

func cas(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("of one of %d CAs that it names", n)
}

func (p *printer) sts(s *STS) {
	switch {
	case !s.Found:
		p.line("  MTA-STS of %s: none%s", s.Domain, behind(": ", s.Reason))
		return
	case s.NamesHost:
		p.line("  MTA-STS of %s: %s, names this host%s", s.Domain, s.Mode, behind("; ", s.Reason))
	default:
		p.line("  MTA-STS of %s: %s, does NOT name this host%s", s.Domain, s.Mode, behind("; ", s.Reason))
	}
	p.list("    mx: ", s.MX)
}

// behind puts a sign before a text, where there is one.
func behind(sign, text string) string {
	if text == "" {
		return ""
	}
	return sign + text
}
