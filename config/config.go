// Package config reads dancemta's one settings file (TOML) into one checked
// struct. The struct is the manual: each key is explained beside its field.
//
// Start at Load. Whatever is wrong is reported with file, line, column and key,
// and with what would be right, as many faults at once as can be told apart.
// Unknown keys are faults. An absent key means the safe choice, which its
// comment names.
//
// The package knows words and shapes only: it opens no key file, asks no DNS
// and imports none of the parts that it configures.
package config

import (
	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/internal/pattern"
)

// Config is the whole file. Paths in it are absolute after Load: relative ones
// are taken from the folder of the file.
type Config struct {
	// hostname (required): the name that this server greets with, signs its
	// Received lines with and gives in its own EHLO. It should resolve to this host.
	Hostname dnsname.Name `toml:"hostname"`

	// postmaster (required): the mailbox of the person in charge (RFC 5321 4.5.1).
	// Mail to <postmaster> goes there; bounces name it.
	Postmaster mailaddr.Address `toml:"postmaster"`

	// state_dir (required): the folder of the queue, its spool and the control
	// socket: queue.db, queue.journal, spool/, quotas.json, admin.sock. One server at a time may use it.
	StateDir Path `toml:"state_dir"`

	Log           Log            `toml:"log"`
	TLS           TLS            `toml:"tls"`
	Listeners     []Listener     `toml:"listener"` // at least one, or one for LDAP
	Proxies       []Proxy        `toml:"proxy"`
	Milters       []Milter       `toml:"milter"`
	DANE          DANE           `toml:"dane"`
	DNS           DNS            `toml:"dns"`
	RelayDomains  []RelayDomain  `toml:"relay_domain"`
	Routes        []Route        `toml:"route"`
	Rules         []Rule         `toml:"rule"`
	Authzid       []Authzid      `toml:"authzid"`
	Groups        []Group        `toml:"group"`
	Subaddresses  []Subaddress   `toml:"subaddress"`
	QuotaClasses  []QuotaClass   `toml:"quota_class"`
	LDAP          LDAP           `toml:"ldap"`
	LDAPRules     []LDAPRule     `toml:"ldap_rule"`
	LDAPListeners []LDAPListener `toml:"ldap_listener"`
	Limits        Limits         `toml:"limits"`
	Queue         Queue          `toml:"queue"`
	Delivery      Delivery       `toml:"delivery"`
	MTASTS        MTASTS         `toml:"mta_sts"`
	DKIM          []DKIM         `toml:"dkim"`

	Authentication Authentication `toml:"authentication"`
	Directory      Directory      `toml:"directory"`

	TLSReports TLSReports `toml:"tls_reports"`
	Metrics    Metrics    `toml:"metrics"`

	index index // where each key stands in the file
}

// Log says what goes to standard error, and how.
type Log struct {
	// log.level: "debug", "info", "warn" or "error". Read again on SIGHUP; "dancemta log
	// level" changes it until then. Default "info".
	Level Level `toml:"level"`
	// log.format: "text" or "json". Default "text".
	Format Format `toml:"format"`
}

// TLS names the server's own certificate. Absent: no STARTTLS, and so no
// clients or users known by DANE, and no submission.
type TLS struct {
	// tls.certificate: a PEM file with the chain, the server's own certificate first.
	Certificate Path `toml:"certificate"`
	// tls.key: the PEM file with its private key. Both are read again on SIGHUP.
	Key Path `toml:"key"`
}

