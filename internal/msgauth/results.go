package msgauth

import (
	"strings"

	"github.com/emersion/go-msgauth/authres"

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
//
// The library writes values as they are, into one line: none has a line end, a
// semicolon, a backslash or a quote in it.
func (r Results) Field() string {
	var all []authres.Result
	if r.Login != "" {
		all = append(all, &authres.AuthResult{Value: authres.ResultPass, Auth: r.login()}) // RFC 8601 2.7.4
	}
	if r.Report != nil {
		all = append(all, r.Report.spf())
		all = append(all, r.Report.dkim()...)
		all = append(all, r.Report.dmarc())
	}
	if len(all) == 0 {
		return ""
	}
	lines := strings.Split(authres.Format(r.Hostname.String(), all), ";")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return resultsField + ": " + strings.Join(lines, ";\r\n\t") + "\r\n"
}

// maxLogin is the longest address, in octets. RFC 5321 4.5.3.1.3
const maxLogin = 256

// login is Login as a value, "" when it cannot be told.
func (r Results) login() string {
	if len(r.Login) > maxLogin {
		return ""
	}
	for i := range len(r.Login) {
		c := r.Login[i]
		if c < ' ' || c == 0x7f || c >= 0x80 && !r.UTF8 || strings.IndexByte(`;\"`, c) >= 0 {
			return ""
		}
	}
	return r.Login
}

// spf is RFC 8601 2.7.2.
func (r *Report) spf() authres.Result {
	spf := &authres.SPFResult{Value: authres.ResultValue(r.SPF.Result)}
	if name := r.SPF.Domain.String(); r.SPF.Helo {
		spf.Helo = name
	} else {
		spf.From = name
	}
	return spf
}

// dkim is RFC 8601 2.7.1, a result for each signature. No reason holds text of others.
func (r *Report) dkim() []authres.Result {
	if len(r.DKIM) == 0 {
		return []authres.Result{&authres.DKIMResult{Value: authres.ResultNone}}
	}
	var all []authres.Result
	for _, s := range r.DKIM {
		properties := map[string]string{
			"reason": s.Why, "header.d": s.Domain.String(), "header.s": s.Selector.String(), "header.a": s.Algorithm, "header.b": s.Begins,
		}
		if strings.Contains(s.Begins, "/") {
			// It would need quotes that the library does not write; d=, s= and a= tell which one is meant.
			delete(properties, "header.b")
		}
		all = append(all, &authres.GenericResult{Method: "dkim", Value: authres.ResultValue(s.Result), Params: properties})
	}
	return all
}

// dmarc is RFC 7489 11.1; what the domain asks for stands in a comment.
func (r *Report) dmarc() authres.Result {
	value := string(r.DMARC.Result)
	if r.DMARC.Demand != "" {
		value += " (p=" + string(r.DMARC.Demand) + ")"
	}
	return &authres.DMARCResult{Value: authres.ResultValue(value), From: r.DMARC.Author.String()}
}
