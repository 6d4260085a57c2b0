package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dancemta/config"
	"dancemta/internal/dnsname"
	"dancemta/internal/explain"
	"dancemta/internal/mailaddr"
	"dancemta/saslext"
	"dancemta/smtpd"
	"dancemta/smtpd/policy"
)

type senderFlags struct {
	explainFlags
	peer, proved, author string
}

func newExplainSender() *cobra.Command {
	f := &senderFlags{}
	c := &cobra.Command{
		Use:   "sender IDENTITY|NAME|ADDRESS FROM TO",
		Short: "Explain what somebody may send, and which rule says so",
		Long: `Ask the rules of the configuration, by the same code as a session does, what becomes
of mail from a user (rick@example.org), a client (sensor7._device.example.org) or a
machine without an identity (192.0.2.7), with this sender and this recipient, once the
identity is proved. Shown are the rule that decides, the reply, and what else the rule
says: the local name, the size and the quotas; of a user also the groups, addresses and
class of quotas that the directory has. Nothing is sent, no quota is used, and DNS is
not asked: "explain client" and "explain user" show how an identity is proved,
"explain rcpt" how mail leaves. <> is the null sender.
` + explainCodes,
		Example: `  dancemta explain sender rick@example.org rick@example.org ann@example.net
  dancemta explain sender sensor7._device.example.org alarm@example.org ann@example.net --listener mx`,
		Args: exactArgs(3, "somebody, a sender and a recipient"),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c.Context(), c.OutOrStdout(), args) },
	}
	f.register(c)
	c.Flags().StringVar(&f.peer, "peer", "", "the IP `address` that the peer comes from (default: none that a rule names)")
	c.Flags().StringVar(&f.proved, "proved", "", "the `proof` of the identity: certificate, extension, proxy or password (default: certificate, or password where users have one)")
	c.Flags().StringVar(&f.author, "header-from", "", "the `address` in the From field (default: FROM)")
	return c
}

func (f *senderFlags) run(ctx context.Context, w io.Writer, args []string) error {
	s, err := f.subject(args[0])
	if err != nil {
		return err
	}
	from, err := envelopeSender(args[1])
	if err != nil {
		return err
	}
	to, err := mailaddr.Parse(args[2])
	if err != nil || to.IsNull() {
		return usage(fmt.Errorf("%q is no mail address", args[2]), "such as ann@example.org")
	}
	author := from
	if f.author != "" {
		if author, err = mailaddr.Parse(f.author); err != nil {
			return usage(fmt.Errorf("--header-from: %w", err), "such as ann@example.org")
		}
	}
	r, err := f.explain(ctx, s, from, to, author)
	if err != nil {
		return err
	}
	if err := printReport(w, r, f.json); err != nil {
		return err
	}
	return judged(r.Verdict, r.Reason)
}

func (f *senderFlags) explain(ctx context.Context, s policy.Subject, from, to, author mailaddr.Address) (*explain.Sender, error) {
	cfg, err := loadConfig(f.config)
	if err != nil {
		return nil, err
	}
	l, err := newLive(cfg)
	if err != nil {
		return nil, err
	}
	f.fits = func(l smtpd.Listener, rules *policy.Rules) bool { return l.TakesUsers(rules) == !s.User.IsZero() }
	f.wanted = "a listener for such a peer"
	listener, err := f.pick(cfg, l.rules)
	if err != nil {
		return nil, err
	}
	if f.proved == "" && slices.Contains(cfg.Directory.PasswordDomains, s.User.Domain) {
		s.Proved = policy.ByPassword // the one way that they have
	}
	s.Listener = policy.Listener{Name: listener.Name, TakesClients: listener.Kind == smtpd.Relay}
	e := explain.SenderExplainer{Rules: l.rules, Directory: l.people, Anybody: listener.Kind == smtpd.Relay, Reply: func(step string, v policy.Verdict, identity string) string {
		if step == "login" && !s.User.IsZero() {
			return smtpd.LoginReply(&saslext.Error{Reason: saslext.NotAllowed, Authenticated: s.User})
		}
		return smtpd.RuleReply(v, identity)
	}}
	return e.Explain(ctx, s, from, to, author), nil
}

// subject reads who sends: an IP address, a user with an @, else a client.
func (f *senderFlags) subject(word string) (s policy.Subject, err error) {
	if f.peer != "" {
		if s.Remote, err = netip.ParseAddr(f.peer); err != nil {
			return s, usage(fmt.Errorf("--peer: %w", err), "such as 192.0.2.7")
		}
	}
	if a, err := netip.ParseAddr(word); err == nil {
		if f.peer != "" {
			return s, usage(fmt.Errorf("--peer %s: %s is the peer already", f.peer, word), "leave one out")
		}
		s.Remote = a
		return s, nil
	}
	proved, ok := proofs[config.Proof(f.proved)]
	if f.proved == "" {
		proved = policy.ByCertificate
	} else if !ok {
		return s, usage(fmt.Errorf("--proved %s: not known", f.proved), "write certificate, extension, proxy or password")
	}
	if s.Proved = proved; strings.Contains(word, "@") {
		if s.User, err = saslext.ParseIdentity(word); err != nil {
			return s, usage(fmt.Errorf("%q: %w", word, err), "a user is rick@example.org, a client sensor7._device.example.org, a machine 192.0.2.7")
		}
		return s, nil
	}
	if s.Client, err = dnsname.ParseOwner(strings.TrimSuffix(word, ".")); err != nil {
		return s, usage(fmt.Errorf("%q: %w", word, err), "a user is rick@example.org, a client sensor7._device.example.org, a machine 192.0.2.7")
	}
	return s, nil
}

func envelopeSender(word string) (mailaddr.Address, error) {
	if word == "" || word == "<>" {
		return mailaddr.Address{}, nil
	}
	a, err := mailaddr.Parse(word)
	if err != nil {
		return a, usage(fmt.Errorf("%q is no mail address", word), "such as ann@example.org, or <> for the null sender")
	}
	return a, nil
}
