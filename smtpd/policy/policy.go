// Package policy holds the rules of who may relay. It is pure: no sockets, no
// DNS, no SMTP verbs; a Rules value never changes, and a reload makes a new one.
//
// A rule's pattern is the allow list: what no rule allows is refused before
// any DNS query (Rules.AllowsClient, Rules.AllowsUser). After the login, Sender
// and Recipient decide about each address and name the rule that decided.
package policy
