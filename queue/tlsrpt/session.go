// Package tlsrpt tells other domains daily how TLS went when mail was sent to
// them (RFC 8460). The idea: whoever delivers says of each session what policy
// it was under and what came of it; nothing of the mail itself is known here.
//
// Start with Counter: Add counts a Session by day and policy. A Reporter makes
// the reports of the days that have ended and sends each of them once, by HTTPS
// or by a mail that it hands to a given function.
package tlsrpt

import (
	"net/netip"

	"dancemta/internal/dnsname"
)

// PolicyType is the kind of policy a session was under (RFC 8460 4.4).
type PolicyType string

// The policy types.
const (
	TLSA     PolicyType = "tlsa"            // DANE
	STS      PolicyType = "sts"             // MTA-STS
	NoPolicy PolicyType = "no-policy-found" // neither
)

// ResultType says why a session failed (RFC 8460 4.3). The zero value is no
// failure.
type ResultType string

// The results. Each names what the policy wanted and did not get; under
// NoPolicy the first five are worth a report too.
const (
	Success ResultType = ""

	StartTLSNotSupported    ResultType = "starttls-not-supported"    // 4.3.1
	CertificateHostMismatch ResultType = "certificate-host-mismatch" // 4.3.1
	CertificateExpired      ResultType = "certificate-expired"       // 4.3.1: or not valid yet
	CertificateNotTrusted   ResultType = "certificate-not-trusted"   // 4.3.1
	ValidationFailure       ResultType = "validation-failure"        // 4.3.1: any other; Reason should tell

	TLSAInvalid   ResultType = "tlsa-invalid"   // 4.3.2.1: no record matches, or none can be used
	DNSSECInvalid ResultType = "dnssec-invalid" // 4.3.2.1: bogus or failed
	DANERequired  ResultType = "dane-required"  // 4.3.2.1: configured, and no DANE there

	STSPolicyFetchError ResultType = "sts-policy-fetch-error" // 4.3.2.2
	STSPolicyInvalid    ResultType = "sts-policy-invalid"     // 4.3.2.2
	STSWebPKIInvalid    ResultType = "sts-webpki-invalid"     // 4.3.2.2: the certificate of the policy host
)

// Session is what became of TLS in one attempt to reach one host. When the
// policy itself could not be had, no host was reached, and MX is zero.
type Session struct {
	// Domain is where the wish for reports is looked up: the recipient's domain,
	// or that of the next hop to which configuration sends its mail.
	Domain dnsname.Name
	Policy Policy
	Result ResultType // Success, or why not

	MX          dnsname.Name // name of the host, as the MX record has it
	Helo        string       // what it called itself in its greeting or EHLO reply; "" when it did not
	SendingIP   netip.Addr   // ours; zero: not known
	ReceivingIP netip.Addr   // the host's

	Reason string // failure-reason-code: a word or a short text of ours, never a peer's
	Info   string // additional-information: a URI; "" mostly
}

// Policy is the policy that was applied, as it was at the time. Two that differ
// in anything are reported apart.
type Policy struct {
	Type PolicyType
	// Domain is where the policy stands: the recipient's domain for STS and
	// NoPolicy, the TLSA base domain for TLSA (RFC 8460 1.1, 4.4).
	Domain dnsname.Name
	// Strings is the policy's text: the lines of the STS policy, or the TLSA
	// records ("3 1 1 0D6F..."), sorted; nil for NoPolicy.
	Strings []string
	// MXHosts are the mx patterns of an STS policy; nil for the others.
	MXHosts []string
}
