package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/pattern"
)

// Directory is an LDAP server that is asked about users and mailboxes, the [directory]
// table. Absent: rules know groups from files alone, and nobody has a password. In bases
// and filters {uid}, {domain} (in A-labels) and {address} (both, with an @) stand for the
// user or the mailbox; what is special in a DN or a filter is escaped. Read again on
// SIGHUP, which also forgets what is cached, but for what is about passwords.
type Directory struct {
	// directory.servers (required): tried in this order: as "ldaps://host:636", as
	// "ldap://host:389" (TLS begins by StartTLS before anything else is said), or as
	// "unix:/run/slapd/ldapi".
	Servers []DirectoryServer `toml:"servers"`
	// directory.roots: a PEM file with the CAs at which the certificates of servers with
	// TLS must end, which must also have the host's name. Required for these.
	Roots Path `toml:"roots"`
	// directory.certificate: a PEM file with the chain by which servers with TLS know us
	// (SASL EXTERNAL). Over a socket of this host they know us by our user.
	Certificate Path `toml:"certificate"`
	// directory.key: the PEM file with its private key.
	Key Path `toml:"key"`
	// directory.bind_dn: bind as this DN, by password_file, in place of SASL EXTERNAL.
	BindDN string `toml:"bind_dn"`
	// directory.password_file: its first line is the password of bind_dn. Only we may
	// read it.
	PasswordFile Path `toml:"password_file"`
	// directory.base (required): the DN below which users are, as
	// "ou=people,dc=example,dc=org" or "ou={domain},ou=people,dc=example,dc=org".
	Base string `toml:"base"`
	// directory.filter (required): what finds one user there, as
	// "(&(objectClass=inetOrgPerson)(mail={address}))".
	Filter string `toml:"filter"`
	// directory.group_attribute: of a user's entry: each value is a group, as in
	// "memberOf". Rules see those that a [[group]] names.
	GroupAttribute string `toml:"group_attribute"`
	// directory.group_filter: what finds the entries of a user's groups, where his own
	// does not name them, as "(member={dn})"; {dn} is the DN of his entry. The DNs of what
	// is found are his groups.
	GroupFilter string `toml:"group_filter"`
	// directory.group_base: the DN below which they are. Default: base.
	GroupBase string `toml:"group_base"`
	// directory.address_attributes: of a user's entry: each value is an address that "directory"
	// means in a rule, as in ["mail", "mailLocalAddress"].
	AddressAttributes []string `toml:"address_attributes"`
	// directory.quota_attribute: of a user's entry: its one value names his
	// [[quota_class]].
	QuotaAttribute string `toml:"quota_attribute"`
	// directory.recipient_filter: what finds the entry of a mailbox for relay domains with
	// recipients = "directory". Default "(mail={address})".
	RecipientFilter string `toml:"recipient_filter"`
	// directory.recipient_base: the DN below which these are. Default: base.
	RecipientBase string `toml:"recipient_base"`
	// directory.cache: how long an entry or a mailbox is taken to be as it was. Default "5m".
	Cache Duration `toml:"cache"`
	// directory.negative_cache: how long that there is none. Default "1m".
	NegativeCache Duration `toml:"negative_cache"`
	// directory.timeout: how long one answer may take. What does not come is tried again
	// later (454 or 450). Default "5s".
	Timeout Duration `toml:"timeout"`
	// directory.connections: for look-ups, and as many for passwords. Default 4.
	Connections int `toml:"connections"`
	// directory.password_domains: domains whose users log in by AUTH PLAIN, under TLS, on
	// listeners of kind "submission" and "submissions"; their password is checked by a
	// bind as their entry. Rules for these users must say proved = ["password"]: no
	// certificate proves them. Read at the start only. Default: none, and PLAIN is not offered.
	PasswordDomains []dnsname.Name `toml:"password_domains"`
	// directory.password_rate_per_user: how often the password of one user may be told, right or
	// wrong; then 454. Read at the start only. Default "20/m".
	PasswordRatePerUser Rate `toml:"password_rate_per_user"`
	// directory.password_rate_per_address: the same for one IPv4 address or IPv6 network (/64). Read
	// at the start only. Default "60/m".
	PasswordRatePerAddress Rate `toml:"password_rate_per_address"`
}

// QuotaClass is a class of users that the directory chooses from, a [[quota_class]]
// table. Its quotas stand in place of messages and recipients of the rule; those of the
// rule for domains and addresses hold as well. A user whose class is not here is told
// to come again later. Read again on SIGHUP.
type QuotaClass struct {
	// name (required): the value of directory.quota_attribute. Unique.
	Name string `toml:"name"`
	// messages: how many each user of the class may send, as in a [[rule]]. Default: no quota.
	Messages []Quota `toml:"messages"`
	// recipients: the same for recipients.
	Recipients []Quota `toml:"recipients"`
}

