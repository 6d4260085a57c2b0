package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dancemta/config"
	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/explain"
	"dancemta/internal/pemfile"
	"dancemta/ldapbridge/mapping"
	"dancemta/saslext"
	"dancemta/smtpd"
	"dancemta/smtpd/policy"
)

func newExplain() *cobra.Command {
	c := &cobra.Command{
		Use:   "explain",
		Short: "Say why a client or user is let in or not, what somebody may send, or how mail leaves",
		Args:  noArgs,
		RunE:  needsCommand,
	}
	c.AddCommand(newExplainClient(), newExplainUser(), newExplainSender(), newExplainRcpt())
	return c
}

const explainCodes = `
The exit code is 0 when nothing stands in the way, 8 when the peer is refused, 9
when that cannot be said now, such as when DNS does not answer.`

func newExplainClient() *cobra.Command {
	f := &explainFlags{}
	c := &cobra.Command{
		Use:   "client NAME | cert.pem | NAME cert.pem",
		Short: "Explain what becomes of a mail server or device",
		Long: `Judge a client as a relay listener does, by the same code, and show what is seen on
the way: where the name comes from, the rule that decides, each step of DNSSEC, each
TLSA record and why it does not match, the certificates, the reply that the client
reads, and what to publish or to mend.

With a file of certificates, its own first, the name comes from them; with a name,
the TLSA owner name that the log shows, all but the certificate is judged; with
both, the name is the one that the client tells by dane_clientid.
` + explainCodes,
		Example: `  dancemta explain client sensor7._device.example.org
  dancemta explain client sensor7.pem --listener mx --json`,
		Args: oneOrTwo,
		RunE: func(c *cobra.Command, args []string) error {
			return f.run(c.Context(), c.OutOrStdout(), func(s *scene) (*explain.Report, error) { return s.client(c.Context(), args) })
		},
	}
	f.register(c)
	f.fits = func(l smtpd.Listener, _ *policy.Rules) bool { return l.Kind == smtpd.Relay }
	f.wanted = "a relay listener"
	return c
}

func newExplainUser() *cobra.Command {
	f := &explainFlags{}
	c := &cobra.Command{
		Use:   "user IDENTITY|cert.pem",
		Short: "Explain what becomes of a user",
		Long: `Judge a user as AUTH EXTERNAL does, by the same code, and show what is seen on the
way: the identity, the rule that decides, each step of DNSSEC, each TLSA record of the
domain and why it does not match, the certificates, the reply, and what to publish or
to mend.

With a file of certificates, the user's own first and the CA behind it, the identity
comes from them; with an identity, such as rick@example.org, all but the certificate
is judged.

With --ldap, or a listener of the LDAP bridge, the user is judged as by a bind there:
the rules are those of [[ldap_rule]], and what is shown besides is as whom he acts at
the directory server and what he may ask for.
` + explainCodes,
		Example: `  dancemta explain user rick@example.org
  dancemta explain user rick.pem --listener submission
  dancemta explain user rick.pem --ldap --as u:sales@example.org`,
		Args: exactArgs(1, "an identity or a file of certificates"),
		RunE: func(c *cobra.Command, args []string) error {
			return f.run(c.Context(), c.OutOrStdout(), func(s *scene) (*explain.Report, error) { return s.user(c.Context(), args[0]) })
		},
	}
	f.register(c)
	f.fits = func(l smtpd.Listener, rules *policy.Rules) bool {
		return l.TakesUsers(rules) && l.ClientCertificates != smtpd.Off
	}
	f.wanted = "a listener on which users log in"
	f.users = true
	c.Flags().BoolVar(&f.ldap, "ldap", false, "judge as the LDAP bridge does")
	c.Flags().StringVar(&f.as, "as", "", "the `authzid` that the client sends to the LDAP bridge, \"u:...\" or \"dn:...\"")
	return c
}