// Listener is one port, a [[listener]] table.
type Listener struct {
	// name (required): how rules and log lines call it. Unique.
	Name string `toml:"name"`
	// kind (required): "relay" (port 25, STARTTLS offered), "submission" (port
	// 587, STARTTLS required) or "submissions" (port 465, TLS from the first byte).
	Kind Kind `toml:"kind"`
	// address (required): IP address and port, as "192.0.2.1:25", "[2001:db8::1]:25",
	// or ":25" for all addresses of this host. Port 0 takes any free port.
	Address ListenAddress `toml:"address"`
	// client_certificates: "off" (never asked for), "ask" (asked for, not needed)
	// or "require" (no TLS without one, and no mail but from whom DNS proves, not
	// even for relay domains). Default "ask".
	ClientCertificates ClientCertificates `toml:"client_certificates"`
	// client_names: where a client's TLSA owner name is taken from: "extension"
	// (dane_clientid, told in the TLS handshake; not known to builds without the
	// overlay, see "dancemta version") and "certificate" (its dNSName). Who tells a
	// name is judged by that one alone. Default: all that this build knows.
	ClientNames []ClientName `toml:"client_names"`
	// dane_failure: what becomes of a peer that told a name by dane_clientid and
	// did not prove it: "unauthenticated" (it goes on as nobody) or "abort" (the
	// handshake ends with the alert handshake_failure; with client_certificates =
	// "require" that of every peer without an identity). Default "unauthenticated".
	DANEFailure DANEFailure `toml:"dane_failure"`
	// implicit_login: a user's certificate, or a [[proxy]] that has told a user, logs him
	// in at MAIL, without AUTH. Default false.
	ImplicitLogin bool `toml:"implicit_login"`
}

// Proxy is a load balancer, or several, before listeners, a [[proxy]] table. The
// listeners that it names take connections from proxies alone, each introduced by a
// header of the PROXY protocol, version 1 or 2; all other connections are closed. The
// address in log, Received fields and limits is then the one that the header tells.
type Proxy struct {
	// networks (required): where the proxies are, as "192.0.2.7", "10.0.0.0/24" or
	// "2001:db8::/64".
	Networks []Network `toml:"networks"`
	// listeners (required): names of the listeners behind them.
	Listeners []string `toml:"listeners"`
	// identities: clients and users whom these proxies may tell by fields 0xE0 and 0xE1
	// of a header of version 2, in the forms of a rule's who. TLS then ends at the
	// proxy: its listeners offer no STARTTLS and ask for no certificate. Rules decide
	// about such identities as about others. Default: none; the fields are passed over.
	Identities []pattern.Pattern `toml:"identities"`
}

// Milter is a program that looks at mail before it is accepted, such as rspamd, a
// [[milter]] table. It may refuse, hold, discard and change messages, and add
// recipients whom no rule has allowed. Several are asked in the order of the file.
type Milter struct {
	// address (required): where it listens, as "127.0.0.1:11332" or "unix:/run/milter".
	Address Hop `toml:"address"`
	// listeners: names of the listeners whose mail it sees. Default: all.
	Listeners []string `toml:"listeners"`
	// timeout: how long one answer may take, at most "9m". Default "30s".
	Timeout Duration `toml:"timeout"`
	// message_timeout: how long all answers about one message may take, at most "9m".
	// Default "3m".
	MessageTimeout Duration `toml:"message_timeout"`
	// on_failure: what becomes of mail when the milter is away, late or breaks its
	// protocol: "temporary" (it is refused for now) or "accept" (it passes as if the
	// milter had agreed). Default "temporary".
	OnFailure OnFailure `toml:"on_failure"`
}

// DANE says what holds for the authentication of all clients.
type DANE struct {
	// dane.extension_type: the number of the TLS extension dane_clientid. Default
	// 65500, for private use until there is an official one.
	ExtensionType int `toml:"extension_type"`
	// dane.pkix_roots: the CAs at which the certificates behind TLSA records of usages
	// 0 and 1 must end: a PEM file, or "system" for those that this host trusts.
	// Default: none; records of these usages then prove nobody, and 2 and 3 always do
	// without. Read again on SIGHUP.
	PKIXRoots PKIXRoots `toml:"pkix_roots"`
	// dane.server_certificates: mail servers (owners "_smtp-client.NAME"), and nobody
	// else, may prove themselves by a certificate that is for servers alone, as public
	// CAs issue them. It concerns records of usages 0 to 2; 3 asks for no purpose.
	// Default false.
	ServerCertificates bool `toml:"server_certificates"`
}

