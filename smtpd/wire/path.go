package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Sizes of RFC 5321 4.5.3.1, without the angle brackets.
const (
	maxLocal  = 64
	maxDomain = 255
	maxPath   = 254
)

var (
	errPath     = errors.New("not a path")
	errNotASCII = errors.New("path is not ASCII")
	errParam    = errors.New("malformed, unknown or repeated parameter")
)

// mailCommand hands MAIL on in one form: address without route, quoted only
// where it must be, parameters in one order.
func (c *Conn) mailCommand(arg string) {
	if c.hello == nothing || c.mail { // RFC 5321 4.1.4: MAIL in a transaction is out of order
		c.say(badSequence)
		return
	}
	arg, ok := cutKeyword(strings.TrimLeft(arg, " "), "FROM:")
	if !ok {
		c.say("501 5.5.4 Syntax: MAIL FROM:<address>")
		return
	}
	path, params, err := readPath(strings.TrimLeft(arg, " "))
	switch {
	case errors.Is(err, errNotASCII):
		c.say("553 5.6.7 Non-ASCII sender address, SMTPUTF8 is not offered")
		return
	case err != nil || path.domain == "" && path.local != "":
		c.say("501 5.1.7 Bad sender address syntax")
		return
	}
	tail, refusal := mailParams(params)
	if refusal != "" {
		c.say(refusal)
		return
	}
	c.hand(mail, "MAIL FROM:<"+path.String()+">"+tail, nil)
}

// rcptCommand hands RCPT on in one form.
func (c *Conn) rcptCommand(arg string) {
	if !c.mail || c.chunked {
		c.say(badSequence)
		return
	}
	arg, ok := cutKeyword(strings.TrimLeft(arg, " "), "TO:")
	if !ok {
		c.say("501 5.5.4 Syntax: RCPT TO:<address>")
		return
	}
	path, params, err := readPath(strings.TrimLeft(arg, " "))
	switch {
	case errors.Is(err, errNotASCII):
		c.say("553 5.6.7 Non-ASCII recipient address, SMTPUTF8 is not offered")
		return
	case err != nil || path.local == "":
		c.say("501 5.1.3 Bad recipient address syntax")
		return
	case path.domain == "": // RFC 5321 4.5.1: <postmaster>
		path.domain = c.link.srv.cfg.Hostname
	}
	list, err := readParams(params)
	switch {
	case err != nil:
		c.say("501 5.5.4 Malformed or repeated parameter")
	case len(list) > 0:
		c.say("555 5.5.4 Parameter not recognized: " + list[0].key) // RFC 5321 4.1.1.11
	default:
		c.hand(rcpt, "RCPT TO:<"+path.String()+">", nil)
	}
}

// mailbox is a path without its route; the null sender is its zero value. A
// postmaster without domain has none.
type mailbox struct {
	local  string // without quotes
	domain string
}

// String returns the mailbox in canonical form: go-smtp's parser reads exactly
// local and domain from it again.
func (m mailbox) String() string {
	if m.local == "" {
		return ""
	}
	if isDotString(m.local) {
		return m.local + "@" + m.domain
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(m.local); i++ {
		if m.local[i] == '"' || m.local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(m.local[i])
	}
	return b.String() + `"@` + m.domain
}

// readPath reads a path in angle brackets and returns what stands behind them
// (RFC 5321 4.1.2 Reverse-path, Forward-path). Source routes are parsed and
// dropped (appendix C).
func readPath(s string) (m mailbox, rest string, err error) {
	s, ok := strings.CutPrefix(s, "<")
	if !ok {
		return m, "", errPath
	}
	if rest, ok = strings.CutPrefix(s, ">"); ok {
		return m, rest, nil
	}
	if rest, ok = cutKeyword(s, "POSTMASTER>"); ok {
		return mailbox{local: "postmaster"}, rest, nil
	}
	if s, err = dropRoute(s); err != nil {
		return m, "", err
	}
	if m, rest, err = readMailbox(s); err != nil {
		return m, "", err
	}
	if rest, ok = strings.CutPrefix(rest, ">"); !ok {
		return mailbox{}, "", errPath
	}
	if !isASCII(m.local + m.domain) {
		return mailbox{}, "", errNotASCII
	}
	return m, rest, nil
}

// dropRoute takes "@one,@two:" off the front (RFC 5321 4.1.2 A-d-l).
func dropRoute(s string) (string, error) {
	if !strings.HasPrefix(s, "@") {
		return s, nil
	}
	route, rest, ok := strings.Cut(s, ":")
	if !ok {
		return "", errPath
	}
	for hop := range strings.SplitSeq(route, ",") {
		domain, at := strings.CutPrefix(hop, "@")
		if !at || !isDomain(domain) {
			return "", errPath
		}
	}
	return rest, nil
}

// readMailbox reads local@domain up to what cannot belong to it. Octets beyond
// ASCII are taken as letters; the caller judges them.
func readMailbox(s string) (m mailbox, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		m.local, s, err = unquote(s)
	} else {
		i := strings.IndexByte(s, '@')
		if i < 0 || !isDotString(s[:i]) {
			return mailbox{}, "", errPath
		}
		m.local, s = s[:i], s[i:]
	}
	s, ok := strings.CutPrefix(s, "@")
	if err != nil || !ok {
		return mailbox{}, "", errPath
	}
	m.domain, rest = s, ""
	if i := strings.IndexByte(s, '>'); i >= 0 {
		m.domain, rest = s[:i], s[i:]
	}
	switch {
	case m.local == "" || !isDomain(m.domain) && !isLiteral(m.domain):
		return mailbox{}, "", errPath
	case len(m.local) > maxLocal || len(m.local)+1+len(m.domain) > maxPath:
		return mailbox{}, "", errPath
	}
	return m, rest, nil
}

