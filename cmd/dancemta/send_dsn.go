package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"dancemta/queue/deliver/smtpclient"
)

// dsnFlags are sendmail's -N, -R and -V: which reports of the message are wanted
// (RFC 3461). A relay that does not offer DSN is not asked.
type dsnFlags struct {
	notify, ret, envid string
}

func (f *dsnFlags) register(p *pflag.FlagSet) {
	p.StringVarP(&f.notify, "notify", "N", "", "the `reports` wanted: \"never\", or of failure, delay and success, with commas (default: failure, and delay as relays see fit)")
	p.StringVarP(&f.ret, "return", "R", "", "the `part` of the message that comes back with a failure: \"full\" or \"hdrs\" (default: as relays see fit)")
	p.StringVarP(&f.envid, "envelope-id", "V", "", "a `word` of your own that reports repeat")
}

// maxEnvelopeID: RFC 3461 4.4.
const maxEnvelopeID = 100

// ask puts what the flags say into m.
func (f *dsnFlags) ask(m *smtpclient.Message) error {
	notify, err := f.notifyWords()
	if err != nil {
		return err
	}
	for i := range m.Recipients {
		m.Recipients[i].Notify = notify
	}
	switch m.Return = strings.ToUpper(f.ret); m.Return {
	case "", "FULL", "HDRS":
	default:
		return usage(fmt.Errorf("-R %q", f.ret), `write "full" or "hdrs"`)
	}
	if len(f.envid) > maxEnvelopeID || strings.ContainsFunc(f.envid, func(r rune) bool { return r < ' ' || r > '~' }) {
		return usage(errors.New("-V: not a word of up to 100 printable ASCII characters"))
	}
	m.EnvelopeID = f.envid
	return nil
}

// notifyWords returns -N as NOTIFY has it (RFC 3461 4.1).
func (f *dsnFlags) notifyWords() (string, error) {
	if f.notify == "" {
		return "", nil
	}
	list := strings.ToUpper(f.notify)
	seen := map[string]bool{}
	for word := range strings.SplitSeq(list, ",") {
		switch word {
		case "NEVER", "FAILURE", "DELAY", "SUCCESS":
		default:
			return "", usage(fmt.Errorf("-N %q", f.notify), `write "never", or some of "failure,delay,success"`)
		}
		if seen[word] {
			return "", usage(fmt.Errorf("-N %q: a word twice", f.notify))
		}
		seen[word] = true
	}
	if seen["NEVER"] && len(seen) > 1 {
		return "", usage(fmt.Errorf("-N %q: \"never\" stands alone", f.notify))
	}
	return list, nil
}