// DNS says whom to ask and what to trust. Answers are validated here, so any
// recursive resolver serves.
type DNS struct {
	// dns.upstreams (required): recursive resolvers, at most 8, tried in order: as
	// "IP:port" (UDP, and TCP for what does not fit) or, over TLS, as
	// "tls://IP:port#name", whose certificate must be good for the name, or
	// "tls://IP:port#sha256/BASE64", whose public key must have this SHA-256 digest.
	Upstreams []Upstream `toml:"upstreams"`
	// dns.tls_roots: a PEM file with the CAs at which the certificates of resolvers
	// with a name must end. Default: those that this host trusts.
	TLSRoots Path `toml:"tls_roots"`
	// dns.tls_certificate: a PEM file with the chain that we show to resolvers over
	// TLS that ask for one. Default: none is shown.
	TLSCertificate Path `toml:"tls_certificate"`
	// dns.tls_key: the PEM file with its private key. Both are read again on SIGHUP.
	TLSKey Path `toml:"tls_key"`
	// dns.tls_client_name: our TLSA owner name, told with the certificate to a resolver
	// that asks for it by dane_clientid (not known to builds without the overlay, see
	// "dancemta version"). Default: none is told.
	TLSClientName OwnerName `toml:"tls_client_name"`
	// dns.trust: who proves answers: "validate" (this server, from the trust anchors
	// down) or "ad" (the resolvers, which say so by the AD bit; all must be on
	// loopback, and not the stub of systemd-resolved). Default "validate".
	Trust Trust `toml:"trust"`
	// dns.trust_anchors: a file with DS or DNSKEY lines of the root, as root.key of
	// other resolvers, or IANA's root-anchors.xml. Read again on SIGHUP. Default:
	// the built-in keys 20326 and 38696.
	TrustAnchors Path `toml:"trust_anchors"`
	// dns.clock_skew: by how much the dates of signatures may be off, at most "5m".
	// Default: not at all; a clock that is right is better.
	ClockSkew Duration `toml:"clock_skew"`
	// dns.timeout: the longest time for one answer, its whole chain of proof
	// included. Default "5s".
	Timeout Duration `toml:"timeout"`
}

// RelayDomain is a domain that this server takes mail for from anybody, a
// [[relay_domain]] table.
type RelayDomain struct {
	// domain (required): the part after @, exactly. Unique.
	Domain dnsname.Name `toml:"domain"`
	// recipients (required): "file" (only the mailboxes in recipients_file exist),
	// "directory" (only those that directory.recipient_filter finds), "probe" (its next hop is asked by RCPT, and answers hold for up to an hour) or "any" (every local part does; then spam to made-up names is taken too).
	Recipients Recipients `toml:"recipients"`
	// recipients_file: one address or local part per line, # begins a comment.
	// Read again on SIGHUP.
	RecipientsFile Path `toml:"recipients_file"`
	// probe_failure: what RCPT gets when the next hop does not answer: "temporary" (450)
	// or "accept" (what it then refuses is bounced). Default "temporary".
	ProbeFailure ProbeFailure `toml:"probe_failure"`
	// next_hop: where its mail goes, as "host:port" or "[ip]:port", tried in
	// order. Default: as the [[route]] for it says, else its MX hosts.
	NextHop []HostPort `toml:"next_hop"`
	// client_certificate: a PEM file with the chain that we show as a client to
	// next_hop, which it needs, and to no other host. Mail then goes there over TLS or
	// waits. Default: none is shown.
	ClientCertificate Path `toml:"client_certificate"`
	// client_key: the PEM file with its private key. Both are read again on SIGHUP.
	ClientKey Path `toml:"client_key"`
	// client_name: our TLSA owner name, told to a next_hop that asks for it by
	// dane_clientid (not known to builds without the overlay, see "dancemta version").
	// Default: none, so that the next hop takes our name from the certificate.
	ClientName OwnerName `toml:"client_name"`
}

