//go:build unix

package main

import (
	"fmt"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"

	"dancemta/internal/lab"
)

// Controls of requests.
const (
	oidSort         = "1.2.840.113556.1.4.473"    // RFC 2891
	oidAssertion    = "1.3.6.1.1.12"              // RFC 4528
	oidPreRead      = "1.3.6.1.1.13.1"            // RFC 4527
	oidPostRead     = "1.3.6.1.1.13.2"            // RFC 4527
	oidMatched      = "1.2.826.0.1.3344810.2.3"   // RFC 3876
	oidManageDSAIT  = "2.16.840.1.113730.3.4.2"   // RFC 3296
	oidProxiedFirst = "2.16.840.1.113730.3.4.12"  // a draft before RFC 4370
	oidRelax        = "1.3.6.1.4.1.4203.666.5.12" // a draft; would let write what nobody may
	oidDontUseCopy  = "1.3.6.1.1.22"              // RFC 6171
	oidSubentries   = "1.3.6.1.4.1.4203.1.10.1"   // RFC 3672
	oidUnknown      = "1.3.6.1.4.1.99999.1"
)

// pair is one user at both doors: the bridge, by his certificate, and slapd itself, by
// the gateway and a proxied authorization that the test adds.
type pair struct {
	t               *testing.T
	who             lab.Client
	bridged, direct *ldapWire
}

// both asks both.
func (p *pair) both(op *ber.Packet, controls ...*ber.Packet) (bridged, direct []answered) {
	p.t.Helper()
	bridged = p.bridged.do(op, controls...)
	direct = p.direct.do(op, append(controls[:len(controls):len(controls)], proxied("dn:"+dnOf(p.who)))...)
	return bridged, direct
}

// same demands the same octets from both, and returns the result code.
func (p *pair) same(what string, op *ber.Packet, controls ...*ber.Packet) int {
	p.t.Helper()
	bridged, direct := p.both(op, controls...)
	if !sameAnswers(bridged, direct) {
		p.t.Errorf("%s, %s:\nthe bridge: %s\nslapd:      %s", p.who.User, what, shown(bridged), shown(direct))
	}
	return code(direct[len(direct)-1])
}

// shown is the end of what was answered.
func shown(all []answered) string {
	if len(all) == 0 {
		return "no answer"
	}
	last := all[len(all)-1]
	return fmt.Sprintf("%d answers, result %d %.80q, controls %x", len(all), code(last), last.text(), last.controls)
}

// request is one operation, with its controls and the result that slapd gives.
type request struct {
	name     string
	op       *ber.Packet
	controls []*ber.Packet
	partner  int // result for rick@partner.test
	other    int // result for rick@other.test
}

// TestOracleBridgeIsTransparent: for each operation that policy lets through, the bridge
// answers what slapd answers to the same user, octet by octet.
func TestOracleBridgeIsTransparent(t *testing.T) {
	needSlapd(t)
	n := newInternet(t)
	s := newSlapd(t, n)
	for _, upstream := range []string{"ldaps://" + s.LDAPS, "ldap://" + s.LDAP, "unix:" + s.Socket} {
		t.Run(upstream[:4], func(t *testing.T) {
			bridge := newBridge(t, n, upstream)
			for _, who := range []lab.Client{n.Rick, n.Namesake} {
				p := &pair{t, who, bridgedWire(t, n, bridge, who), directWire(t, n, s)}
				for _, r := range readings(t) {
					want := r.partner
					if who.User == n.Namesake.User {
						want = r.other
					}
					if got := p.same(r.name, r.op, r.controls...); got != want {
						t.Errorf("%s, %s: slapd says %d, not %d", who.User, r.name, got, want)
					}
				}
			}
			writing := &pair{t, n.Rick, bridgedWire(t, n, bridge, n.Rick), directWire(t, n, s)}
			for _, r := range writings(t, n) {
				if got := writing.same(r.name, r.op, r.controls...); got != r.partner {
					t.Errorf("%s: slapd says %d, not %d", r.name, got, r.partner)
				}
			}
		})
	}
}

