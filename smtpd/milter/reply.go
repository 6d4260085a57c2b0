package milter

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/emersion/go-milter"

	"dancemta/internal/foreign"
)

// maxReply bounds the text of a reply: with our session id it must fit a line of 512
// octets (RFC 5321 4.5.3.1.5).
const maxReply = 300

var enhanced = regexp.MustCompile(`^([245])\.([0-9]{1,3})\.([0-9]{1,3})(?: |$)`) // RFC 3463 2

// verdict reads an answer.
func (c *conversation) verdict(act *milter.Action) (Verdict, error) {
	v := Verdict{Milter: c.filter.Name()}
	switch act.Code {
	case milter.ActContinue, milter.ActAccept:
		if act.Code == milter.ActAccept {
			c.done = true
		}
		return Verdict{Action: Continue}, nil
	case milter.ActDiscard:
		v.Action = Discard
	case milter.ActReject:
		v.Action = Reject
	case milter.ActTempFail:
		v.Action = TempFail
	case milter.ActReplyCode:
		return v, v.reply(act.SMTPCode, act.SMTPText)
	default:
		return v, fmt.Errorf("%w: answer %q", errProtocol, byte(act.Code))
	}
	return v, nil
}

// reply takes a reply that a milter words. It is one line, as its first one is.
func (v *Verdict) reply(code int, words string) error {
	switch code / 100 {
	case 4:
		v.Action = TempFail
	case 5:
		v.Action = Reject
	default:
		return fmt.Errorf("%w: a reply %d", errProtocol, code)
	}
	words, _, _ = strings.Cut(words, "\n")
	words = strings.ReplaceAll(strings.TrimSpace(words), "%%", "%") // Sendmail expands % in replies
	v.Code, v.Enhanced = code, [3]int{code / 100, 7, 1}
	if m := enhanced.FindStringSubmatch(words); m != nil {
		words = words[len(m[0]):]
		if m[1] == strconv.Itoa(code/100) { // RFC 2034 4: the classes agree
			v.Enhanced[1], _ = strconv.Atoi(m[2])
			v.Enhanced[2], _ = strconv.Atoi(m[3])
		}
	}
	if v.Text = foreign.ASCII(strings.TrimSpace(words), maxReply); v.Text == "" {
		v.Code = 0
	}
	return nil
}