// Route says how mail for domains leaves, a [[route]] table. The closest one
// decides, alone: the domain itself before a star, a longer one before a shorter,
// "any" last; a relay_domain with a next_hop before all. One that has only a domain
// sends its mail to the MX hosts, as if there were none. Read again on SIGHUP, and
// good for the next attempt of mail that waits.
type Route struct {
	// domain (required): recipients' domains: "example.org", "*.example.org" (one or
	// more whole labels before it, so not itself) or "any". Unique.
	Domain RouteDomain `toml:"domain"`
	// next_hop: where the mail goes, as "host:port", "[ip]:port" or "unix:/path",
	// tried in order. Default: the MX hosts of each domain.
	NextHop []Hop `toml:"next_hop"`
	// protocol: "smtp", or "lmtp" for a mail store (never on port 25). Default "smtp".
	Protocol Protocol `toml:"protocol"`
	// tls: what the TLS of the hosts must be: "may" (used when offered, whatever is
	// published), "encrypt" (required, with whomever), "verify" (required, with a
	// certificate of roots for the host's name), "dane" (as TLSA records say, and
	// "encrypt" where there are none) or "dane-only" (as they say, or not at all).
	// Default: DANE and MTA-STS where they are published, else used when offered; to a
	// next_hop with roots or auth = "plain" DANE, else "verify".
	TLS TLSDemand `toml:"tls"`
	// implicit_tls: TLS begins with the first octet, as on port 465. Default false.
	ImplicitTLS bool `toml:"implicit_tls"`
	// roots: the CAs by which next_hop is proved: a PEM file, or "system" for those that
	// this host trusts, which is the default where "verify" holds. Read again on SIGHUP.
	Roots PKIXRoots `toml:"roots"`
	// auth: how we log in at next_hop: "plain" (user and password, told only to a host
	// that TLS has proved) or "external" (by client_certificate). Default: not at all.
	Auth Login `toml:"auth"`
	// user: the name for "plain".
	User string `toml:"user"`
	// password_file: a file whose first line is the password, which only its owner may
	// read. Read again on SIGHUP.
	PasswordFile Path `toml:"password_file"`
	// client_certificate: a PEM file with the chain that we show to next_hop, which it
	// needs, and to no other host. Mail then goes there over TLS or waits. Default:
	// none is shown.
	ClientCertificate Path `toml:"client_certificate"`
	// client_key: the PEM file with its private key. Both are read again on SIGHUP.
	ClientKey Path `toml:"client_key"`
	// client_name: our TLSA owner name, told to a next_hop that asks for it by
	// dane_clientid (not known to builds without the overlay, see "dancemta version").
	// Default: none, so that the next hop takes our name from the certificate.
	ClientName OwnerName `toml:"client_name"`
	// rate: how many messages leave this way, evenly spread, as "60/m": those of all
	// its domains together. Default: as many as are taken.
	Rate Rate `toml:"rate"`
	// connections: how many connections at once this way has, those of all its domains
	// together. Default: as many as queue.concurrency and queue.per_destination permit.
	Connections int `toml:"connections"`
	// helo: our name in EHLO. Default: delivery.helo.
	Helo dnsname.Name `toml:"helo"`
}