// readings change nothing.
func readings(t *testing.T) []request {
	all := filterOf(t, "(objectClass=*)")
	partner, other := "ou=partner.test,"+lab.DirectoryShared, "ou=other.test,"+lab.DirectoryShared
	me := "uid=rick,ou=partner.test," + lab.DirectoryPeople
	sub := func(base, filter string, attributes ...string) *ber.Packet {
		return asked{base: base, scope: 2, filter: filterOf(t, filter), attributes: attributes}.op()
	}
	ordering := ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, "caseIgnoreOrderingMatch", "")
	sort := control(oidSort, true, sequence(sequence(octets("cn"), ordering)).Bytes())
	matched := control(oidMatched, true, sequence(filterOf(t, "(objectClass=device)")).Bytes())
	return []request{
		{"all of it", sub(lab.DirectorySuffix, "(objectClass=*)"), nil, 0, 0},
		{"operational attributes", sub(lab.DirectorySuffix, "(objectClass=*)", "+", "*"), nil, 0, 0},
		{"no attributes", sub(lab.DirectorySuffix, "(objectClass=*)", "1.1"), nil, 0, 0},
		{"types only", asked{base: lab.DirectorySuffix, scope: 2, types: true, filter: all}.op(), nil, 0, 0},
		{"a filter of many parts", sub(lab.DirectorySuffix, "(&(|(cn=price*)(uid=rick))(!(mail=*other*)))"), nil, 0, 0},
		{"a filter that is extensible", sub(lab.DirectorySuffix, "(ou:dn:=partner.test)"), nil, 0, 0},
		{"one level", asked{base: partner, scope: 1, filter: all}.op(), nil, 0, 32},
		{"one's own entry", asked{base: me, filter: all}.op(), nil, 0, 32},
		{"another domain's", sub(other, "(objectClass=*)"), nil, 32, 0},
		{"a limit of one", asked{base: lab.DirectorySuffix, scope: 2, size: 1, filter: all}.op(), nil, 4, 4},
		{"nothing there", sub("ou=nowhere,"+lab.DirectorySuffix, "(cn=*)"), nil, 32, 32},
		{"no DN", sub("no dn at all", "(cn=*)"), nil, 34, 34},
		{"compare, true", compareOp("cn=price list,"+partner, "description", "prices for partner.test"), nil, 6, 32},
		{"compare, false", compareOp("cn=price list,"+partner, "description", "none"), nil, 5, 32},
		{"compare what is not there", compareOp("cn=price list,"+partner, "mail", "x"), nil, 16, 32},
		{"sorted", sub(lab.DirectorySuffix, "(objectClass=*)"), []*ber.Packet{sort}, 0, 0},
		{"assertion, true", asked{base: me, filter: all}.op(), []*ber.Packet{control(oidAssertion, true, filterOf(t, "(uid=rick)").Bytes())}, 0, 32},
		{"assertion, false", asked{base: me, filter: all}.op(), []*ber.Packet{control(oidAssertion, true, filterOf(t, "(uid=eve)").Bytes())}, 122, 32},
		{"matched values", sub(partner, "(objectClass=*)", "objectClass"), []*ber.Packet{matched}, 0, 32},
		{"ManageDsaIT, not critical", sub(lab.DirectorySuffix, "(objectClass=*)"), []*ber.Packet{control(oidManageDSAIT, false, nil)}, 0, 0},
		{"unknown, not critical", sub(lab.DirectorySuffix, "(objectClass=*)"), []*ber.Packet{control(oidUnknown, false, []byte("x"))}, 0, 0},
		{"a page", sub(lab.DirectorySuffix, "(objectClass=*)"), []*ber.Packet{paged(2, nil)}, 0, 0},
		{"a page, its cookie forged", sub(lab.DirectorySuffix, "(objectClass=*)"), []*ber.Packet{paged(2, []byte("forged!!"))}, 2, 2},
	}
}

// writings leave things as they were, or as they are left by the second of two who do
// the same.
func writings(t *testing.T, n *lab.Internet) []request {
	me := dnOf(n.Rick)
	namesake := dnOf(n.Namesake)
	read := sequence(octets("telephoneNumber")).Bytes()
	return []request{
		{"replace", modifyOp(me, replaceValues, "telephoneNumber", "+1 555 0303"), nil, 0, 0},
		{"replace, read before", modifyOp(me, replaceValues, "telephoneNumber", "+1 555 0303"), []*ber.Packet{control(oidPreRead, true, read)}, 0, 0},
		{"replace, read behind", modifyOp(me, replaceValues, "telephoneNumber", "+1 555 0303"), []*ber.Packet{control(oidPostRead, true, read)}, 0, 0},
		{"replace, where it does not hold", modifyOp(me, replaceValues, "telephoneNumber", "1"), []*ber.Packet{control(oidAssertion, true, filterOf(t, "(telephoneNumber=2)").Bytes())}, 122, 0},
		{"add what is there", modifyOp(me, addValues, "telephoneNumber", "+1 555 0303"), nil, 20, 0},
		{"delete what is not there", modifyOp(me, deleteValues, "telephoneNumber", "1"), nil, 16, 0},
		{"change what is not one's own to change", modifyOp(me, replaceValues, "mail", "boss@partner.test"), nil, 50, 0},
		{"change the namesake", modifyOp(namesake, replaceValues, "telephoneNumber", "1"), nil, 50, 0},
		{"no such syntax", modifyOp(me, replaceValues, "telephoneNumber", "\xff"), nil, 21, 0},
		{"delete", deleteOp("cn=price list,ou=partner.test," + lab.DirectoryShared), nil, 50, 0},
		{"back", modifyOp(me, replaceValues, "telephoneNumber", "+1 555 0101"), nil, 0, 0},
	}
}
