package metrics

// kind is what Prometheus calls the type of a metric.
type kind string

const (
	counter   kind = "counter"
	gauge     kind = "gauge"
	histogram kind = "histogram"
)

// label is a label with all its values; none: each comes from our own settings.
type label struct {
	name   string
	values []string
}

// metric is one line of the table.
type metric struct {
	name   string
	kind   kind
	help   string
	labels []label
}

// other is the value for a word that no table knows: a metric is no place where
// foreign text may end up, and none may grow without a bound.
const other = "other"

// The labels. A value never comes from a peer: no address, no name, no domain.
var (
	listeners = label{"listener", []string{"relay", "submission", "submissions"}}
	tlsLabel  = label{"tls", []string{"none", "1.2", "1.3", other}}
	classes   = label{"class", []string{"2xx", "3xx", "4xx", "5xx"}}
	sources   = label{"source", []string{"extension", "certificate", "proxy"}}
	logins    = label{"how", []string{"external", "implicit", "proxy", "plain"}}
	questions = label{"question", []string{"user", "recipient", "password"}}
	answered  = label{"result", []string{"found", "none", "trouble"}}
	states    = label{"state", []string{"secure", "insecure", "bogus", "failed"}}
	caches    = label{"cache", []string{"hit", "miss"}}
	methods   = label{"method", []string{"spf", "dkim", "dmarc"}}
	findings  = label{"result", []string{"none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"}}
	results   = label{"result", []string{"delivered", "deferred", "failed"}}
	reports   = label{"report", []string{"failed", "delayed", "relayed", "delivered"}}
	messages  = label{"message", []string{"submission", "bounce", "tls-report", "quota-notice"}}
	signed    = label{"result", []string{"signed", "unsigned", "failed"}}
	sent      = label{"result", []string{"sent", "failed", "given up"}}
	fetched   = label{"result", []string{"fetched", "fetch-error", "invalid", "webpki-invalid"}}
	owns      = label{"identity", []string{"server", "client"}}
	matches   = label{"verdict", []string{"match", "none", "unknown", "mismatch"}}
	wanted    = label{"wanted", []string{"may", "encrypt", "verify", "dane", "dane-only", "mta-sts", "mta-sts testing", "requiretls", other}}
	got       = label{"got", []string{"none", "encrypted", "verified", "not verified"}}
	stages    = label{"stage", []string{"mail", "recipient", "message"}}
	filtered  = label{"verdict", []string{"continue", "changed", "held", "reject", "tempfail", "discard", "failed", "skipped"}}
	quotaOf   = label{"of", []string{"messages", "recipients"}}
	quotaEach = label{"each", []string{"identity", "domain", "address"}}
	noticed   = label{"result", []string{"queued", "failed"}}
	queued    = label{"state", []string{"new", "active", "deferred", "held"}}

	ldapHow   = label{"how", []string{"external", "anonymous", "simple", "unknown"}}
	ldapBinds = label{"result", []string{"success", "protocolError", "authMethodNotSupported", "unavailableCriticalExtension",
		"confidentialityRequired", "inappropriateAuthentication", "invalidCredentials", "unavailable", "unwillingToPerform", other}}
	ldapKinds   = label{"operation", []string{"search", "compare", "add", "modify", "delete", "modify_dn", "extended"}}
	ldapResults = label{"result", []string{"success", "operationsError", "protocolError", "timeLimitExceeded", "sizeLimitExceeded",
		"authMethodNotSupported", "strongerAuthRequired", "adminLimitExceeded", "unavailableCriticalExtension", "confidentialityRequired",
		"noSuchObject", "inappropriateAuthentication", "invalidCredentials", "insufficientAccessRights", "busy", "unavailable",
		"unwillingToPerform", "other", "canceled", "noSuchOperation", "tooLate", "cannotCancel", "authorizationDenied"}}
	// ldapEvents are those of package ldapbridge.
	ldapEvents = label{"event", []string{
		"accepted", "accept failed", "too many connections", "too many from one peer", "too many from one network", "overloaded", "dense crowd",
		"too many handshakes", "handshake failed", "injection behind starttls", "malformed message", "message over a limit", "slow request",
		"slow reader", "idle timeout", "connection timeout", "too many refusals", "internal error", other,
	}}
	// upstreamEvents are those of package ldapbridge/upstream.
	upstreamEvents = label{"event", []string{"connected", "failed", "lost", "busy", "unavailable", other}}
	upstreamStates = label{"state", []string{"leased", "idle", "waiting"}}

	// verdicts are the reasons of package daneclient; proved is none of them.
	verdicts = label{"reason", []string{
		"proved", "no-certificate", "weak-tls", "resumed", "no-name", "ambiguous-name", "not-allowed", "forbidden-name",
		"bad-client-name", "name-mismatch", "no-record", "unusable", "no-match", "insecure", "wildcard-forbidden",
		"bogus-dns", "failed-dns", "overloaded", other,
	}}
	// refusals are those of package saslext, and what DNS says of the user's domain.
	refusals = label{"reason", []string{
		"proved", "bad-authzid", "no-certificate", "no-user", "bad-identity", "not-allowed", "unproved", "authzid-denied",
		"bad-message", "no-passwords", "too-many-tries", "bad-password", "unchecked",
		"weak-tls", "resumed", "no-name", "ambiguous-name", "forbidden-name", "bad-client-name", "name-mismatch",
		"no-record", "unusable", "no-match", "insecure", "wildcard-forbidden", "bogus-dns", "failed-dns", "overloaded", other,
	}}
	// events are the kinds of package smtpd/wire.
	events = label{"event", []string{
		"handshake failed", "injection behind starttls", "bare line end", "nul octet", "long line", "bad chunk size",
		"truncated body", "idle timeout", "slow body", "connection timeout", "too many errors", "too many connections",
		"accept failed", "internal error", "too many from one peer", "too many from one network", "overloaded",
		"too many handshakes", "too many commands", "too many octets", "dense crowd", "not introduced", "long text", other,
	}}
)

