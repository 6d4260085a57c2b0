package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"dancemta/daneclient"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/foreign"
	"dancemta/internal/pemfile"
	"dancemta/saslext"
	"dancemta/saslext/usercert"
)

func newUserCertShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show FILE",
		Short: "Show what is in a user's certificate, and whether a relay would take it",
		Long: `Show the identity, the chain, the dates and the key of a certificate (PEM or DER, own
certificate first), and whether it would log its user in now where the domain publishes
the CA of this chain; if not, why, and the exit code is 6. DNS is not asked.`,
		Example: "  dancemta usercert show users/rick.pem",
		Args:    exactArgs(1, "one file"),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := readKeyFile(args[0])
			if err != nil {
				return err
			}
			chain, err := pemfile.Certificates(text)
			if err != nil {
				return unavailable(fmt.Errorf("%s: %w", args[0], err))
			}
			s := inspect(chain, time.Now())
			if err := s.print(c.OutOrStdout(), asJSON); err != nil {
				return err
			}
			if !s.User && s.Kind != kindCA {
				return &exitError{code: exitBroken, err: fmt.Errorf("%s: no user: %s", args[0], s.Reason)}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

// The kinds of certificates that inspect tells apart.
const (
	kindUser  = "user"
	kindCA    = "CA"
	kindOther = "other"
)

// shownCert is what a file holds; it is the form of --json.
type shownCert struct {
	Kind     string       `json:"kind"`
	Identity string       `json:"identity,omitempty"`
	User     bool         `json:"user"`             // it would log its user in
	Reason   string       `json:"reason,omitempty"` // why not
	Record   string       `json:"record,omitempty"` // that has to be published
	Key      string       `json:"key"`
	SPKI     string       `json:"spki_sha256"`
	Chain    []shownChain `json:"chain"`
	identity saslext.Identity
}

type shownChain struct {
	Subject   string    `json:"subject"`
	SHA256    string    `json:"sha256"`
	CA        bool      `json:"ca"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

// inspect judges a chain by the code that judges logins, with a record for each
// issuer in place of DNS.
func inspect(chain []*x509.Certificate, now time.Time) shownCert {
	leaf := chain[0]
	spki := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	s := shownCert{Kind: kindOther, Key: pemfile.KeyName(leaf.PublicKey), SPKI: hex.EncodeToString(spki[:])}
	for _, cert := range chain {
		sum := sha256.Sum256(cert.Raw)
		s.Chain = append(s.Chain, shownChain{printable(cert.Subject.String()), hex.EncodeToString(sum[:]), cert.IsCA, cert.NotBefore, cert.NotAfter})
	}
	switch {
	case usercert.HasUID(leaf):
		s.Kind = kindUser
	case leaf.IsCA:
		s.Kind = kindCA
	}
	id, record, err := userBehind(chain, now)
	s.Identity, s.identity = id.String(), id
	switch {
	case s.Kind == kindCA:
		s.Reason = "a CA vouches for users and is none"
		return s
	case err != nil:
		s.Reason = err.Error()
		return s
	}
	s.User, s.Record = true, record.String()
	return s
}

// maxSubject bounds a subject, which may be of any length and by anybody.
const maxSubject = 200

// printable keeps a terminal from obeying what a stranger wrote.
func printable(s string) string { return foreign.Printable(s, maxSubject) }

// userBehind returns whom a chain would log in, and the record that it takes.
func userBehind(chain []*x509.Certificate, now time.Time) (id saslext.Identity, e tlsa.Entry, err error) {
	uid, domain, err := usercert.Parse(chain[0])
	if err != nil {
		return id, e, err
	}
	if id, err = saslext.NewIdentity(uid, domain); err != nil {
		return id, e, err
	}
	owner, err := daneclient.UserOwner(id.Domain)
	if err != nil {
		return id, e, err
	}
	if len(chain) == 1 {
		return id, e, errors.New("the CA is missing: the file must hold it behind the certificate, so that it is sent too")
	}
	var records []tlsa.Record
	for _, issuer := range chain[1:] {
		r, err := tlsa.Make(tlsa.UsageDANETA, tlsa.SelectorCert, tlsa.MatchingSHA256, issuer)
		if err != nil {
			return id, e, err
		}
		records = append(records, r)
	}
	match, err := tlsa.Match(records, chain, tlsa.Options{Name: id.Domain.String(), Now: now, AnchorsOnly: true})
	return id, tlsa.Entry{Owner: owner.String(), TTL: maxTTL, Record: match.Record}, err
}

func (s shownCert) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(s)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "kind\t%s\n", s.Kind)
	fmt.Fprintf(t, "identity\t%s\n", orNone(s.identity.LogString()))
	if s.User {
		fmt.Fprintf(t, "logs in\tyes, where this is published:\n\t%s\n", s.Record)
	} else {
		fmt.Fprintf(t, "logs in\tno: %s\n", s.Reason)
	}
	fmt.Fprintf(t, "key\t%s, SHA-256 %s\n", s.Key, s.SPKI)
	for i, c := range s.Chain {
		word := "certificate"
		if i > 0 {
			word = "sent with it"
		}
		if c.CA {
			c.Subject += " (a CA)"
		}
		fmt.Fprintf(t, "%s\t%s\n\tvalid %s to %s\n\tSHA-256 %s\n", word, orNone(c.Subject), c.NotBefore.UTC().Format(time.DateTime), c.NotAfter.UTC().Format(time.DateTime), c.SHA256)
	}
	return t.Flush()
}
