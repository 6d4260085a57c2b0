package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"time"

	"dancemta/config"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/msgauth"
	"dancemta/internal/pemfile"
)

// newSigner reads the keys of the configuration. None: a signer that signs nothing.
func newSigner(cfg *config.Config) (*msgauth.Signer, error) {
	o := msgauth.Options{Dir: string(cfg.StateDir)}
	for i, k := range cfg.DKIM {
		key, err := readDKIMKey(string(k.Key))
		if err == nil {
			err = msgauth.CheckKey(key)
		}
		if err != nil {
			return nil, unavailable(fmt.Errorf("dkim.key in line %d: %s: %w", cfg.Line(fmt.Sprintf("dkim[%d]", i)), k.Key, err), `"dancemta dkim new" makes a key`)
		}
		o.Keys = append(o.Keys, msgauth.Key{Domain: k.Domain, Selector: k.Selector, Subdomains: k.Subdomains, Key: key})
	}
	s, err := msgauth.New(o)
	if err != nil {
		return nil, &exitError{code: exitConfig, err: err}
	}
	return s, nil
}

func readDKIMKey(path string) (crypto.Signer, error) {
	text, err := readKeyFile(path)
	if err != nil {
		return nil, pathless(err)
	}
	return pemfile.Key(text)
}

// pathless is an error of a file without its name, which stands before it.
func pathless(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}

// signBounce signs a message of this server, or leaves it as it is when its domain
// has no key.
func (p *parts) signBounce(message []byte) ([]byte, error) {
	signed, err := p.live.Load().signer.Own(message)
	p.countSignature("bounce", err)
	if errors.Is(err, msgauth.ErrUnsigned) {
		return message, nil
	}
	return signed, err
}

// finding is what DNS publishes of one key.
type finding struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector"`
	Owner    string `json:"owner"`
	Record   string `json:"record"`
	State    string `json:"dns,omitempty"` // msgauth.State, or "failed"; "" when DNS was not asked
	Why      string `json:"why,omitempty"`
}

// unknown is the State of a key whose record could not be had.
const unknown = "failed"

// findRecord compares a key with its record.
func findRecord(ctx context.Context, resolver *dnssec.Resolver, k msgauth.Key) finding {
	f := finding{Domain: k.Domain.String(), Selector: k.Selector.String(), Owner: k.Owner()}
	record, err := msgauth.Record(k.Key.Public())
	if err != nil {
		f.State, f.Why = string(msgauth.Mismatch), err.Error()
		return f
	}
	f.Record = record
	if resolver == nil {
		return f
	}
	owner, err := dnsname.ParseOwner(f.Owner)
	if err != nil {
		f.State, f.Why = unknown, err.Error() // longer than a name can be
		return f
	}
	a := resolver.Lookup(ctx, owner, dnssec.TypeTXT)
	if a.State != dnssec.Secure && a.State != dnssec.Insecure {
		f.State, f.Why = unknown, a.Reason
		return f
	}
	state, why := msgauth.Compare(a.TXT, k.Key.Public())
	f.State, f.Why = string(state), why
	return f
}

// recordsTimeout bounds the questions for all keys.
const recordsTimeout = 20 * time.Second

// dkim says of each key whether verifiers will find it.
func (r *report) dkim(ctx context.Context, cfg *config.Config, resolver *dnssec.Resolver) {
	s, err := newSigner(cfg)
	if err != nil {
		return // rules has said so
	}
	ctx, cancel := context.WithTimeout(ctx, recordsTimeout)
	defer cancel()
	for _, k := range s.Keys() {
		switch f := findRecord(ctx, resolver, k); {
		case f.State == unknown:
			r.warning("dkim: whether %s is published cannot be found out: %s", f.Owner, f.Why)
		case f.State != string(msgauth.Match):
			r.problem(&exitError{exitBroken, fmt.Errorf("dkim: %s: %s; mail that is signed so fails at its verifiers", f.Owner, f.Why),
				[]string{"publish " + f.Owner + ". IN TXT " + msgauth.ZoneText(f.Record)}})
		case f.Why != "":
			r.warning("dkim: %s: %s", f.Owner, f.Why)
		default:
			r.ok("dkim: %s is published", f.Owner)
		}
	}
}

func covers(s *msgauth.Signer, domain dnsname.Name) bool {
	_, ok := s.Covers(domain)
	return ok
}

// keys looks at the keys themselves.
func (r *report) keys(cfg *config.Config) {
	s, err := newSigner(cfg)
	if err != nil {
		return // rules has said so
	}
	for _, k := range cfg.DKIM {
		if info, err := os.Stat(string(k.Key)); err == nil && info.Mode().Perm()&0o007 != 0 {
			r.warning("%s: everybody may read or write this key (mode %04o); 0600 or 0640 is safe", k.Key, info.Mode().Perm())
		}
	}
	if len(cfg.DKIM) == 0 {
		r.note("no [[dkim]]: mail leaves without signatures, and large providers refuse more of it")
		return
	}
	if d := cfg.Postmaster.Domain(); !covers(s, d) { // he stands in From
		r.note("no [[dkim]] for %s, the domain of postmaster: bounces leave without a signature", d)
	}
	if c := cfg.TLSReports.Contact; !c.IsNull() {
		if !covers(s, c.Domain()) {
			r.warning("tls_reports.contact is at %s, for which there is no [[dkim]]: reports by mail are not sent", c.Domain())
		}
	}
}