func oneOrTwo(c *cobra.Command, args []string) error {
	if len(args) == 2 && isFile(args[0]) == isFile(args[1]) {
		return usage(fmt.Errorf("%q takes one name and one file at the most", c.CommandPath()))
	}
	if len(args) == 2 {
		return nil
	}
	return exactArgs(1, "a name or a file of certificates")(c, args)
}

// explainFlagsFor is what the explain command in a log line needs to find this
// server's configuration from any folder, as a shell reads it.
func explainFlagsFor(path string) string {
	if path == defaultConfig {
		return ""
	}
	if whole, err := filepath.Abs(path); err == nil {
		path = whole
	}
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+/-") == "" {
		return " --config " + path
	}
	return " --config '" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

type explainFlags struct {
	config, listener string
	json             bool
	users            bool // the LDAP bridge is one of the doors
	ldap             bool
	as               string
	fits             func(smtpd.Listener, *policy.Rules) bool
	wanted           string
}

func (f *explainFlags) register(c *cobra.Command) {
	addConfigFlag(c, &f.config)
	c.Flags().StringVar(&f.listener, "listener", "", "the `listener` whose rules count (default: the first of the right kind)")
	c.Flags().BoolVar(&f.json, "json", false, "print a JSON object")
}

// scene is one listener of the configuration, as a session on it would find it.
type scene struct {
	explain.Explainer
	names daneclient.Sources
	asked mapping.Request // at the LDAP bridge
}

func (f *explainFlags) run(ctx context.Context, w io.Writer, ask func(*scene) (*explain.Report, error)) error {
	s, done, err := f.scene()
	if err != nil {
		return err
	}
	defer done()
	r, err := ask(s)
	if err != nil {
		return err
	}
	if err := printReport(w, r, f.json); err != nil {
		return err
	}
	return judged(r.Verdict, r.Reason)
}

// printReport writes a report for programs or for people.
func printReport(w io.Writer, r interface{ Print(io.Writer) error }, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	return r.Print(w)
}

// judged is how the command ends after a report of this verdict.
func judged(verdict, reason string) error {
	switch verdict {
	case explain.Refused:
		return &exitError{code: exitRefused, err: fmt.Errorf("refused: %s", reason)}
	case explain.Temporary:
		return &exitError{code: exitTemporary, err: fmt.Errorf("cannot be judged now: %s", reason)}
	}
	return nil
}

// scene reads the configuration and makes of it what a server would.
func (f *explainFlags) scene() (s *scene, done func(), err error) {
	cfg, err := loadConfig(f.config)
	if err != nil {
		return nil, nil, err
	}
	l, err := newLive(cfg)
	if err != nil {
		return nil, nil, err
	}
	s, err = f.place(cfg, l)
	if err != nil {
		return nil, nil, err
	}
	roots, err := readRoots(cfg.DANE)
	if err != nil {
		return nil, nil, err
	}
	resolver, _, err := newResolver(cfg, dnssec.Options{})
	if err != nil {
		return nil, nil, err
	}
	s.Verifier, err = daneclient.New(daneclient.Options{Resolver: resolver, Roots: roots, ServerLeaves: cfg.DANE.ServerCertificates})
	if err != nil {
		return nil, nil, err
	}
	return s, func() {
		resolver.Close()
		l.people.close()
	}, nil
}

// place is the listener, and what is asked there.
func (f *explainFlags) place(cfg *config.Config, l *live) (*scene, error) {
	if bridge, err := f.bridge(cfg, l); err != nil || bridge != nil {
		return bridge, err
	}
	listener, err := f.pick(cfg, l.rules)
	if err != nil {
		return nil, err
	}
	return &scene{names: listener.Names, Explainer: explain.Explainer{
		Rules:       l.rules,
		Listener:    policy.Listener{Name: listener.Name, TakesClients: listener.Kind == smtpd.Relay},
		Deaf:        listener.ClientCertificates == smtpd.Off,
		ClientReply: listener.ClientReply, LoginReply: smtpd.LoginReply,
	}}, nil
}

