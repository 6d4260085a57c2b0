package quotamail

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxText bounds a name in a mail. RFC 5322 2.1.1 allows 998 octets in a line.
const maxText = 400

// message is the mail, without its signature. Its text is ASCII, so that any server
// takes it.
func (n *Notifier) message(named []event, more int) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	subject := fmt.Sprintf("Quotas used up: %d accounts at %s", len(named)+more, n.o.Hostname)
	if len(named)+more == 1 {
		subject = "Quota used up: 1 account at " + n.o.Hostname
	}
	line("From: Mail Delivery System <%s>", n.o.Postmaster.ASCII())
	line("To: <%s>", n.o.Postmaster.ASCII())
	line("Subject: %s", subject)
	line("Date: %s", n.o.Now().Format(time.RFC1123Z))
	line("Message-ID: <%s@%s>", rand.Text(), n.o.Hostname)
	line("Auto-Submitted: auto-generated") // RFC 3834 5: nothing answers it
	line("MIME-Version: 1.0")
	line("Content-Type: text/plain; charset=us-ascii")
	line("")
	line("These accounts have sent all that a quota of a rule lets them for now.")
	line("What they send beyond it gets 450 4.7.1, and their programs try again.")
	for _, e := range named {
		line("")
		line("%s", ascii(e.Account))
		line("  quota  %s", ascii(e.Quota))
		line("  rule   %s", ascii(e.Rule))
		line("  since  %s", e.at.UTC().Format(time.DateTime+"Z"))
	}
	if more > 0 {
		line("")
		line("and %d more, which the log names: reason=over-quota", more)
	}
	line("")
	line("Each account is told of once in the time of its quota, and at least an hour.")
	return b.Bytes()
}

// ascii is a text of ours and of proved names, bounded, with escapes for what is not
// ASCII.
func ascii(s string) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	quoted := strconv.QuoteToASCII(s)
	if quoted == `"`+s+`"` {
		return s
	}
	quoted = quoted[1 : len(quoted)-1]
	quoted = strings.ReplaceAll(quoted, `\"`, `"`)
	if len(quoted) > 2*maxText {
		quoted = quoted[:2*maxText]
	}
	return quoted
}
