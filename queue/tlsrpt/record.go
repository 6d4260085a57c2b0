package tlsrpt

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

const (
	version = "v=TLSRPTv1" // RFC 8460 3
	maxRUA  = 8            // destinations of one domain that are looked at
	maxURI  = 1024
)

// rua is where a domain wants its reports: one of both.
type rua struct {
	mail mailaddr.Address
	url  *url.URL
}

// String is how it looks in the log.
func (r rua) String() string {
	if r.url != nil {
		return r.url.Scheme + "://" + r.url.Host + r.url.Path // what else is in it may be a secret
	}
	return "mailto:" + r.mail.String()
}

// parseRecords reads the TXT records of _smtp._tls: none when there is not exactly
// one of this version. RFC 8460 3
func parseRecords(texts []string) []rua {
	var found []string
	for _, t := range texts {
		if rest, ok := strings.CutPrefix(t, version); ok && strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";") {
			found = append(found, rest)
		}
	}
	if len(found) != 1 {
		return nil
	}
	for field := range strings.SplitSeq(found[0], ";") {
		name, value, ok := strings.Cut(field, "=")
		if ok && strings.Trim(name, " \t") == "rua" {
			return parseURIs(value)
		}
	}
	return nil
}

// parseURIs reads the list of rua; what cannot be used is left out.
func parseURIs(list string) []rua {
	var all []rua
	for text := range strings.SplitSeq(list, ",") {
		if len(all) == maxRUA {
			break
		}
		if r, err := parseURI(strings.Trim(text, " \t")); err == nil {
			all = append(all, r)
		}
	}
	return all
}

func parseURI(text string) (r rua, err error) {
	if len(text) > maxURI {
		return r, fmt.Errorf("%.40q: too long", text)
	}
	u, err := url.Parse(text)
	if err != nil {
		return r, err
	}
	switch u.Scheme {
	case "mailto":
		address, err := url.PathUnescape(u.Opaque) // without what stands behind a ?: it would be header fields
		if err != nil {
			return r, err
		}
		if r.mail, err = mailaddr.Parse(address); err != nil {
			return r, err
		}
		if r.mail.Domain().IsZero() || !r.mail.IsASCII() {
			return r, fmt.Errorf("%q: not at a domain, or not ASCII", address)
		}
		return r, nil
	case "https":
		_, nameErr := dnsname.Parse(strings.ToLower(u.Hostname()))
		if _, err := netip.ParseAddr(u.Hostname()); err == nil || nameErr != nil || u.User != nil {
			return r, errors.New("no host by name, or with a login")
		}
		u.Fragment, u.RawFragment = "", ""
		return rua{url: u}, nil
	}
	return r, fmt.Errorf("%.20q: neither mailto nor https", u.Scheme)
}
