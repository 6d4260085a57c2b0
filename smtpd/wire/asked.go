package wire

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
)

// asked is what a MAIL or RCPT asks for beyond what go-smtp is told. The wire
// reads it and puts it into the options that the session gets: go-smtp knows two
// address types only, takes REQUIRETLS in clear and lets the last of two
// contradicting values win.
type asked struct {
	utf8       bool // RFC 6531 3.1
	requireTLS bool // RFC 8689 2
	ret        smtp.DSNReturn
	envid      string

	notify       []smtp.DSNNotify
	originalType smtp.DSNAddressType
	original     string
}

func (a *asked) mail(o *smtp.MailOptions) {
	o.UTF8, o.RequireTLS, o.Return, o.EnvelopeID = a.utf8, a.requireTLS, a.ret, a.envid
}

func (a *asked) rcpt(o *smtp.RcptOptions) {
	o.Notify, o.OriginalRecipientType, o.OriginalRecipient = a.notify, a.originalType, a.original
}

const (
	badRet    = "501 5.5.4 RET must be FULL or HDRS"
	badEnvid  = "501 5.5.4 Malformed ENVID"
	badNotify = "501 5.5.4 NOTIFY must be NEVER, or of SUCCESS, FAILURE and DELAY each once"
	badOrcpt  = "501 5.5.4 Malformed ORCPT"

	maxEnvid = 100 // RFC 3461 4.4, before it is encoded
	maxOrcpt = 500 // RFC 3461 4.2
)

// mailAsked reads a parameter of MAIL into a. known is false for one that is not
// among these.
func (c *Conn) mailAsked(a *asked, p param) (known bool, refusal string) {
	switch p.key {
	case "SMTPUTF8":
		a.utf8 = true
		return true, noValue(p)
	case "REQUIRETLS":
		a.requireTLS = true
		switch {
		case c.tls != nil:
			return true, noValue(p)
		case c.link.srv.cfg.TLS == nil:
			return false, ""
		}
		return true, tlsFirst // RFC 8689 2: it is a promise about TLS, made within TLS
	case "RET":
		return true, a.readRet(p.value)
	case "ENVID":
		return true, a.readEnvid(p.value)
	}
	return false, ""
}

func noValue(p param) string {
	if p.value != "" {
		return "501 5.5.4 " + p.key + " takes no value"
	}
	return ""
}

// readRet: RFC 3461 4.3.
func (a *asked) readRet(value string) (refusal string) {
	switch upper(value) {
	case "FULL":
		a.ret = smtp.DSNReturnFull
	case "HDRS":
		a.ret = smtp.DSNReturnHeaders
	default:
		return badRet
	}
	return ""
}

// readEnvid: RFC 3461 4.4.
func (a *asked) readEnvid(value string) (refusal string) {
	text, ok := decodeXtext(value)
	if !ok || text == "" || len(text) > maxEnvid || !isPrintable(text) {
		return badEnvid
	}
	a.envid = text
	return ""
}

// rcptParams reads RCPT's parameters, or gives a refusal.
func (c *Conn) rcptParams(s string) (a asked, refusal string) {
	list, err := readParams(s)
	if err != nil {
		return a, badParam
	}
	for _, p := range list {
		switch p.key {
		case "NOTIFY":
			refusal = a.readNotify(p.value)
		case "ORCPT":
			refusal = a.readOrcpt(p.value, c.tx.utf8)
		default:
			refusal = unknownParam(p)
		}
		if refusal != "" {
			return asked{}, refusal
		}
	}
	return a, ""
}

// readNotify: RFC 3461 4.1.
func (a *asked) readNotify(value string) (refusal string) {
	seen := map[string]bool{}
	for word := range strings.SplitSeq(upper(value), ",") {
		switch word {
		case "NEVER", "SUCCESS", "FAILURE", "DELAY":
		default:
			return badNotify
		}
		if seen[word] || len(seen) > 0 && (word == "NEVER" || seen["NEVER"]) {
			return badNotify
		}
		seen[word] = true
		a.notify = append(a.notify, smtp.DSNNotify(word))
	}
	return ""
}

// readOrcpt: RFC 3461 4.2. The address need not have the form that its type
// wants, but it must be text that a report can show.
func (a *asked) readOrcpt(value string, raw bool) (refusal string) {
	kind, text, found := strings.Cut(value, ";")
	if !found || !isAtom(kind) || text == "" || len(value) > maxOrcpt {
		return badOrcpt
	}
	var ok bool
	if strings.EqualFold(kind, string(smtp.DSNAddressTypeUTF8)) {
		kind = strings.ToLower(kind)
		text, ok = decodeUTF8Address(text, raw)
	} else {
		text, ok = decodeXtext(text)
		ok = ok && isPrintable(text)
	}
	if !ok {
		return badOrcpt
	}
	a.originalType, a.original = smtp.DSNAddressType(kind), text
	return ""
}

// decodeUTF8Address reads an address of the type utf-8: utf-8-addr-xtext, and
// with raw, which needs SMTPUTF8, utf-8-addr-unitext (RFC 6533 3).
func decodeUTF8Address(s string, raw bool) (string, bool) {
	var b strings.Builder
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == '\\':
			if r, size = embedded(s); size == 0 {
				return "", false
			}
		case r == '+' || r == '=' || r <= ' ' || r == 0x7f:
			return "", false
		case r >= utf8.RuneSelf && (!raw || r == utf8.RuneError && size == 1):
			return "", false
		}
		if !isShowable(r) {
			return "", false
		}
		b.WriteRune(r)
		s = s[size:]
	}
	return b.String(), b.Len() > 0
}

// embedded reads an EmbeddedUnicodeChar such as \x{FC} at the start of s; size 0:
// there is none. Each sign has one form only, and those that may stand for
// themselves have none.
func embedded(s string) (r rune, size int) {
	hex, _, closed := strings.Cut(strings.TrimPrefix(s, `\x{`), "}")
	n, err := strconv.ParseUint(hex, 16, 21)
	if !strings.HasPrefix(s, `\x{`) || !closed || err != nil || !utf8.ValidRune(rune(n)) {
		return 0, 0
	}
	want := upper(strconv.FormatUint(n, 16))
	if n < 0x10 {
		want = "0" + want
	}
	if r = rune(n); upper(hex) != want || r > ' ' && r < 0x7f && !strings.ContainsRune(`+=\`, r) {
		return 0, 0
	}
	return r, len(`\x{`) + len(hex) + len("}")
}

// isShowable refuses what would break a line of a report, or turn the direction
// of its text.
func isShowable(r rune) bool {
	const nonJoiner, joiner = 0x200c, 0x200d // within words of some scripts
	return r == nonJoiner || r == joiner || !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// isPrintable: graphic and white space ASCII (RFC 3461 4.2, 4.4).
func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// isAtom: RFC 5321 4.1.2.
func isAtom(s string) bool { return isASCII(s) && isDotString(s) && !strings.Contains(s, ".") }