// buckets are the bounds of message sizes in octets: a text, a letter, a letter
// with pictures, what most servers take, and what they do not.
var buckets = []float64{1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20}

// The metrics, each counted by the method or shown by the field of the same name.
var (
	sessionsTotal = metric{"dancemta_sessions_total", counter,
		"Sessions that said EHLO or HELO. One that goes on after STARTTLS counts in clear, and again under TLS.",
		[]label{listeners, tlsLabel}}
	clientsTotal = metric{"dancemta_client_verdicts_total", counter,
		"Judgements about clients (MTAs, devices) by where the name came from and by the reason that the log shows. " +
			"That there is nothing to judge counts only where an identity was needed.",
		[]label{sources, verdicts}}
	loginsTotal = metric{"dancemta_logins_total", counter,
		"Logins of users by how (AUTH EXTERNAL, implicit by certificate alone, told by a proxy, or AUTH PLAIN) and by the reason that the log shows.",
		[]label{logins, refusals}}
	repliesTotal = metric{"dancemta_replies_total", counter,
		"SMTP replies by the class of their code.", []label{classes}}
	wireTotal = metric{"dancemta_wire_events_total", counter,
		"What happened to connections below SMTP, in the words of the log.", []label{events}}
	lookupsTotal = metric{"dancemta_lookups_total", counter,
		"DNS look-ups by what the answer was worth and by whether it came from the cache.", []label{states, caches}}
	acceptedBytes = metric{"dancemta_accepted_message_bytes", histogram,
		"Messages taken into the queue from peers, by size with our Received field.", []label{listeners}}
	directoryTotal = metric{"dancemta_directory_lookups_total", counter,
		"Questions to the directory about users, mailboxes and passwords by what came of them (none: no such entry, or not its password) and by whether the answer came from the cache.",
		[]label{questions, answered, caches}}
	checksTotal = metric{"dancemta_checks_total", counter,
		"Messages from anybody by what came of judging them by SPF, DKIM (the best of several signatures) and DMARC, in the words of the log.",
		[]label{methods, findings}}
	milterTotal = metric{"dancemta_milter_verdicts_total", counter,
		"What the milters of a listener said together, at MAIL, for each recipient and of the message. " +
			"changed and held: it goes on, edited or only when an operator lets it. failed: a milter was away, late or broke the protocol, and the mail was refused for now; " +
			"skipped: one of them was, and its on_failure let the mail pass.",
		[]label{stages, filtered}}
	overQuotaTotal = metric{"dancemta_over_quota_total", counter,
		"Recipients refused for now because a quota was used up, by what it counts and for whom each.",
		[]label{quotaOf, quotaEach}}
	quotaNoticesTotal = metric{"dancemta_quota_notices_total", counter,
		"Mails to postmaster about quotas that were used up, one for many accounts; failed: the queue did not take it, and it is tried again.",
		[]label{noticed}}
	deliveriesTotal = metric{"dancemta_deliveries_total", counter,
		"Results of delivery attempts, one for each recipient.", []label{results}}
	deliveryTLS = metric{"dancemta_delivery_tls_total", counter,
		"Results of delivery attempts for which a server was reached, one for each recipient, by the TLS that was wanted and what there was.",
		[]label{wanted, got}}
	reportsTotal = metric{"dancemta_reports_total", counter,
		"What senders were told, one for each recipient: that he will not get it, that it is late, that it was handed on to a server that reports nothing, or that it is in his mailbox.",
		[]label{reports}}
	signaturesTotal = metric{"dancemta_signatures_total", counter,
		"Messages that came to the question of a DKIM signature: those of logged-in users, bounces, TLS reports by mail, and mails about quotas. " +
			"unsigned: there is no key for the domain of From, or its author may not use it; failed: the message waits, or a bounce leaves without.",
		[]label{messages, signed}}
	tlsReportsTotal = metric{"dancemta_tls_reports_total", counter,
		"Attempts to hand a report about TLS to one place of a domain's choice, and reports that were given up.", []label{sent}}
	stsFetchesTotal = metric{"dancemta_mta_sts_fetches_total", counter,
		"Fetches of MTA-STS policies by what came of them.", []label{fetched}}
	ldapBindsTotal = metric{"dancemta_ldap_binds_total", counter,
		"Binds at the LDAP bridge by the way (simple: with a password or without one, which is refused) and by the result.",
		[]label{ldapHow, ldapBinds}}
	ldapOperationsTotal = metric{"dancemta_ldap_operations_total", counter,
		"Operations of clients of the LDAP bridge by their results, be they the bridge's or the directory server's; other: the result of that name, and those without a name here.",
		[]label{ldapKinds, ldapResults}}
	ldapEventsTotal = metric{"dancemta_ldap_events_total", counter,
		"What happened to connections to the LDAP bridge below its operations, in the words of the log; accepted ones are not in the log.",
		[]label{ldapEvents}}
	upstreamTotal = metric{"dancemta_ldap_upstream_total", counter,
		"What happened to connections from the LDAP bridge to the directory server: bound as ourselves; not reached, not proved, or " +
			"not taken (failed); ended under a client (lost). busy and unavailable are clients who got none.",
		[]label{upstreamEvents}}
	upstreamConnections = metric{"dancemta_ldap_upstream_connections", gauge,
		"Connections from the LDAP bridge to the directory server: each leased to one client, or idle; and clients who wait for one.",
		[]label{upstreamStates}}
	queueMessages = metric{"dancemta_queue_messages", gauge,
		"Messages in the queue, once for each destination that is still open: never tried, under delivery, waiting for another try, or held by an operator.",
		[]label{queued}}
	queueOldest = metric{"dancemta_queue_oldest_seconds", gauge,
		"Age of the oldest message in the queue; 0 when it is empty.", nil}
	storeBroken = metric{"dancemta_store_broken", gauge,
		"1 when the store is broken: no mail is taken or delivered until the disk is mended and the server restarted.", nil}
	anchorMatched = metric{"dancemta_trust_anchor_matched", gauge,
		"1 for a trust anchor of DNSSEC that matched the live root at the last look, which is hourly; 0 for one that did not, or was not compared yet.",
		[]label{{"key_tag", nil}}}
	ownTLSA = metric{"dancemta_own_tlsa", gauge,
		"Certificates of our own by what the live TLSA records said of them at the last look, which is hourly: match; none (no " +
			"secure records); unknown (no answer of DNS that could be judged); mismatch (whoever looks refuses us). " +
			"server: our listeners; client: what we show to next hops and resolvers.",
		[]label{owns, matches}}
	buildInfo = metric{"dancemta_build_info", gauge,
		"Always 1. Whether this build knows dane_clientid stands in the label extension.",
		[]label{{"version", nil}, {"go", nil}, {"extension", []string{"true", "false"}}}}
)

// all lists them in the order of docs/metrics.md.
func all() []metric {
	return []metric{sessionsTotal, clientsTotal, loginsTotal, repliesTotal, wireTotal, lookupsTotal, directoryTotal, acceptedBytes, checksTotal, milterTotal,
		overQuotaTotal, quotaNoticesTotal, deliveriesTotal, deliveryTLS, reportsTotal, signaturesTotal, tlsReportsTotal, stsFetchesTotal,
		ldapBindsTotal, ldapOperationsTotal, ldapEventsTotal, upstreamTotal, upstreamConnections, queueMessages, queueOldest, storeBroken, anchorMatched, ownTLSA, buildInfo}
}
