package policy

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

// postmasterLocal is the mailbox that must exist in every domain whose mail is
// taken, in any case of its letters (RFC 5321 4.5.1).
const postmasterLocal = "postmaster"

// RelayRecipient decides about a recipient that anybody may send to. It is known
// when its domain is a relay domain, or when it is a postmaster of ours; only
// then v.Allow says whether the mailbox exists. Where a domain
// has subaddresses, rick+lists exists when rick does.
func (r *Rules) RelayRecipient(to mailaddr.Address) (known bool, v Verdict) {
	if r == nil || to.IsNull() {
		return false, Verdict{Reason: NotRelayDomain}
	}
	d, relayed := r.relay[to.Domain()] // never the zero Name of an address literal: New refuses that key
	switch {
	case to.Key() == r.postmaster.Key(), r.isPostmaster(to, relayed):
		return true, Verdict{Allow: true}
	case !relayed:
		return false, Verdict{Reason: NotRelayDomain}
	case d.Any || d.Recipients[to.Key()] || d.Recipients[r.Plain(to).Key()]:
		return true, Verdict{Allow: true}
	case d.Backend:
		return true, Verdict{Reason: AskBackend}
	}
	return true, Verdict{Reason: UnknownMailbox}
}

// Lenient reports whether mail for a mailbox is taken when its backend cannot be asked.
func (r *Rules) Lenient(to mailaddr.Address) bool { return r != nil && r.relay[to.Domain()].Lenient }

func (r *Rules) isPostmaster(to mailaddr.Address, relayed bool) bool {
	ours := relayed || !r.hostname.IsZero() && to.Domain() == r.hostname
	return ours && strings.EqualFold(to.Local(), postmasterLocal)
}

// maxLine bounds a line of a recipients file: an address and a comment.
const maxLine = 4096

// ParseRecipients reads the mailboxes of a relay domain for
// RelayDomain.Recipients: one address of that domain or one local part per line.
// A # at the start of a line or behind a space begins a comment. Errors carry the
// line number.
func ParseRecipients(r io.Reader, domain dnsname.Name) (map[string]bool, error) {
	list := map[string]bool{}
	err := eachLine(r, func(text string) error {
		a, err := parseRecipient(text, domain)
		if err == nil {
			list[a.Key()] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// eachLine calls f for each line that holds more than a comment, without its spaces
// and comment. Errors carry the line number.
func eachLine(r io.Reader, f func(text string) error) error {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	n := 0
	for in.Scan() {
		n++
		text := strings.TrimSpace(uncomment(in.Text()))
		if text == "" {
			continue
		}
		if err := f(text); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := in.Err(); err != nil { // of the line that was not returned
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	return nil
}

// uncomment cuts the comment off. A # inside a word belongs to it: it may stand
// in a local part (RFC 5321 4.1.2 atext).
func uncomment(line string) string {
	for i := range len(line) {
		if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i]
		}
	}
	return line
}

func parseRecipient(text string, domain dnsname.Name) (mailaddr.Address, error) {
	if !strings.Contains(text, "@") || strings.HasSuffix(text, `"`) { // "a@b" in quotes is a local part
		text += "@" + domain.String()
	}
	a, err := mailaddr.Parse(text)
	if err != nil {
		return mailaddr.Address{}, err
	}
	if a.Domain() != domain || domain.IsZero() {
		return mailaddr.Address{}, fmt.Errorf("%q is not in the domain %s", text, domain)
	}
	return a, nil
}
