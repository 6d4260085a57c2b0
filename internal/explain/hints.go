package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"dancemta/daneclient"
	"dancemta/saslext"
)

// hints says what would change the verdict, and who can do it.
func (x *explanation) hints() []string {
	switch x.report.Verdict {
	case Accepted:
		return []string{}
	case Open:
		return []string{"explain it once more with the certificate: only then is it compared with the records"}
	}
	r := reasonOf(x.err)
	switch {
	case r.mapped != nil:
		return x.mappingHints(r.mapped)
	case r.client != 0:
		return x.dnsHints(r.client)
	case r.user != 0:
		return x.userHints(r.user)
	}
	return []string{"try again later"}
}

// dnsHints are those for the reasons of the verifier, by what has to be mended:
// the name, the rules, the records, or DNS itself.
func (x *explanation) dnsHints(r daneclient.Reason) []string {
	switch r {
	case daneclient.NoCertificate:
		return []string{`let the listener ask: client_certificates = "ask"`}
	case daneclient.NoName, daneclient.ForbiddenName, daneclient.BadClientName, daneclient.AmbiguousName:
		return x.nameHints(r)
	case daneclient.NameMismatch:
		return append([]string{fmt.Sprintf("issue a certificate whose dNSName is %s", clean(x.told()))}, x.publish()...)
	case daneclient.NotAllowed:
		return x.ruleHints()
	case daneclient.NoRecord, daneclient.NoMatch, daneclient.Unusable:
		return x.recordHints(r)
	case daneclient.WildcardForbidden:
		return []string{fmt.Sprintf("publish the records at %s itself: a wildcard counts only below *._device, and only with usage 2", x.seen.Owner)}
	case daneclient.Insecure:
		return []string{x.sign()}
	case daneclient.BogusDNS:
		return []string{fmt.Sprintf("mend the signatures, or the DS, of the zone at the step that is bogus: \"delv %s TLSA\" says the same", x.seen.Owner)}
	case daneclient.FailedDNS:
		return []string{`"dancemta check" tests our resolvers; when they are well, the servers of the zone at the last step do not answer`}
	}
	return []string{"try again later"}
}

// nameHints are for certificates that name no client.
func (x *explanation) nameHints(r daneclient.Reason) []string {
	if x.report.Kind == kindUser {
		return []string{"issue the certificate with one dNSName, the domain of the user, and one uid: \"dancemta usercert issue\" does"}
	}
	switch r {
	case daneclient.AmbiguousName:
		var allowed []string
		for _, n := range x.report.Names {
			if n.Allowed {
				allowed = append(allowed, n.Name)
			}
		}
		return []string{"let the rules allow one of these names only: " + strings.Join(allowed, ", "), "or use a certificate with one name"}
	case daneclient.BadClientName:
		return []string{"let the client tell the owner name of its TLSA records, without a final dot"}
	case daneclient.ForbiddenName:
		return []string{
			"name the client by a dNSName without labels such as _user or _tcp, in a certificate without a uid",
			`if it is a user: "dancemta explain user" says what becomes of him`,
		}
	}
	if _, err := daneclient.CandidateNames(x.cred.Chain[0]); err == nil {
		return []string{`let the client tell its name by dane_clientid, or take names from certificates: client_names = ["extension", "certificate"]`}
	}
	return []string{"issue the certificate with a dNSName: the host's, such as mta.example.org for _smtp-client.mta.example.org, or the whole owner name, such as sensor7._device.example.org"}
}

// ruleHints are for the operator.
func (x *explanation) ruleHints() []string {
	hints := []string{}
	for _, n := range x.report.Names {
		switch {
		case n.Rule != "":
			hints = append(hints, fmt.Sprintf("rule %s denies %s: as long as it stands no other rule lets it in", n.Rule, n.Name))
		case x.otherwise[n.Name] != "":
			hints = append(hints, fmt.Sprintf("rule %s lets %s in, but not when it is proved in this way: see proved in it", x.otherwise[n.Name], n.Name))
			if x.report.Kind == kindUser {
				hints = append(hints, `where that is "password", no certificate counts: "dancemta explain sender" shows what such a user may send`)
			}
		case x.report.Kind == kindUser:
			hints = append(hints, fmt.Sprintf(`add a rule: %s who = %q (or for all users of the domain: %q), action = "allow"%s`, x.ruleTable(), n.Name, "*@"+x.user.Domain.String(), x.ruleRest()))
		default:
			hints = append(hints, fmt.Sprintf(`add a rule: [[rule]] who = %q, action = "allow", and from, the senders that it may use`, n.Name))
		}
	}
	if x.report.Kind == kindClient && !x.Listener.TakesClients {
		hints = append(hints, fmt.Sprintf("a submission listener takes clients only where the rule names it: listeners = [%q]", x.report.Listener))
	}
	return hints
}

