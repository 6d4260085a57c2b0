package policy

// Reason says why a verdict refuses. Its String is a stable word for logs.
type Reason uint8

// The reasons. A verdict that allows has the zero Reason.
const (
	_                Reason = iota
	NoIdentity              // nobody is logged in; only identities may relay
	NoRule                  // no rule allows this identity here
	Denied                  // a deny rule holds
	SenderRefused           // the chosen rule does not allow this sender
	RecipientRefused        // the chosen rule does not allow this recipient
	NotRelayDomain          // the recipient is in none of our relay domains
	UnknownMailbox          // it is, but there is no such mailbox
	AskBackend              // it is, and only its backend knows whether there is such a mailbox
	AuthorRefused           // the chosen rule does not allow this address in the From field
)

var reasonWords = [...]string{
	NoIdentity: "no-identity", NoRule: "no-rule", Denied: "denied",
	SenderRefused: "sender-refused", RecipientRefused: "recipient-refused",
	NotRelayDomain: "not-a-relay-domain", UnknownMailbox: "unknown-mailbox", AskBackend: "ask-backend", AuthorRefused: "author-refused",
}

// String returns the stable word; "" for the zero Reason.
func (r Reason) String() string {
	if int(r) < len(reasonWords) {
		return reasonWords[r]
	}
	return "unknown"
}

// Verdict is a decision and the rule that made it.
type Verdict struct {
	Allow  bool
	Reason Reason // set when Allow is false
	Rule   string // `"*@partner.test" (line 12)`; "" when no rule decided
}
