package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"dancemta/config"
	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
	"dancemta/internal/pemfile"
	"dancemta/saslext"
	"dancemta/smtpd/policy"
)

func newVerify() *cobra.Command {
	f := &verifyFlags{}
	c := &cobra.Command{
		Use:   "verify --chain FILE",
		Short: "Say whether DNS vouches for a certificate: a hook for other servers",
		Long: `This says NOTHING about possession of the private key: certificates are public, and
anybody can hand one in. Ask only about the chain of a peer whose TLS handshake is
done, and which therefore holds the key.

Look up the TLSA records of the name, prove them by DNSSEC, and compare them with
the certificates that the peer showed, its own first. The resolvers and the rules
are those of the configuration; a name that no rule allows is refused without a
query.

A client is named by --name, its whole TLSA owner name, as it would tell it by
dane_clientid; without --name by its certificate. With --user the certificate is
that of a user, whose identity is uid@domain.

The exit code is 0 when the identity is proved, 8 when it is refused, 9 when that
cannot be said now, such as when DNS does not answer. Any other one is a mistake of
the call or of the configuration. Whatever is not 0 is no identity.`,
		Example: `  dancemta verify --name sensor7._device.example.org --chain peer.pem
  dancemta verify --user --chain - --json < peer.pem`,
		Args: exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error {
			f.named = c.Flags().Changed("name")
			return f.run(c.Context(), c.InOrStdin(), c.OutOrStdout())
		},
	}
	addConfigFlag(c, &f.config)
	c.Flags().StringVar(&f.chain, "chain", "", "the peer's certificates, PEM or DER, its own first; \"-\" for standard input: a `file`")
	c.Flags().StringVar(&f.name, "name", "", "the TLSA owner `name` that the peer told (default: by its certificate)")
	c.Flags().BoolVar(&f.user, "user", false, "the peer is a user")
	c.Flags().StringVar(&f.listener, "listener", "", "the `listener` whose rules count (default: all of them)")
	c.Flags().BoolVar(&f.any, "any", false, "skip the rules: whoever calls this decides by the name, and bears the queries")
	c.Flags().BoolVar(&f.json, "json", false, "print a JSON object")
	return c
}

type verifyFlags struct {
	config, chain, name, listener string
	named                         bool // --name was given, and be it empty: a hook passes on what a peer told
	user, any, json               bool
}

// verdict is the form of --json.
type verdict struct {
	Verdict  string     `json:"verdict"`            // verified, refused, temporary
	Kind     string     `json:"kind"`               // client, user
	Identity string     `json:"identity,omitempty"` // of a client the owner name, of a user uid@domain in A-labels; only when verified
	Record   string     `json:"record,omitempty"`
	Until    *time.Time `json:"until,omitempty"`
	Reason   string     `json:"reason,omitempty"` // a word, see docs/verify.md
	Detail   string     `json:"detail,omitempty"` // for people
}

func (f *verifyFlags) run(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	j, cred, err := f.prepare(stdin)
	if err != nil {
		return err
	}
	defer j.resolver.Close()
	v := verdict{Verdict: "verified", Kind: "client"}
	if f.user {
		v.Kind = "user"
		login, loginErr := (&saslext.Authenticator{Verifier: j.verifier, Rules: j}).Login(ctx, cred, "")
		v.proved(login.Identity.ASCIIDomain(), login.Record, login.Until)
		err = loginErr
	} else {
		client, clientErr := j.verifier.Client(ctx, cred, j.allowsClient)
		v.proved(client.Name.String(), client.Record, client.Until)
		err = clientErr
	}
	if err != nil {
		v = verdictOf(v.Kind, err)
	}
	if printErr := f.print(stdout, v); printErr != nil {
		return printErr // who did not get the verdict must not read one out of the exit code
	}
	switch v.Verdict {
	case "verified":
		return nil
	case "refused":
		return &exitError{code: exitRefused, err: err}
	}
	return &exitError{code: exitTemporary, err: err}
}

func (v *verdict) proved(identity string, r tlsa.Record, until time.Time) {
	until = until.UTC().Truncate(time.Second)
	v.Identity, v.Record, v.Until = identity, r.Short(), &until
}

