package config

import (
	"fmt"

	"dancemta/internal/dnsname"
)

// maxOrganization bounds a name that goes into reports.
const maxOrganization = 200

func checkDKIM(c *Config, f *faults) {
	seen := map[string]string{}
	for i, k := range c.DKIM {
		path := fmt.Sprintf("dkim[%d]", i)
		f.required(path+".domain", "the domain that it signs for")
		f.required(path+".selector", "the name of the key within the domain")
		f.required(path+".key", "the file with the private key")
		if k.Domain == (dnsname.Name{}) || k.Selector == (dnsname.Name{}) {
			continue
		}
		owner := k.Selector.String() + "._domainkey." + k.Domain.String()
		f.unique(seen, owner, path+".selector", "give each key of a domain its own selector")
	}
}

func checkTLSReports(c *Config, f *faults) {
	if !f.index.has("tls_reports") {
		return
	}
	f.required("tls_reports.organization", "the name of whoever runs this server")
	f.required("tls_reports.contact", "the mailbox for questions")
	if f.index.has("tls_reports.organization") && f.clean("tls_reports.organization") && !printable(c.TLSReports.Organization) {
		f.key("tls_reports.organization", "is empty, too long, or holds more than printable ASCII", `write a name such as "Example Org"`)
	}
	if f.index.has("tls_reports.contact") && f.clean("tls_reports.contact") && c.TLSReports.Contact.Domain().IsZero() {
		f.key("tls_reports.contact", "has no domain", `write a mail address such as "tls-reports@example.org"`)
	}
}

// printable reports whether s can stand in a header field as it is.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxOrganization
}