// pick returns the listener that was named, or the first that fits. A client may
// be explained on any that is named, since rules may say so.
func (f *explainFlags) pick(cfg *config.Config, rules *policy.Rules) (smtpd.Listener, error) {
	var known []string
	for _, l := range cfg.Listeners {
		listener := smtpListener(l, cfg.DANE)
		known = append(known, l.Name)
		if f.listener == l.Name || f.listener == "" && f.fits(listener, rules) {
			return listener, nil
		}
	}
	if f.listener != "" {
		return smtpd.Listener{}, usage(fmt.Errorf("--listener %s: the configuration has none of this name", f.listener), "it has "+strings.Join(known, ", "))
	}
	return smtpd.Listener{}, usage(fmt.Errorf("the configuration has not %s", f.wanted), "name another by --listener: "+strings.Join(known, ", "))
}

func (s *scene) client(ctx context.Context, args []string) (*explain.Report, error) {
	file := slices.IndexFunc(args, isFile)
	if file < 0 {
		name, err := ownerName(args[0])
		if err != nil {
			return nil, err
		}
		return s.ClientName(ctx, name), nil
	}
	cred, err := s.credential(args[file])
	if err != nil {
		return nil, err
	}
	if len(args) == 2 {
		if s.names.Extension == 0 {
			return nil, usage(fmt.Errorf("listener %s asks nobody for a name by dane_clientid", s.Listener.Name), extensionHint())
		}
		cred.Named = true
		if cred.Name, err = ownerName(args[1-file]); err != nil {
			return nil, err
		}
	}
	return s.Client(ctx, cred), nil
}

func extensionHint() string {
	if !clientid.Supported {
		return `this build has no dane_clientid: "make build" makes one that has`
	}
	return `leave the name out, or see client_names in the configuration`
}

func ownerName(word string) (dnsname.Name, error) {
	name, err := dnsname.ParseOwner(strings.TrimSuffix(word, "."))
	if err != nil {
		return name, usage(fmt.Errorf("%q: %w", word, err), "a client is named by the owner name of its TLSA records, such as _smtp-client.mx.example.org; or name a file")
	}
	return name, nil
}

func (s *scene) user(ctx context.Context, word string) (*explain.Report, error) {
	if !isFile(word) {
		id, err := saslext.ParseIdentity(word)
		if err != nil {
			return nil, usage(fmt.Errorf("%q: %w", word, err), "an identity is rick@example.org; or name a file")
		}
		if s.Bridge != nil {
			return s.LDAPUserName(ctx, id, s.asked), nil
		}
		return s.UserName(ctx, id), nil
	}
	cred, err := s.credential(word)
	switch {
	case err != nil:
		return nil, err
	case s.Bridge != nil:
		return s.LDAPUser(ctx, cred, s.asked), nil
	}
	return s.User(ctx, cred), nil
}

// credential is what a session of the listener would make of the certificates,
// after a handshake in which the key was proved.
func (s *scene) credential(file string) (daneclient.Credential, error) {
	chain, err := readChain(file)
	if err != nil {
		return daneclient.Credential{}, err
	}
	cred, _ := s.names.Credential(tls.ConnectionState{
		HandshakeComplete: true, Version: tls.VersionTLS13, PeerCertificates: chain,
	}, netip.Addr{})
	return cred, nil
}

func readChain(file string) ([]*x509.Certificate, error) {
	text, err := readKeyFile(file)
	if err != nil {
		return nil, err
	}
	chain, err := pemfile.Certificates(text)
	if err != nil {
		return nil, unavailable(fmt.Errorf("%s: %w", file, err))
	}
	return chain, nil
}

// certificateFiles are the endings of files, none of which is a top-level domain.
var certificateFiles = []string{".pem", ".crt", ".cer", ".der"}

// isFile tells a file from a name and from an identity: by its ending, a
// separator, or that it exists.
func isFile(word string) bool {
	if slices.Contains(certificateFiles, strings.ToLower(filepath.Ext(word))) || strings.ContainsRune(word, filepath.Separator) {
		return true
	}
	_, err := os.Stat(word)
	return !errors.Is(err, os.ErrNotExist) && word != ""
}