// Rule says who may relay, a [[rule]] table. The most specific pattern decides
// (no star before stars, then more literal labels, then rules with a group, then the
// order of the file); what no rule allows is refused, without any DNS query. A deny
// that fits wins over any allow. "dancemta explain sender" shows which rule decides.
type Rule struct {
	// who: a client by its TLSA owner name ("sensor7._device.example.org",
	// "*._device.example.org", "_smtp-client.*.example.org") or users
	// ("rick@example.org", "*@example.org"). A star is one or more whole labels,
	// never one that begins with an underscore. "any" must be spelled out. Required
	// where there is no network.
	Who pattern.Pattern `toml:"who"`
	// action (required): "allow" or "deny".
	Action Action `toml:"action"`
	// network: where the peer must be, as "192.0.2.7", "10.0.0.0/24" or
	// "2001:db8::/64". Without who the rule is for machines that prove nothing: they get
	// no identity by it, and a rule for who they are comes first. Default: anywhere.
	Network []Network `toml:"network"`
	// group: the users must be in this [[group]], by its file or by the directory.
	Group string `toml:"group"`
	// proved: how the identity must have been proved: "certificate" (its name stands in
	// the certificate), "extension" (it was told by dane_clientid), "proxy" (a [[proxy]]
	// has told it) or "password" (the directory took it for the user's). Default: however.
	Proved []Proof `toml:"proved"`
	// until: the last day of the rule, as "2026-12-31", in UTC; from then on it is as if
	// it were not there. Default: no end.
	Until Date `toml:"until"`
	// listeners: names of the listeners where the rule holds. Default: for users
	// all, for clients and networks those of kind "relay".
	Listeners []string `toml:"listeners"`
	// from: envelope senders. With "allow" a demand, with "deny" a condition.
	// Forms: "any", "own" (the user's own address), "directory" (those in his entry of the
	// [directory]), "rick@example.org",
	// "@example.org", "*@*.example.org", and made from the name: "{uid}@example.org" for
	// users, "{label}@alerts.example.org" for clients, where {label} is what the star of
	// who stands for. Default for users: ["own"]; a rule that allows a client or a
	// network must say it. The null sender <> always passes.
	From []AddressPattern `toml:"from"`
	// to: recipients, in the same forms. Default ["any"].
	To []AddressPattern `toml:"to"`
	// header_from: the addresses that may stand in the From field, in the same forms;
	// mail with another, or with two such fields, is refused. Default for users: as
	// from; for others ["any"], since they carry the mail of many.
	HeaderFrom []AddressPattern `toml:"header_from"`
	// as: a mailbox of ours that this one client or user is called by in the queue and
	// the log, and whose address is its "own".
	As mailaddr.Address `toml:"as"`
	// size: the largest message. Default: limits.message_size.
	Size Size `toml:"size"`
	// messages: how many each identity may send, as ["100/h", "500/d"]: all at once, and
	// from then on evenly, per "m", "h" or "d". More gets 450, and the log says whose
	// quota is used up. Accounts are kept over restarts. Default: no quota.
	Messages []Quota `toml:"messages"`
	// recipients: the same for recipients; a message to ten counts ten.
	Recipients []Quota `toml:"recipients"`
	// messages_per_domain: the same for all identities of one domain together, as it
	// was registered.
	MessagesPerDomain []Quota `toml:"messages_per_domain"`
	// recipients_per_domain: the same for recipients.
	RecipientsPerDomain []Quota `toml:"recipients_per_domain"`
	// messages_per_address: the same for one IPv4 address or IPv6 network (/64).
	MessagesPerAddress []Quota `toml:"messages_per_address"`
	// recipients_per_address: the same for recipients.
	RecipientsPerAddress []Quota `toml:"recipients_per_address"`
}

// Group is a set of users for rules, a [[group]] table: those in its file, and those whom
// the [directory] has in it.
type Group struct {
	// name (required): how rules call it. Unique.
	Name string `toml:"name"`
	// members_file: users, as "rick@example.org" or "*@sales.example.org",
	// one per line; # begins a comment. Read again on SIGHUP.
	MembersFile Path `toml:"members_file"`
	// directory: the group as the [directory] names it: a value of group_attribute, or the
	// DN of the group's entry, as "cn=press,ou=groups,dc=example,dc=org". Case does not matter.
	Directory string `toml:"directory"`
}