// ruleTable is where rules like the one that is missing stand, and ruleRest what else one
// of a bridge needs.
func (x *explanation) ruleTable() string {
	if x.Bridge != nil {
		return "[[ldap_rule]]"
	}
	return "[[rule]]"
}

func (x *explanation) ruleRest() string {
	if x.Bridge != nil {
		return ", and dn, as whom they act"
	}
	return ""
}

func (x *explanation) userHints(r saslext.Reason) []string {
	switch r {
	case saslext.NotAllowed:
		return x.ruleHints()
	case saslext.NoUser, saslext.BadIdentity:
		return x.nameHints(daneclient.NoName)
	}
	return []string{"try again later"}
}

// recordHints are for the domain's owner, and for who configures the client. What
// came may be an impostor's: to publish it is right for the right one only.
func (x *explanation) recordHints(r daneclient.Reason) []string {
	hints := x.publish()
	switch {
	case r != daneclient.NoMatch:
		return hints
	case x.report.Kind == kindUser:
		return append(hints, fmt.Sprintf("but if this CA is not that of %s, use a certificate of the one that is published", x.user.Domain))
	}
	return append(hints, fmt.Sprintf("but if this key is not that of %s, use the one that is published", x.seen.Owner))
}

// publish names the record that would match, or says what keeps every record
// from it.
func (x *explanation) publish() []string {
	if len(x.cred.Chain) == 0 {
		return []string{fmt.Sprintf("publish a TLSA record at %s: \"dancemta tlsa\" prints it for a certificate", x.seen.Owner)}
	}
	hints := x.chainHints()
	o, ok := x.owner()
	if !ok {
		return hints
	}
	switch entry, err := o.WouldMatch(x.cred.Chain, x.seen.Records, x.now); {
	case err == nil:
		return append(hints, "publish: "+entry.String())
	case len(hints) == 0:
		return []string{"no record would let this certificate in: " + clean(err.Error())}
	}
	return hints
}

// chainHints are about certificates that are over, and about the CA that is not
// sent. The dates of a leaf matter only where a CA is published.
func (x *explanation) chainHints() []string {
	hints := []string{}
	anchored := x.report.Kind == kindUser || x.publishesCA()
	if !anchored {
		return hints
	}
	for _, c := range x.report.Chain {
		if x.now.After(c.NotAfter) || x.now.Before(c.NotBefore) {
			hints = append(hints, fmt.Sprintf("replace the certificate of %q: it is valid from %s to %s", c.Subject, day(c.NotBefore), day(c.NotAfter)))
		}
	}
	if !slices.ContainsFunc(x.report.Chain[1:], func(c Certificate) bool { return c.CA }) {
		hints = append(hints, "send the CA in the chain: it belongs behind the certificate in the file that the client shows")
	}
	return hints
}

// publishesCA reports whether a record that may count is about a CA.
func (x *explanation) publishesCA() bool {
	for _, f := range x.seen.Records {
		if f.Usable && (f.Record.Usage == 0 || f.Record.Usage == 2) { // RFC 6698 2.1.1
			return true
		}
	}
	return false
}

// sign names the zone at which the chain of trust ends.
func (x *explanation) sign() string {
	for _, s := range x.seen.Answer.Steps {
		if s.State.String() == "insecure" && s.Type == "DS" {
			return fmt.Sprintf("sign the zone %s, and have its DS published in the zone %s", clean(s.Name), clean(s.Zone))
		}
	}
	return fmt.Sprintf("sign the zone of %s, and publish its DS", x.seen.Owner)
}

// told is the dNSName that the certificate lacks.
func (x *explanation) told() string {
	if x.seen.SAN != "" {
		return x.seen.SAN
	}
	return x.report.Name
}

func day(t time.Time) string { return t.UTC().Format(time.DateTime) }