// InDirectory is the word for the addresses in a user's entry.
const InDirectory AddressPattern = "directory"

// maxDirectoryTime is what a client may be kept waiting for three answers in a row, and
// what is left to him of the five minutes that he waits (RFC 5321 4.5.3.2).
const maxDirectoryTime = time.Minute

func checkDirectory(c *Config, f *faults) {
	checkQuotaClasses(c, f)
	if !f.index.has("directory") {
		return
	}
	d := c.Directory
	f.required("directory.servers", `such as ["ldaps://ldap.example.org:636"]`)
	f.required("directory.base", `such as "ou=people,dc=example,dc=org"`)
	f.required("directory.filter", `such as "(mail={address})"`)
	if len(d.Servers) == 0 && f.index.has("directory.servers") && f.clean("directory.servers") {
		f.key("directory.servers", "names no server", `write for example ["ldaps://ldap.example.org:636"]`)
	}
	checkDirectoryBind(c, f)
	if f.index.has("directory.group_base") && !f.index.has("directory.group_filter") {
		f.key("directory.group_base", "nothing is searched there without group_filter", "add group_filter, or drop group_base")
	}
	if d.Timeout.Duration > maxDirectoryTime {
		f.key("directory.timeout", fmt.Sprintf("%v is longer than clients wait", d.Timeout), `write at most "1m"`)
	}
	checkDirectoryAttributes(d, f)
	checkDirectoryDomains(c, f)
	checkPasswordDomains(c, f)
}