// verdictOf is what an error makes of it. Only an error that says itself that
// it will not pass is a refusal.
func verdictOf(kind string, err error) verdict {
	v := verdict{Verdict: "temporary", Kind: kind, Reason: "unknown", Detail: err.Error()}
	if t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err); ok && !t.Temporary() {
		v.Verdict = "refused"
	}
	if e, ok := errors.AsType[*daneclient.Error](err); ok {
		v.Reason = e.Reason.String()
	} else if e, ok := errors.AsType[*saslext.Error](err); ok {
		v.Reason = e.Reason.String()
	}
	return v
}

func (f *verifyFlags) print(w io.Writer, v verdict) error {
	if f.json {
		return json.NewEncoder(w).Encode(v)
	}
	word := v.Identity
	if v.Verdict != "verified" {
		word = v.Reason
	}
	_, err := fmt.Fprintf(w, "%s %s %s\n", v.Verdict, v.Kind, word)
	return err
}

// prepare reads all that there is to read, before any query.
func (f *verifyFlags) prepare(stdin io.Reader) (*judge, daneclient.Credential, error) {
	none := daneclient.Credential{}
	if f.chain == "" {
		return nil, none, usage(errors.New("--chain is needed"), `name a file with the certificates that the peer showed, or "-"`)
	}
	cred, err := f.credential(stdin)
	if err != nil {
		return nil, none, err
	}
	cfg, err := loadConfig(f.config)
	if err != nil {
		return nil, none, err
	}
	j := &judge{any: f.any}
	if j.listeners, err = listenersOf(cfg, f.listener); err != nil {
		return nil, none, err
	}
	l, err := newLive(cfg)
	if err != nil {
		return nil, none, err
	}
	j.rules = l.rules
	roots, err := readRoots(cfg.DANE)
	if err != nil {
		return nil, none, err
	}
	if j.resolver, _, err = newResolver(cfg, dnssec.Options{}); err != nil {
		return nil, none, err
	}
	j.verifier, err = daneclient.New(daneclient.Options{Resolver: j.resolver, Roots: roots, ServerLeaves: cfg.DANE.ServerCertificates})
	return j, cred, err
}

func (f *verifyFlags) credential(stdin io.Reader) (daneclient.Credential, error) {
	var text []byte
	var err error
	if f.chain == "-" {
		text, err = readSmall(stdin, "standard input")
	} else {
		text, err = readKeyFile(f.chain)
	}
	if err != nil {
		return daneclient.Credential{}, err
	}
	chain, err := pemfile.Certificates(text)
	if err != nil {
		return daneclient.Credential{}, unavailable(fmt.Errorf("--chain %s: %w", f.chain, err))
	}
	cred := daneclient.FromChain(chain)
	if f.named {
		// What a peer told may be anything. The zero name, which an error leaves,
		// is refused as he is.
		cred.Named = true
		cred.Name, _ = dnsname.ParseOwner(f.name)
	}
	return cred, nil
}

// listenersOf returns the listeners by whose rules is judged.
func listenersOf(cfg *config.Config, name string) ([]policy.Listener, error) {
	var found []policy.Listener
	for _, l := range cfg.Listeners {
		if name == "" || l.Name == name {
			found = append(found, policy.Listener{Name: l.Name, TakesClients: l.Kind == config.Relay})
		}
	}
	if len(found) == 0 {
		return nil, usage(fmt.Errorf("--listener %s: the configuration has none of this name", name))
	}
	return found, nil
}

// judge is what a verdict rests on.
type judge struct {
	any       bool
	listeners []policy.Listener
	rules     *policy.Rules
	resolver  *dnssec.Resolver
	verifier  *daneclient.Verifier
}

func (j *judge) allowsClient(owner dnsname.Name) bool {
	return j.any || slices.ContainsFunc(j.listeners, func(l policy.Listener) bool { return j.rules.AllowsClient(l, owner) })
}

// AllowsUser is for saslext.Rules.
func (j *judge) AllowsUser(id saslext.Identity) bool {
	return j.any || slices.ContainsFunc(j.listeners, func(l policy.Listener) bool { return j.rules.AllowsUser(l, id) })
}

// MayActAs is for saslext.Rules: nobody asks to act as another here.
func (j *judge) MayActAs(_, _ saslext.Identity) bool { return false }