// Subaddress says that a domain's mailboxes have subaddresses (RFC 5233): with "+",
// rick+lists@example.org is rick's own address, and exists when rick@example.org does. A
// [[subaddress]] table; without one such an address is a mailbox of its own.
type Subaddress struct {
	// users (required): the domains, as "*@example.org" or "*@*.example.org".
	Users pattern.Pattern `toml:"users"`
	// delimiter (required): "+", "-", "=", "_", "#", "/" or "~".
	Delimiter Delimiter `toml:"delimiter"`
}

// Authzid lets one user act as another by AUTH EXTERNAL with an authorization
// identity, an [[authzid]] table; at the LDAP bridge by EXTERNAL too, and by proxied
// authorization. Without one, users act as themselves only.
type Authzid struct {
	// from (required): the users whose certificate was shown, as "rick@example.org".
	From pattern.Pattern `toml:"from"`
	// to (required): the users they may act as.
	To pattern.Pattern `toml:"to"`
}

// Limits bound what peers can make this server spend.
type Limits struct {
	// limits.message_size: the largest message, announced by SIZE. Default "50MiB".
	MessageSize Size `toml:"message_size"`
	// limits.recipients: recipients of one message. Default 100, the least that
	// RFC 5321 4.5.3.1.8 permits.
	Recipients int `toml:"recipients"`
	// limits.hops: Received fields that a message may bring; with more it is refused as
	// a loop. Default 100, the least that RFC 5321 6.3 recommends.
	Hops int `toml:"hops"`
	// limits.connections: sessions at once over all listeners; further ones are
	// told 421. From three quarters of them on, whoever is silent for ten seconds loses
	// his. Each may take 256 KiB of memory. Default 1000.
	Connections int `toml:"connections"`
	// limits.connections_per_address: of those, from one IPv4 address or one IPv6
	// network (/64); peers on this host are not counted. Default 100, for the many hosts
	// behind one NAT.
	ConnectionsPerAddress int `toml:"connections_per_address"`
	// limits.connections_per_network: of those, from one network: /24 of IPv4, /48 of
	// IPv6. Default 300.
	ConnectionsPerNetwork int `toml:"connections_per_network"`
	// limits.handshakes: TLS handshakes at once; further peers are told 454. Default:
	// half of connections.
	Handshakes int `toml:"handshakes"`
	// limits.commands: commands on one connection, before 421. Default 100000.
	Commands int `toml:"commands"`
	// limits.errors: refusals (5xx) on one connection, before 421. Logins have three
	// tries. Default 10.
	Errors int `toml:"errors"`
	// limits.connection_bytes: what one connection may carry, before the next message
	// gets 421. Default "16GiB".
	ConnectionBytes Size `toml:"connection_bytes"`
	// limits.connection_time: how long a connection may last. Default "1h".
	ConnectionTime Duration `toml:"connection_time"`
	// limits.data_rate: the octets per second that a message must come at on average,
	// two minutes being free. Default 128.
	DataRate int `toml:"data_rate"`
	// limits.memory: the memory of this process from which on new sessions get 421, and new clients of the LDAP bridge busy (51).
	// Default: three quarters of what the machine, or its control group, has.
	Memory Size `toml:"memory"`
	// limits.free_space: what the disk of state_dir must have left; below it mail gets
	// 452. Default "64MiB".
	FreeSpace Size `toml:"free_space"`
	// limits.free_inodes: the files that it must have room for. Default 1000.
	FreeInodes int `toml:"free_inodes"`
	// limits.messages_per_address: how many messages one IPv4 address or IPv6 network
	// (/64) may send to relay domains without an identity, as ["1000/h"]; more gets 450.
	// Default: no quota.
	MessagesPerAddress []Quota `toml:"messages_per_address"`
	// limits.recipients_per_address: the same for recipients.
	RecipientsPerAddress []Quota `toml:"recipients_per_address"`
	// limits.quota_mail: tell postmaster by mail whose quotas of a rule are used up: each
	// account once in the time of its quota (and an hour at the least), all in one mail,
	// and one mail in 15 minutes. Default false.
	QuotaMail bool `toml:"quota_mail"`
	// limits.lookups: TLSA look-ups at once, in all. Default 64.
	Lookups int `toml:"lookups"`
	// limits.lookups_per_peer: of those, for one peer address. Default 4.
	LookupsPerPeer int `toml:"lookups_per_peer"`
	// limits.lookups_per_zone: of those, for one client domain, so that a zone
	// whose DNS never answers cannot stop the others. Default 8.
	LookupsPerZone int `toml:"lookups_per_zone"`
	// limits.lookup_rate: how often DNS is asked about clients and users, in all. A
	// rate is a number and "s", "m" or "h": with "60/m" it is 60 at once, and from then
	// on one each second. Only what is not known by then counts: a client costs one
	// look-up in the life of its records. Whoever comes over a rate is told to come
	// again (451, 454), never refused for good; and a quarter of each rate is kept for
	// those who were proved before. Default "3000/m", a few percent of one processor.
	LookupRate Rate `toml:"lookup_rate"`
	// limits.lookup_rate_per_peer: of those, for one IPv4 address or IPv6 network
	// (/64). Default "120/m", which serves 600 clients behind one address whose records
	// live five minutes; after an outage they come back within five minutes.
	LookupRatePerPeer Rate `toml:"lookup_rate_per_peer"`
	// limits.lookup_rate_per_zone: of those, for one client domain, as it was
	// registered. Default "600/m", which serves 3,000 clients of one organisation whose
	// records live five minutes. Raise it for a larger fleet.
	LookupRatePerZone Rate `toml:"lookup_rate_per_zone"`
}

