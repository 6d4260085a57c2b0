package explain

import (
	"context"
	"io"
	"text/tabwriter"

	"dancemta/internal/mailaddr"
	"dancemta/smtpd/policy"
)

const kindSender = "sender"

// SenderRules decide about senders; *policy.Rules is one.
type SenderRules interface {
	Admits(s policy.Subject) policy.Verdict
	Sender(s policy.Subject, from mailaddr.Address) policy.Verdict
	Recipient(s policy.Subject, from, to mailaddr.Address) policy.Verdict
	Author(s policy.Subject, author mailaddr.Address) policy.Verdict
	Terms(s policy.Subject) policy.Terms
	NeedsDirectory(s policy.Subject) bool
	Know(s *policy.Subject, e policy.Entry) error
	RelayRecipient(to mailaddr.Address) (known bool, v policy.Verdict)
}

// SenderExplainer explains what the rules let somebody send, as if he were proved.
// Rules is required.
type SenderExplainer struct {
	Rules     SenderRules
	Directory policy.Directory // nil: nothing is known of anybody
	Anybody   bool             // the listener takes mail for relay domains from anybody
	// Reply is what the peer reads whom a verdict refuses at a step.
	Reply func(step string, v policy.Verdict, identity string) string
}

// Sender is the report on a sender; all its texts are clean and bounded.
type Sender struct {
	Kind      string   `json:"kind"` // "sender"
	Listener  string   `json:"listener"`
	Identity  string   `json:"identity,omitempty"` // "" for a peer of a network
	Network   string   `json:"network,omitempty"`  // the peer's address, when it was given
	Proved    string   `json:"proved,omitempty"`
	Groups    []string `json:"groups,omitempty"`
	Addresses []string `json:"addresses,omitempty"` // in the directory
	Class     string   `json:"quota_class,omitempty"`
	From      string   `json:"from"`
	Recipient string   `json:"recipient"`
	Author    string   `json:"author"` // in the From field
	Verdict   string   `json:"verdict"`
	Step      string   `json:"step,omitempty"` // where it ends: "login", "MAIL", "RCPT" or "DATA"
	Rule      string   `json:"rule,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	Detail    string   `json:"detail,omitempty"`
	Reply     string   `json:"reply,omitempty"`
	As        string   `json:"as,omitempty"`
	Size      int64    `json:"size,omitempty"` // 0: that of the server
	Quotas    []string `json:"quotas,omitempty"`
}

// Explain goes the way of a message, step by step, until something refuses it.
func (e *SenderExplainer) Explain(ctx context.Context, s policy.Subject, from, to, author mailaddr.Address) *Sender {
	r := &Sender{Kind: kindSender, Listener: clean(s.Listener.Name), Identity: identityOf(s), Proved: s.Proved.String(),
		From: clean(from.String()), Recipient: clean(to.String()), Author: clean(author.String()), Verdict: Accepted}
	if s.Remote.IsValid() {
		r.Network = s.Remote.String()
	}
	if known, v := e.Rules.RelayRecipient(to); known && e.Anybody {
		switch r.Detail = "anybody may send to this domain"; {
		case v.Reason == policy.AskBackend:
			r.Detail += ", if its backend has the mailbox"
		case !v.Allow:
			r.refuse("RCPT", v, e.Reply("RCPT", v, ""))
		}
		return r
	}
	if !s.User.IsZero() {
		if err := e.know(ctx, &s, r); err != nil {
			r.Verdict, r.Step, r.Reason, r.Detail = Temporary, "MAIL", "no-directory", clean(err.Error())
			return r
		}
	}
	e.judge(r, s, from, to, author)
	return r
}

// know asks the directory about the user.
func (e *SenderExplainer) know(ctx context.Context, s *policy.Subject, r *Sender) error {
	var entry policy.Entry
	if e.Directory != nil && e.Rules.NeedsDirectory(*s) {
		var err error
		if entry, err = e.Directory.Lookup(ctx, s.User); err != nil {
			return err
		}
	}
	for _, g := range entry.Groups {
		r.Groups = append(r.Groups, clean(g))
	}
	for _, a := range entry.Addresses {
		r.Addresses = append(r.Addresses, clean(a.ASCII()))
	}
	r.Class = clean(entry.Quota)
	return e.Rules.Know(s, entry)
}

// judge asks the rules in the order in which a session does.
func (e *SenderExplainer) judge(r *Sender, s policy.Subject, from, to, author mailaddr.Address) {
	for _, step := range []struct {
		name    string
		verdict policy.Verdict
	}{
		{"login", e.Rules.Admits(s)},
		{"MAIL", e.Rules.Sender(s, from)},
		{"RCPT", e.Rules.Recipient(s, from, to)},
		{"DATA", e.Rules.Author(s, author)},
	} {
		if r.Rule = step.verdict.Rule; !step.verdict.Allow {
			r.refuse(step.name, step.verdict, e.Reply(step.name, step.verdict, e.name(r, s)))
			return
		}
	}
	terms := e.Rules.Terms(s)
	r.Rule, r.Size = terms.Rule, terms.Size
	if !terms.As.IsNull() {
		r.As = clean(terms.As.String())
	}
	for _, q := range terms.Quotas {
		r.Quotas = append(r.Quotas, q.Text())
	}
}

// name is what replies call him by.
func (e *SenderExplainer) name(r *Sender, s policy.Subject) string {
	if as := e.Rules.Terms(s).As; !as.IsNull() {
		return as.ASCII()
	}
	return r.Identity
}

func (r *Sender) refuse(step string, v policy.Verdict, reply string) {
	r.Verdict, r.Step, r.Rule, r.Reason, r.Reply = Refused, step, v.Rule, v.Reason.String(), reply
}

func identityOf(s policy.Subject) string {
	if !s.User.IsZero() {
		return clean(s.User.ASCIIDomain())
	}
	return s.Client.String()
}

// Print writes the report for people.
func (r *Sender) Print(w io.Writer) error {
	t := &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	who := r.Identity
	if who == "" {
		who = r.Network
	}
	t.printf("%s sends as <%s> to <%s>: %s\n", who, r.From, r.Recipient, r.Verdict)
	t.line("listener", r.Listener)
	t.line("proved by", r.Proved)
	t.line("from the network of", r.Network)
	for _, g := range r.Groups {
		t.line("group", g)
	}
	for _, a := range r.Addresses {
		t.line("address", a)
	}
	t.line("class of quotas", r.Class)
	t.line("From field", r.Author)
	t.line("rule", r.Rule)
	t.line("refused at", r.Step)
	t.line("reason", r.Reason)
	t.line("reply", r.Reply)
	t.line("", r.Detail)
	t.line("known here as", r.As)
	if r.Size > 0 {
		t.printf("  size\t%d octets\n", r.Size)
	}
	for _, q := range r.Quotas {
		t.line("quota", q)
	}
	t.flush()
	return t.err
}
