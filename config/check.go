package config

import (
	"fmt"
	"strings"

	"dancemta/internal/dnsname"
)

// check finds what no key alone shows: missing keys, doubles, and pairs that
// contradict each other. Every fault stands at the key or table concerned.
func check(c *Config, f *faults) {
	f.required("hostname", "the name of this server")
	f.required("postmaster", "the mailbox of whoever answers for this server")
	f.required("state_dir", "the folder of the queue")
	f.required("dns.upstreams", "the resolvers to ask")
	if c.Postmaster.IsNull() && f.index.has("postmaster") && f.clean("postmaster") {
		f.key("postmaster", "is empty", "write a mail address")
	}
	checkDNS(c, f)
	checkTLS(c, f)
	checkListeners(c, f)
	checkProxies(c, f)
	checkMilters(c, f)
	checkRelayDomains(c, f)
	checkRoutes(c, f)
	checkSources(c, f)
	checkRules(c, f)
	checkGroups(c, f)
	checkDirectory(c, f)
	checkAuthzid(c, f)
	checkLDAP(c, f)
	checkLDAPRules(c, f)
	checkNumbers(c, f)
	checkDKIM(c, f)
	checkAuthentication(c, f)
	checkTLSReports(c, f)
}

// required demands a key; what says what it is for.
func (f *faults) required(path, what string) {
	if f.index.has(path) {
		return
	}
	key := path[strings.LastIndexByte(path, '.')+1:]
	f.key(path, "missing", fmt.Sprintf("add %s, %s", key, what))
}

// clean reports whether no fault of this key is known yet; a wrong value was
// blanked out and must not be reported as an absent one too.
func (f *faults) clean(path string) bool {
	at := f.index.find(path)
	for _, e := range f.list {
		if e.Line == at.line && e.Key == shown(path) {
			return false
		}
	}
	return true
}

func checkTLS(c *Config, f *faults) {
	cert, key := f.index.has("tls.certificate"), f.index.has("tls.key")
	switch {
	case cert && !key:
		f.key("tls.key", "missing", "add key, the file with the certificate's private key")
	case key && !cert:
		f.key("tls.certificate", "missing", "add certificate, the file with the chain of the key")
	}
}

func checkListeners(c *Config, f *faults) {
	if len(c.Listeners) == 0 && len(c.LDAPListeners) == 0 {
		f.key("listener", "missing", "add at least one [[listener]] with name, kind and address")
	}
	names, addresses := map[string]string{}, map[string]string{}
	for i, l := range c.Listeners {
		path := fmt.Sprintf("listener[%d]", i)
		f.required(path+".name", "by which rules and log lines call it")
		f.required(path+".kind", `"relay", "submission" or "submissions"`)
		f.required(path+".address", `such as ":25"`)
		f.unique(names, l.Name, path+".name", "give each listener its own name")
		if !strings.HasSuffix(string(l.Address), ":0") {
			f.unique(addresses, string(l.Address), path+".address", "give each listener its own address")
		}
		checkListenerTLS(c, f, path, l)
	}
	checkLDAPListeners(c, f, names, addresses)
	if f.index.has("metrics") {
		f.required("metrics.address", `such as "127.0.0.1:9110"`)
		f.unique(addresses, string(c.Metrics.Address), "metrics.address", "give the metrics their own address")
	}
}

// checkListenerTLS finds listeners that want what they cannot have.
func checkListenerTLS(c *Config, f *faults, path string, l Listener) {
	hasTLS := f.index.has("tls.certificate") || f.index.has("tls.key")
	switch {
	case c.Believes(l.Name): // TLS ends at the proxy
	case !hasTLS && (l.Kind == Submission || l.Kind == Submissions):
		f.key(path+".kind", fmt.Sprintf("%q needs TLS", l.Kind), "add [tls] with certificate and key")
	case !hasTLS && l.ClientCertificates == CertificatesRequire:
		f.key(path+".client_certificates", `"require" needs TLS`, "add [tls] with certificate and key")
	}
	if l.ClientCertificates == CertificatesOff && l.ImplicitLogin {
		f.key(path+".implicit_login", "needs certificates, and client_certificates is \"off\"", `write "ask" there, or drop implicit_login`)
	}
	if len(l.ClientNames) == 0 && f.index.has(path+".client_names") && f.clean(path+".client_names") {
		f.key(path+".client_names", "is empty", `write ["certificate"], or client_certificates = "off"`)
	}
	if l.ClientCertificates == CertificatesOff && l.DANEFailure == Abort {
		f.key(path+".dane_failure", `"abort" needs certificates, and client_certificates is "off"`, `write "ask" there, or drop dane_failure`)
	}
}

// unique demands that no value stands twice; empty ones are missing keys.
func (f *faults) unique(seen map[string]string, value, path, right string) {
	if value == "" {
		if f.index.has(path) && f.clean(path) {
			f.key(path, "is empty", right)
		}
		return
	}
	if first, ok := seen[value]; ok {
		f.key(path, fmt.Sprintf("%q stands already in line %d", value, f.index.find(first).line), right)
		return
	}
	seen[value] = path
}