// Queue says how long and how often delivery is tried.
type Queue struct {
	// queue.retry: the pauses between attempts; the last one repeats until the
	// message expires. Default ["5m", "10m", "20m", "40m", "1h"].
	Retry []Duration `toml:"retry"`
	// queue.expire: when a message is given up and bounced. Default "5d".
	Expire Duration `toml:"expire"`
	// queue.bounce_expire: when a bounce is given up and dropped. Default "2d".
	BounceExpire Duration `toml:"bounce_expire"`
	// queue.delay_notice: how long a message may wait before its sender is told, once,
	// unless he asked not to be. Longer than expire: never. Default "4h".
	DelayNotice Duration `toml:"delay_notice"`
	// queue.history: how long a message that has ended is remembered, with what became
	// of each recipient, for "dancemta queue show" and "list --finished"; the last
	// 100,000 at most. Default "1d".
	History Duration `toml:"history"`
	// queue.concurrency: deliveries at once, in all. Default 50.
	Concurrency int `toml:"concurrency"`
	// queue.per_destination: of those, to one recipient domain. It begins with two and
	// earns more by answering; one that cannot be reached is tried by one at a time,
	// further and further apart, at most an hour. Default 20.
	PerDestination int `toml:"per_destination"`
	// queue.rate_per_destination: how many messages go to one recipient domain, evenly
	// spread, as "60/m". Where a [[route]] says a rate that counts. Default: as many as
	// are taken.
	RatePerDestination Rate `toml:"rate_per_destination"`
}

