package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var errParam = errors.New("malformed or repeated parameter")

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
		if !isAlnum(key[i]) && (key[i] != '-' || i == 0) {
			return false
		}
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; c <= ' ' || c == 0x7f || c == '=' || c > 0x7f && key != "ORCPT" {
			return false // RFC 6533 3: an address in ORCPT alone may be UTF-8
		}
	}
	return key != ""
}

const (
	badParam = "501 5.5.4 Malformed or repeated parameter"

	// maxKeyword is how much of a keyword a reply repeats: the longest that is
	// registered has 20 octets, and a reply no more than 512 (RFC 5321 4.5.3.1.5).
	maxKeyword = 40
)

// unknownParam: RFC 5321 4.1.1.11.
func unknownParam(p param) string {
	return "555 5.5.4 Parameter not recognized: " + p.key[:min(len(p.key), maxKeyword)]
}

// bodyParam reads RFC 6152 2's BODY=.
func bodyParam(s string) (value, refusal string) {
	switch value = upper(s); value {
	case "7BIT", "8BITMIME":
		return value, ""
	case "BINARYMIME": // RFC 3030 3: a value that we know and cannot implement
		return "", "555 5.5.4 BINARYMIME is not offered"
	}
	return "", "501 5.5.4 BODY must be 7BIT or 8BITMIME"
}

// mailParams reads MAIL's parameters: tail is what go-smtp is told, in canonical
// form.
func (c *Conn) mailParams(s string) (tail string, a asked, refusal string) {
	list, err := readParams(s)
	if err != nil {
		return "", a, badParam
	}
	for _, p := range list {
		value := ""
		switch p.key {
		case "SIZE":
			value, refusal = c.sizeParam(p.value)
		case "BODY":
			value, refusal = bodyParam(p.value)
		case "AUTH":
			value, refusal = authParam(p.value)
		default:
			var known bool
			if known, refusal = c.mailAsked(&a, p); !known {
				refusal = unknownParam(p)
			}
		}
		if refusal != "" {
			return "", asked{}, refusal
		}
		if value != "" {
			tail += " " + p.key + "=" + value
		}
	}
	return tail, a, ""
}

// sizeParam reads the declared size (RFC 1870 3: 1 to 20 digits). go-smtp knows
// 32 bits; what is beyond is too large for every limit.
func (c *Conn) sizeParam(s string) (value, refusal string) {
	if s == "" || len(s) > 20 || !isDigits(s) {
		return "", "501 5.5.4 Malformed SIZE"
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || c.maxBytes > 0 && n > uint64(c.maxBytes) {
		return "", tooLarge
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