func checkRelayDomains(c *Config, f *faults) {
	seen := map[string]string{}
	for i, d := range c.RelayDomains {
		path := fmt.Sprintf("relay_domain[%d]", i)
		f.required(path+".domain", "the part after @")
		f.required(path+".recipients", `"file", "directory", "probe" or "any"`)
		if d.Domain != (dnsname.Name{}) {
			f.unique(seen, d.Domain.String(), path+".domain", "write each domain once")
		}
		if len(d.NextHop) == 0 && f.index.has(path+".next_hop") && f.clean(path+".next_hop") {
			f.key(path+".next_hop", "is empty", "write where its mail goes, or drop the key for the MX hosts")
		}
		hasFile := f.index.has(path + ".recipients_file")
		switch {
		case d.Recipients == RecipientsFile && !hasFile:
			f.key(path+".recipients_file", `missing, and recipients is "file"`, "add recipients_file, a list of mailboxes")
		case d.Recipients != "" && d.Recipients != RecipientsFile && hasFile:
			f.key(path+".recipients_file", fmt.Sprintf("is not read, since recipients is %q", d.Recipients), `write recipients = "file", or drop recipients_file`)
		}
		if d.Recipients == RecipientsDirectory && !f.index.has("directory") {
			f.key(path+".recipients", `"directory" needs one`, "add [directory], or write where the mailboxes are known")
		}
		switch {
		case d.Recipients == RecipientsProbe && len(d.NextHop) == 0 && len(c.Routes) == 0:
			f.key(path+".recipients", `"probe" needs a next hop: the MX hosts of a relay domain are we`, "add next_hop, or a [[route]] for the domain")
		case d.Recipients != RecipientsProbe && f.index.has(path+".probe_failure"):
			f.key(path+".probe_failure", `is for recipients = "probe"`, "write that, or drop the key")
		}
		checkClientIdentity(f, path)
	}
}

// checkClientIdentity finds a client identity that nobody would see.
func checkClientIdentity(f *faults, path string) {
	cert, key := f.index.has(path+".client_certificate"), f.index.has(path+".client_key")
	switch {
	case cert && !key:
		f.key(path+".client_key", "missing", "add client_key, the file with the certificate's private key")
	case key && !cert:
		f.key(path+".client_certificate", "missing", "add client_certificate, the file with the chain of the key")
	case cert && !f.index.has(path+".next_hop"):
		f.key(path+".client_certificate", "needs next_hop: hosts that DNS names are shown none", "add next_hop, or drop client_certificate")
	}
	if !cert && f.index.has(path+".client_name") {
		f.key(path+".client_name", "needs client_certificate", "add client_certificate and client_key, or drop client_name")
	}
}

func checkRules(c *Config, f *faults) {
	for i, r := range c.Rules {
		path := fmt.Sprintf("rule[%d]", i)
		checkRule(c, f, path, r)
		f.required(path+".action", `"allow" or "deny"`)
		checkRuleListeners(c, f, path, r)
		if r.Who.IsUser() || r.Who.IsZero() && !f.index.has(path+".network") {
			continue
		}
		if r.Action == Allow && !f.index.has(path+".from") {
			whom := "clients"
			if r.Who.IsZero() {
				whom = "a network"
			}
			f.key(path+".from", "missing in a rule that allows "+whom, `add from, such as ["@example.org"]; write ["any"] if they may send as anybody`)
		}
	}
}

func checkRuleListeners(c *Config, f *faults, path string, r Rule) {
	names := map[string]bool{}
	var known []string
	for _, l := range c.Listeners {
		names[l.Name] = true
		known = append(known, fmt.Sprintf("%q", l.Name))
	}
	for _, name := range r.Listeners {
		if !names[name] {
			f.key(path+".listeners", fmt.Sprintf("no listener is called %q", name), "write "+list(known, "or"))
		}
	}
	for _, key := range []string{".listeners", ".from", ".to"} {
		n := map[string]int{".listeners": len(r.Listeners), ".from": len(r.From), ".to": len(r.To)}[key]
		if n == 0 && f.index.has(path+key) && f.clean(path+key) {
			f.key(path+key, "is empty, so the rule could never hold", "write what it is for, or drop the key")
		}
	}
}

func checkAuthzid(c *Config, f *faults) {
	for i, a := range c.Authzid {
		path := fmt.Sprintf("authzid[%d]", i)
		f.required(path+".from", "the users who may act as others")
		f.required(path+".to", "the users they may act as")
		if !a.From.IsZero() && !a.From.IsUser() {
			f.key(path+".from", fmt.Sprintf("%q names clients", a.From), `write users, such as "rick@example.org"`)
		}
		if !a.To.IsZero() && !a.To.IsUser() {
			f.key(path+".to", fmt.Sprintf("%q names clients", a.To), `write users, such as "sales@example.org"`)
		}
	}
}

func checkNumbers(c *Config, f *faults) {
	if len(c.Queue.Retry) == 0 && f.clean("queue.retry") {
		f.key("queue.retry", "is empty", `write at least one pause, such as ["5m", "1h"]`)
	}
	if c.DANE.ExtensionType > 65535 {
		f.key("dane.extension_type", fmt.Sprintf("%d is no type of an extension", c.DANE.ExtensionType), "write a number from 1 to 65535, or drop the key for 65500")
	}
	if c.Delivery.MXPort > 65535 {
		f.key("delivery.mx_port", fmt.Sprintf("%d is no port", c.Delivery.MXPort), "write a number from 1 to 65535, or drop the key for 25")
	}
	if c.MTASTS.Port > 65535 {
		f.key("mta_sts.port", fmt.Sprintf("%d is no port", c.MTASTS.Port), "write a number from 1 to 65535, or drop the key for 443")
	}
}