// Delivery says how connections to other servers are made. The last two settings
// are for laboratories, and "dancemta check" warns of both.
type Delivery struct {
	// delivery.helo: our name in EHLO. Default: hostname.
	Helo dnsname.Name `toml:"helo"`
	// delivery.helo_ipv4: the same to hosts that are reached over IPv4, where the address
	// that they see has another name. Default: delivery.helo.
	HeloIPv4 dnsname.Name `toml:"helo_ipv4"`
	// delivery.helo_ipv6: the same over IPv6.
	HeloIPv6 dnsname.Name `toml:"helo_ipv6"`
	// delivery.source_ipv4: the address of this host that IPv4 connections come from,
	// such as the one whose name in DNS is helo. Default: as the system chooses.
	SourceIPv4 Address `toml:"source_ipv4"`
	// delivery.source_ipv6: the same for IPv6.
	SourceIPv6 Address `toml:"source_ipv6"`
	// delivery.mx_port: the port of mail exchangers found by DNS. Default 25.
	MXPort int `toml:"mx_port"`
	// delivery.allow_private_targets: deliver to loopback, link-local and private
	// addresses that came from DNS. Default false: such an MX is a fault or a trap.
	AllowPrivateTargets bool `toml:"allow_private_targets"`
}

// MTASTS is about the policies that other domains publish by HTTPS on the TLS of
// their mail servers (RFC 8461). They are kept in state_dir, in mta-sts/. Where a
// host has TLSA records these decide instead, and where a [[route]] says tls that does.
type MTASTS struct {
	// mta_sts.enabled: obey them. Default true.
	Enabled bool `toml:"enabled"`
	// mta_sts.roots: a PEM file of the CAs that policy hosts, and mail servers under
	// a policy, are proved by; or "system". Default "system".
	Roots PKIXRoots `toml:"roots"`
	// mta_sts.port: the port of policy hosts. Default 443.
	Port int `toml:"port"`
}

// DKIM is one key that signs mail, a [[dkim]] table: that of users who send as
// its domain, and bounces and reports of this server itself. Several keys of one
// domain make several signatures. "dancemta dkim new" makes a key.
type DKIM struct {
	// domain (required): the domain in the From field of the mail, and of the signature.
	Domain dnsname.Name `toml:"domain"`
	// selector (required): the name of the key within the domain; its record stands at
	// SELECTOR._domainkey.DOMAIN. Unique within the domain.
	Selector dnsname.Name `toml:"selector"`
	// key (required): the PEM file with the private key, Ed25519 or RSA from 2048 bits.
	// Read again on SIGHUP.
	Key Path `toml:"key"`
	// subdomains: signs also for domains below it that have no key of their own.
	// Default false.
	Subdomains bool `toml:"subdomains"`
}

// Authentication says how mail is judged that anybody may send to the relay domains:
// by SPF, DKIM and DMARC, which ask DNS about the domains that it claims to be of.
type Authentication struct {
	// authentication.dmarc: "none" (mail is not judged), "mark" (what was found out
	// stands in its Authentication-Results field, and all is delivered) or "reject"
	// (besides, mail that the domain in its From field wants refused is refused, and so is
	// mail without one From field that can be read; what DNS is silent about is told to come
	// again). Default "mark".
	DMARC DMARCUse `toml:"dmarc"`
	// authentication.partners: "reject" also holds for clients whose rules let them
	// use the addresses in From. Default false: their mail is marked only.
	Partners bool `toml:"partners"`
}

// TLSReports says who tells other domains daily how TLS went when mail was sent
// to them (RFC 8460), if they publish that they want to know. Absent: nothing is sent.
type TLSReports struct {
	// tls_reports.organization (required): the name of whoever runs this server.
	Organization string `toml:"organization"`
	// tls_reports.contact (required): the mailbox for questions, and the sender of
	// reports by mail. These need a [[dkim]] key for its domain; without one only those
	// by HTTPS are sent.
	Contact mailaddr.Address `toml:"contact"`
}

// Metrics says where numbers are shown to Prometheus, at http://ADDRESS/metrics.
// Absent: nowhere.
type Metrics struct {
	// metrics.address (required): where to listen, as
	// "127.0.0.1:9110". Whoever reaches it may read the numbers, so "dancemta check"
	// warns of an address that is not of this host alone.
	Address ListenAddress `toml:"address"`
}
