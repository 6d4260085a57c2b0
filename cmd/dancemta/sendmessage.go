package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/compose"
	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/queue/deliver/smtpclient"
	"dancemta/queue/deliver/submit"
)

// message reads standard input and makes it ready to be sent.
func (f *sendFlags) message(stdin io.Reader, words []string, hostname dnsname.Name) (m smtpclient.Message, err error) {
	recipients, err := addressesOf(words)
	if err != nil {
		return m, err
	}
	if len(words) == 0 && !f.fromHeader {
		return m, usage(errors.New("no recipients"), "name them, or take those of the message by -t")
	}
	d, err := compose.Read(stdin)
	if err != nil {
		return m, messageError(err)
	}
	if m.Sender, err = f.sender(d); err != nil {
		return m, err
	}
	if f.fromHeader {
		more, err := d.Recipients()
		if err != nil {
			return m, usage(fmt.Errorf("-t: %w", err), "name the recipients as arguments")
		}
		recipients = append(recipients, more...)
	}
	if m.Recipients = smtpclient.To(unique(recipients)...); len(m.Recipients) == 0 {
		return m, usage(errors.New("-t: nobody stands in To, Cc or Bcc"))
	}
	if err := f.dsn.ask(&m); err != nil {
		return m, err
	}
	text, err := d.Finish(compose.Options{Sender: m.Sender, FullName: f.fullName, Hostname: hostname, Now: time.Now()})
	if err != nil {
		return m, usage(err, "write the field, or name the sender by -f")
	}
	m.Size = int64(len(text))
	m.EightBit = bytes.ContainsFunc(text, func(r rune) bool { return r >= 0x80 })
	m.SMTPUTF8 = m.EightBit // said where the header needs it
	m.Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	return m, nil
}

// messageError tells a message that nobody can send from one that could not be
// read.
func messageError(err error) error {
	if errors.Is(err, compose.ErrTooLarge) || errors.Is(err, compose.ErrLines) {
		return &exitError{code: exitRefused, err: err}
	}
	return unavailable(err)
}

// sender is the envelope's.
func (f *sendFlags) sender(d *compose.Draft) (mailaddr.Address, error) {
	if f.hasSender {
		a, err := mailaddr.Parse(bare(f.from))
		if err != nil {
			return a, usage(fmt.Errorf("-f %w", err))
		}
		return a, nil
	}
	a := d.Sender()
	if a.IsNull() {
		return a, usage(errors.New("nobody is the sender: the message's From field does not name one mailbox"), "name the sender by -f")
	}
	return a, nil
}

func addressesOf(words []string) (all []mailaddr.Address, err error) {
	for _, w := range words {
		a, err := mailaddr.Parse(bare(w))
		if err == nil && a.IsNull() {
			err = errors.New("an empty recipient")
		}
		if err != nil {
			return nil, usage(err, "a recipient is a whole address, such as ann@example.org: there are no local users here")
		}
		all = append(all, a)
	}
	return all, nil
}

// bare takes off the brackets in which some programs write addresses.
func bare(s string) string {
	if inner, ok := strings.CutPrefix(s, "<"); ok && strings.HasSuffix(inner, ">") {
		return strings.TrimSuffix(inner, ">")
	}
	return s
}

func unique(all []mailaddr.Address) (kept []mailaddr.Address) {
	seen := map[mailaddr.Address]bool{}
	for _, a := range all {
		if !seen[a] {
			kept = append(kept, a)
		}
		seen[a] = true
	}
	return kept
}

// report makes the exit code: whoever may still get it outweighs those who will
// not, since who gives up has lost their mail.
func (f *sendFlags) report(results []submit.Result) error {
	code, taken := exitOK, 0
	var lines, to []string
	for i, r := range results {
		switch {
		case r.Err == nil:
			taken++
			continue
		case !submit.Permanent(r.Err):
			code = exitTemporary
		case code == exitOK:
			code = exitRefused
		}
		to = append(to, r.Recipient.String())
		if i+1 < len(results) && sameError(r.Err, results[i+1].Err) {
			continue
		}
		lines = append(lines, strings.Join(to, ", ")+": "+strings.ReplaceAll(r.Err.Error(), "\n", " "))
		to = nil
	}
	if code == exitOK {
		return nil
	}
	e := &exitError{code: code, err: errors.New(strings.Join(lines, "\n")), hints: f.relayHints(results)}
	if taken > 0 {
		e.hints = append(e.hints, fmt.Sprintf("it was sent to the other %d of %d recipients", taken, len(results)))
	}
	if code == exitTemporary {
		e.hints = append(e.hints, "nothing is queued here: send it again later to those named above")
	}
	return e
}

func sameError(a, b error) bool { return a != nil && b != nil && a.Error() == b.Error() }

// relayHints says what can be done about a relay that is not proved.
func (f *sendFlags) relayHints(results []submit.Result) []string {
	for _, r := range results {
		if errors.Is(r.Err, submit.ErrInsecure) || errors.Is(r.Err, submit.ErrNoMX) {
			return []string{"name the relay by --relay"}
		}
		e, ok := errors.AsType[*daneclient.Error](r.Err)
		switch {
		case !ok:
		case e.Temporary():
			return []string{"the resolver is " + f.dns + "; another one is named by --dns"}
		case e.Reason == daneclient.NoMatch, e.Reason == daneclient.NameMismatch:
			return []string{"this is not the relay that DNS knows, or its records are out of date: it was told nothing"}
		default:
			return []string{`the relay's TLSA records, in a signed zone, are made by "dancemta tlsa server"; --tls-ca names the CA of a relay that has none`}
		}
	}
	return nil
}
