package msgauth

import (
	"strings"

	"dancemta/internal/dnsname"
)

// resultsField is the field that tells who found what out. RFC 8601
const resultsField = "Authentication-Results"

// Results are what we tell those behind us of a message.
type Results struct {
	Hostname dnsname.Name // our authserv-id
	Login    string       // who logged in by AUTH, "" when nobody did
	UTF8     bool         // the message may have a header in UTF-8. RFC 8616 5
	Report   *Report      // nil: nothing was checked
}

// Field returns the whole Authentication-Results field with its line end, "" when
// there is nothing to tell. Only registered methods stand in it (RFC 8601 2.7.6), and of
// the peer's text nothing but names in their normal form.
func (r Results) Field() string {
	var lines []string
	if r.Login != "" {
		lines = append(lines, "auth=pass"+property("smtp.auth", r.login())) // RFC 8601 2.7.4
	}
	if r.Report != nil {
		lines = append(lines, r.Report.spfLine())
		lines = append(lines, r.Report.dkimLines()...)
		lines = append(lines, r.Report.dmarcLine())
	}
	if len(lines) == 0 {
		return ""
	}
	return resultsField + ": " + r.Hostname.String() + ";\r\n\t" + strings.Join(lines, ";\r\n\t") + "\r\n"
}

func property(name, value string) string {
	if value == "" {
		return ""
	}
	return " " + name + "=" + value
}

// maxLogin is the longest address, in octets. RFC 5321 4.5.3.1.3
const maxLogin = 256

// login is Login as a value: as it is when only harmless signs stand in it, else in
// quotes. RFC 8601 2.2
func (r Results) login() string {
	plain := true
	for i := range len(r.Login) {
		switch c := r.Login[i]; {
		case c < ' ' || c == 0x7f || c >= 0x80 && !r.UTF8:
			return "" // cannot be told
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80 || strings.IndexByte("@.-_+", c) >= 0:
		default:
			plain = false
		}
	}
	switch {
	case len(r.Login) > maxLogin:
		return ""
	case plain:
		return r.Login
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(r.Login) + `"`
}

// spfLine is RFC 8601 2.7.2.
func (r *Report) spfLine() string {
	name := "smtp.mailfrom"
	if r.SPF.Helo {
		name = "smtp.helo"
	}
	return "spf=" + string(r.SPF.Result) + property(name, r.SPF.Domain.String())
}

// dkimLines is RFC 8601 2.7.1, a line for each signature. No reason holds text of others.
func (r *Report) dkimLines() []string {
	if len(r.DKIM) == 0 {
		return []string{"dkim=none"}
	}
	var lines []string
	for _, s := range r.DKIM {
		line := "dkim=" + string(s.Result)
		if s.Why != "" {
			line += ` reason="` + s.Why + `"`
		}
		line += property("header.d", s.Domain.String()) + property("header.s", s.Selector.String()) + property("header.a", s.Algorithm)
		if s.Begins != "" {
			line += ` header.b="` + s.Begins + `"` // base64 may hold = and /
		}
		lines = append(lines, line)
	}
	return lines
}

// dmarcLine is RFC 7489 11.1; what the domain asks for stands in a comment.
func (r *Report) dmarcLine() string {
	line := "dmarc=" + string(r.DMARC.Result)
	if r.DMARC.Demand != "" {
		line += " (p=" + string(r.DMARC.Demand) + ")"
	}
	return line + property("header.from", r.DMARC.Author.String())
}