// attributeName is the name of an attribute or its OID (RFC 4512 1.4, 2.5), without
// options: a server would take anything else for one that no entry has.
var attributeName = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)+)$`)

func checkDirectoryAttributes(d Directory, f *faults) {
	keys := []string{"directory.group_attribute", "directory.quota_attribute", "directory.address_attributes"}
	for i, names := range [][]string{{d.GroupAttribute}, {d.QuotaAttribute}, d.AddressAttributes} {
		for _, name := range names {
			if f.index.has(keys[i]) && f.clean(keys[i]) && !attributeName.MatchString(name) {
				f.key(keys[i], fmt.Sprintf("%q is no name of an attribute", name), `write one such as "mail"`)
			}
		}
	}
}

// checkDirectoryBind finds servers that could not be reached safely, or not as anybody.
func checkDirectoryBind(c *Config, f *faults) {
	d := c.Directory
	isTLS := func(s DirectoryServer) bool { return s != "" && !s.IsUnix() }
	overTLS, known := slices.ContainsFunc(d.Servers, isTLS), len(d.Servers) > 0 && f.clean("directory.servers")
	switch {
	case overTLS:
		f.required("directory.roots", "a PEM file with the CAs that prove the servers")
	case f.index.has("directory.roots") && known:
		f.key("directory.roots", "no server would be proved by it: all are sockets of this host", "drop it")
	}
	cert, key := f.index.has("directory.certificate"), f.index.has("directory.key")
	dn, password := f.index.has("directory.bind_dn"), f.index.has("directory.password_file")
	switch {
	case cert && !key:
		f.key("directory.key", "missing", "add key, the file with the certificate's private key")
	case key && !cert:
		f.key("directory.certificate", "missing", "add certificate, the file with the chain of the key")
	case cert && known && !overTLS:
		f.key("directory.certificate", "no server would see it: all are sockets of this host", "drop certificate and key")
	}
	switch {
	case dn && !password:
		f.key("directory.password_file", "missing", "add password_file, the file with the password of bind_dn")
	case password && !dn:
		f.key("directory.bind_dn", "missing", "add bind_dn, whose password that is")
	case dn && d.BindDN == "" && f.clean("directory.bind_dn"):
		f.key("directory.bind_dn", "is empty, which is nobody", "write a DN, or drop bind_dn and password_file")
	case overTLS && !dn && !cert && !key:
		f.key("directory", "nothing says who we are at the servers", "add certificate and key, or bind_dn and password_file")
	}
}

// checkPasswordDomains keeps the two ways of proving users apart: in a domain whose CA
// DNS names a password would be a second, weaker key to the same users.
func checkPasswordDomains(c *Config, f *faults) {
	const key = "directory.password_domains"
	seen := map[dnsname.Name]bool{}
	submission := slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.Kind == Submission || l.Kind == Submissions })
	switch {
	case len(c.Directory.PasswordDomains) == 0 && f.index.has(key) && f.clean(key):
		f.key(key, "is empty", "write a domain, or drop the key")
	case len(c.Directory.PasswordDomains) > 0 && !submission:
		f.key(key, "no listener takes passwords: none is of kind submission or submissions", "add one, or drop the key")
	}
	for _, domain := range c.Directory.PasswordDomains {
		if seen[domain] {
			f.key(key, fmt.Sprintf("%q stands twice", domain), "write each domain once")
			continue
		}
		seen[domain] = true
		reached := false
		for i, r := range c.Rules {
			if !reaches(r.Who, domain) || r.Action != Allow {
				continue
			}
			reached = reached || len(r.Proved) == 0 || slices.Contains(r.Proved, ProvedByPassword)
			if r.takesCertificates() && !c.deniesCertificates(domain) {
				path := fmt.Sprintf("rule[%d]", i)
				if f.index.has(path + ".who") {
					path += ".who"
				}
				f.key(path, fmt.Sprintf("users of %q have passwords, and this rule takes their certificates too", domain),
					fmt.Sprintf(`write proved = ["password"] or a pattern without that domain, or deny "*@%s" where proved = ["certificate", "extension"]`, domain))
			}
		}
		if !reached {
			f.key(key, fmt.Sprintf("no rule lets users of %q in by a password", domain), fmt.Sprintf(`add a [[rule]] with who = "*@%s" and proved = ["password"]`, domain))
		}
	}
}

// checkProvedByPassword finds a rule for users of whom nobody has a password.
func checkProvedByPassword(c *Config, f *faults, path string, r Rule) {
	if !slices.Contains(r.Proved, ProvedByPassword) || !f.clean("directory.password_domains") || !r.Who.IsUser() {
		return
	}
	if !slices.ContainsFunc(c.Directory.PasswordDomains, func(d dnsname.Name) bool { return reaches(r.Who, d) }) {
		f.key(path+".proved", fmt.Sprintf("no user of %q has a password", r.Who), "add their domain to directory.password_domains, or drop password here")
	}
}

// reaches reports whether a pattern is for users of a domain, or for one of them.
func reaches(who pattern.Pattern, domain dnsname.Name) bool {
	uid, one := who.UID()
	if !one {
		uid = "x" // any will do
	}
	return who.IsUser() && who.MatchUser(uid, domain)
}

// takesCertificates reports whether a certificate may prove those whom the rule is for.
func (r Rule) takesCertificates() bool {
	return len(r.Proved) == 0 || slices.Contains(r.Proved, ProvedByCertificate) || slices.Contains(r.Proved, ProvedByExtension)
}

// deniesCertificates reports whether a rule denies all to whoever a certificate proves to
// be a user of a domain: for those who let users of any domain in.
func (c *Config) deniesCertificates(domain dnsname.Name) bool {
	return slices.ContainsFunc(c.Rules, func(r Rule) bool {
		_, one := r.Who.UID()
		conditions := len(r.Network) + len(r.Listeners) + len(r.From) + len(r.To)
		return r.Action == Deny && !one && reaches(r.Who, domain) && r.Group == "" && r.Until.IsZero() && conditions == 0 &&
			slices.Contains(r.Proved, ProvedByCertificate) && slices.Contains(r.Proved, ProvedByExtension)
	})
}

func checkQuotaClasses(c *Config, f *faults) {
	names := map[string]string{}
	for i, q := range c.QuotaClasses {
		path := fmt.Sprintf("quota_class[%d]", i)
		f.required(path+".name", "the value of directory.quota_attribute")
		f.unique(names, q.Name, path+".name", "write each class once")
	}
	if len(c.QuotaClasses) > 0 && !f.index.has("directory.quota_attribute") {
		f.key("quota_class[0]", "nobody is of a class without directory.quota_attribute", "add that, or drop the class")
	}
}

// checkNeedsDirectory finds a rule's words that only a directory gives a meaning.
func checkNeedsDirectory(f *faults, path string, r Rule) {
	for key, list := range map[string][]AddressPattern{".from": r.From, ".to": r.To, ".header_from": r.HeaderFrom} {
		if !slices.Contains(list, InDirectory) {
			continue
		}
		if !r.Who.IsUser() {
			f.key(path+key, strconv.Quote(string(InDirectory))+" is for users; nobody else has an entry there", `write ["@example.org"] or ["any"]`)
		} else if !f.index.has("directory.address_attributes") {
			f.key(path+key, strconv.Quote(string(InDirectory))+" needs directory.address_attributes", `add it, such as ["mail"], or write the addresses`)
		}
	}
}

// checkGroup finds a group that nobody could be in.
func checkGroup(f *faults, path string, g Group) {
	switch {
	case !f.index.has(path+".members_file") && !f.index.has(path+".directory"):
		f.key(path+".members_file", "missing", "add members_file, the list of its users, or directory, its name there")
	case f.index.has(path+".directory") && strings.TrimSpace(g.Directory) == "":
		f.key(path+".directory", "is empty", "write the value of the group, or drop the key")
	case f.index.has(path+".directory") && !f.index.has("directory.group_attribute") && !f.index.has("directory.group_filter"):
		f.key(path+".directory", "needs directory.group_attribute or directory.group_filter", "add one of them, or write members_file")
	}
}