// unquote reads a Quoted-string (RFC 5321 4.1.2).
func unquote(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], nil
		case s[i] == '\\':
			i++
		}
		if i == len(s) || s[i] < ' ' || s[i] == 0x7f {
			break
		}
		b.WriteByte(s[i])
	}
	return "", "", errPath
}

// isDotString reports whether s is atoms with single dots between them.
func isDotString(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for i := 0; i < len(atom); i++ {
			if !isAlnum(atom[i]) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", atom[i]) < 0 {
				return false
			}
		}
	}
	return true
}

// isDomain reports whether s looks like a domain name; whether it is one is for
// the session to say.
func isDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
		for i := 0; i < len(label); i++ {
			if !isAlnum(label[i]) && label[i] != '-' && label[i] != '_' {
				return false
			}
		}
	}
	return len(s) <= maxDomain
}

// isLiteral reports whether s has the shape of an address literal.
func isLiteral(s string) bool {
	if len(s) < 3 || s[0] != '[' || s[len(s)-1] != ']' {
		return false
	}
	for i := 1; i < len(s)-1; i++ {
		if c := s[i]; c >= utf8.RuneSelf || !isAlnum(c) && strings.IndexByte("-.:", c) < 0 {
			return false
		}
	}
	return true
}

// isAlnum counts octets beyond ASCII as letters: see readMailbox.
func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= utf8.RuneSelf
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

type param struct{ key, value string }

// readParams reads what follows a path (RFC 5321 4.1.2 Mail-parameters). Each
// keyword may come once.
func readParams(s string) ([]param, error) {
	if s == "" {
		return nil, nil
	}
	if s[0] != ' ' {
		return nil, errParam
	}
	var list []param
	seen := map[string]bool{}
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ' ' }) {
		key, value, hasValue := strings.Cut(word, "=")
		key = upper(key)
		if !isParam(key, value) || hasValue && value == "" || seen[key] {
			return nil, fmt.Errorf("%.40q: %w", word, errParam)
		}
		seen[key] = true
		list = append(list, param{key, value})
	}
	return list, nil
}

func isParam(key, value string) bool {
	for i := 0; i < len(key); i++ {
		if c := key[i]; c >= utf8.RuneSelf || !isAlnum(c) && (c != '-' || i == 0) {
			return false
		}
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; c <= ' ' || c >= 0x7f || c == '=' {
			return false
		}
	}
	return key != ""
}

// mailParams returns MAIL's parameters in canonical form, or a refusal.
func mailParams(s string) (tail, refusal string) {
	list, err := readParams(s)
	if err != nil {
		return "", "501 5.5.4 Malformed or repeated parameter"
	}
	for _, p := range list {
		value := p.value
		switch p.key {
		case "SIZE":
			value, refusal = sizeParam(p.value)
		case "BODY": // RFC 6152 2; BINARYMIME is not offered
			if value = upper(value); value != "7BIT" && value != "8BITMIME" {
				refusal = "501 5.5.4 BODY must be 7BIT or 8BITMIME"
			}
		case "AUTH":
			value, refusal = authParam(p.value)
		default:
			refusal = "555 5.5.4 Parameter not recognized: " + p.key // RFC 5321 4.1.1.11
		}
		if refusal != "" {
			return "", refusal
		}
		tail += " " + p.key + "=" + value
	}
	return tail, ""
}

// sizeParam reads the declared size (RFC 1870 3: 1 to 20 digits). go-smtp knows
// 32 bits; what is beyond is too large for every limit.
func sizeParam(s string) (value, refusal string) {
	if s == "" || len(s) > 20 || !isDigits(s) {
		return "", "501 5.5.4 Malformed SIZE"
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return "", "552 5.3.4 Message too large"
	}
	return strconv.FormatUint(n, 10), ""
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// authParam reads RFC 4954 5's AUTH=: xtext of a mailbox, or of <>.
func authParam(s string) (value, refusal string) {
	const bad = "501 5.5.4 Malformed AUTH parameter"
	text, ok := decodeXtext(s)
	if !ok || text == "" {
		return "", bad
	}
	if text == "<>" {
		return text, ""
	}
	m, rest, err := readMailbox(text)
	if err != nil || rest != "" || !isASCII(m.local+m.domain) {
		return "", bad
	}
	return encodeXtext(m.String()), ""
}

// decodeXtext reads xtext (RFC 3461 4).
func decodeXtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b.WriteByte(s[i])
			continue
		}
		if i+3 > len(s) || s[i+1:i+3] != upper(s[i+1:i+3]) {
			return "", false
		}
		octet, err := hex.DecodeString(s[i+1 : i+3])
		if err != nil {
			return "", false
		}
		b.Write(octet)
		i += 2
	}
	return b.String(), true
}

// encodeXtext writes printable ASCII as xtext.
func encodeXtext(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == ' ' || s[i] == '+' || s[i] == '=' {
			fmt.Fprintf(&b, "+%02X", s[i])
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
