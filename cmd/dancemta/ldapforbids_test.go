//go:build unix

package main

import (
	"bytes"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"

	"dancemta/internal/lab"
)

// TestOracleBridgeForbids: what policy forbids ends in the bridge with this result;
// slapd never hears of it, though it would do much of it.
func TestOracleBridgeForbids(t *testing.T) {
	needSlapd(t)
	n := newInternet(t)
	s := newSlapd(t, n)
	bridge := newBridge(t, n, "ldaps://"+s.LDAPS)
	rick, namesake := bridgedWire(t, n, bridge, n.Rick), bridgedWire(t, n, bridge, n.Namesake)
	q := asked{base: lab.DirectorySuffix, scope: 2, filter: filterOf(t, "(objectClass=*)")}.op()
	mine := modifyOp(dnOf(n.Namesake), replaceValues, "telephoneNumber", "1")
	critical := func(oid string, value []byte) []*ber.Packet { return []*ber.Packet{control(oid, true, value)} }
	for _, r := range []struct {
		what     string
		w        *ldapWire
		op       *ber.Packet
		controls []*ber.Packet
		want     int
	}{
		{"to act as the namesake", rick, q, []*ber.Packet{proxied("dn:" + dnOf(n.Namesake))}, 123},
		{"to act as the namesake, u:", rick, q, []*ber.Packet{proxied("u:rick@other.test")}, 123},
		{"to act as the bridge", rick, q, []*ber.Packet{proxied("dn:cn=bridge,ou=services," + lab.DirectorySuffix)}, 123},
		{"to act as somebody, not critical", rick, q, []*ber.Packet{control("2.16.840.1.113730.3.4.18", false, []byte("u:rick@partner.test"))}, 2},
		{"the older proxied authorization", rick, q, critical(oidProxiedFirst, sequence(octets(dnOf(n.Namesake))).Bytes()), 12},
		{"to relax the rules", rick, q, critical(oidRelax, nil), 12},
		{"not to use a copy", rick, q, critical(oidDontUseCopy, nil), 12},
		{"subentries", rick, q, critical(oidSubentries, []byte{1, 1, 0xff}), 12},
		{"what nobody knows", rick, q, critical(oidUnknown, nil), 12},
		{"ManageDsaIT, not in the rule", namesake, q, critical(oidManageDSAIT, nil), 12},
		{"to change, not in the rule", namesake, mine, nil, 50},
		{"to delete, not in the rule", namesake, deleteOp(dnOf(n.Namesake)), nil, 50},
		{"an unknown extended operation", rick, extended("1.3.6.1.4.1.99999.2", nil), nil, 53},
		{"a transaction", rick, extended("1.3.6.1.1.21.1", nil), nil, 53},
		{"StartTLS within TLS", rick, extended("1.3.6.1.4.1.1466.20037", nil), nil, 1},
		{"to cancel what is not there", rick, cancelOp(99), nil, 119},
	} {
		all := r.w.do(r.op, r.controls...)
		if last := all[len(all)-1]; len(all) != 1 || code(last) != r.want {
			t.Errorf("%s: %d answers, result %d %q, not %d", r.what, len(all), code(last), last.text(), r.want)
		}
	}
	before := rick.do(q)
	for _, c := range []struct {
		what    string
		control *ber.Packet
	}{
		{"the older proxied authorization is dropped", control(oidProxiedFirst, false, sequence(octets(dnOf(n.Namesake))).Bytes())},
		{"to relax the rules is dropped", control(oidRelax, false, nil)},
		{"one's own identity", proxied("dn:" + dnOf(n.Rick))},
		{"one's own identity, in other words", proxied("dn:UID = RICK,ou=partner.test , OU=people,dc=example,dc=test")},
		{"one's own identity, u:", proxied("u:Rick@Partner.test")},
	} {
		if all := rick.do(q, c.control); !sameAnswers(all, before) {
			t.Errorf("%s: %s", c.what, shown(all))
		}
	}
}

// TestOracleBridgeForm: an operation of another form never gets to slapd, which looks for
// controls wherever it thinks that the operation ends: it would run as the bridge.
func TestOracleBridgeForm(t *testing.T) {
	needSlapd(t)
	n := newInternet(t)
	s := newSlapd(t, n)
	direct := directWire(t, n, s)
	rick := bridgedWire(t, n, newBridge(t, n, "ldaps://"+s.LDAPS), n.Rick)
	all := func(filter *ber.Packet) *ber.Packet {
		return asked{base: lab.DirectorySuffix, scope: 2, filter: filter}.op()
	}
	present := filterOf(t, "(objectClass=*)")
	set := func(tag ber.Tag, of ...*ber.Packet) *ber.Packet {
		return with(ber.Encode(ber.ClassContext, ber.TypeConstructed, tag, nil, ""), of...)
	}
	value := control("1.2.826.0.1.3344810.2.3", false, sequence().Bytes())
	for _, r := range []struct {
		what string
		op   *ber.Packet
	}{
		{"a search with an element more", with(all(present), octets(""))},
		{"a search with controls of its own", with(all(present), set(0, value))},
		{"a filter that takes the attributes for its own", all(set(1, present, set(2)))},
		{"a comparison with an element more", with(compareOp(dnOf(n.Rick), "telephoneNumber", "1"), octets(""))},
		{"a change with an element more", with(modifyOp(dnOf(n.Rick), replaceValues, "telephoneNumber", "1"), octets(""))},
	} {
		// As slapd takes it, with the control of the bridge behind: the bridge itself finds
		// nothing, and may change nothing.
		switch got := code(direct.do(r.op, proxied("dn:"+dnOf(n.Rick)))[0]); got {
		case 32, 50:
		default:
			t.Errorf("%s: slapd says %d, and seems to see the control", r.what, got)
		}
		if a := rick.do(r.op); len(a) != 1 || code(a[0]) != 2 {
			t.Errorf("%s: %s", r.what, shown(a))
		}
	}
}

// TestOracleBridgeBinds: who is who, by RFC 4513 and 4532.
func TestOracleBridgeBinds(t *testing.T) {
	needSlapd(t)
	n := newInternet(t)
	s := newSlapd(t, n)
	bridge := newBridge(t, n, "unix:"+s.Socket)
	q := asked{base: lab.DirectorySuffix, scope: 2, filter: filterOf(t, "(objectClass=*)")}.op()
	for _, starttls := range []bool{true, false} {
		at := map[bool]string{true: "ldap", false: "ldaps"}[starttls]
		w := dialWire(t, bridge.addresses[at], clientTLS(n, lab.ServerName, n.Rick.Credential), !starttls)
		mine := 0
		for _, step := range []struct {
			what string
			op   *ber.Packet
			want int
		}{
			{"no bind", q, 50},
			{"a password", simpleBind(dnOf(n.Rick), "secret"), 7},
			{"a name without a password", simpleBind(dnOf(n.Rick), ""), 53},
			{"absent credentials", saslBind(), 0},
			{"bound", q, 0},
			{"credentials of no octets", saslBind(""), 0},
			{"one's own name", saslBind("u:rick@partner.test"), 0},
			{"one's own DN", saslBind("dn:" + dnOf(n.Rick)), 0},
			{"bound again", q, 0},
			{"another's name", saslBind("u:rick@other.test"), 49},
			{"nobody after that", q, 50},
			{"another's DN", saslBind("dn:" + dnOf(n.Namesake)), 49},
			{"no form at all", saslBind("rick@partner.test"), 49},
			{"bound at last", saslBind(), 0},
			{"anonymous by a simple bind", simpleBind("", ""), 0},
			{"anonymous", q, 50},
		} {
			all := w.do(step.op)
			if got := code(all[len(all)-1]); got != step.want {
				t.Errorf("%s, %s: %d %q, not %d", at, step.what, got, all[len(all)-1].text(), step.want)
			}
			mine = max(mine, len(all))
		}
		if mine != 4 {
			t.Errorf("%s: rick sees %d answers", at, mine)
		}
		w.bind()
		if all := w.do(whoAmI()); code(all[0]) != 0 || !bytes.HasSuffix(all[0].op, []byte("u:rick@partner.test")) {
			t.Errorf("%s: who am I? % x", at, all[0].op)
		}
	}
}

// TestOracleBridgePages: the pages of one user do not mix with those of another, nor
// with a second search of his own.
func TestOracleBridgePages(t *testing.T) {
	needSlapd(t)
	n := newInternet(t)
	s := newSlapd(t, n)
	bridge := newBridge(t, n, "ldap://"+s.LDAP)
	q := asked{base: lab.DirectorySuffix, scope: 2, filter: filterOf(t, "(objectClass=*)")}.op()
	pages := map[string]*pair{}
	cookies := map[string][]byte{}
	for round := range 3 {
		for _, who := range []lab.Client{n.Rick, n.Namesake} {
			if round == 0 {
				pages[who.User] = &pair{t, who, bridgedWire(t, n, bridge, who), directWire(t, n, s)}
			}
			p := pages[who.User]
			bridged, direct := p.both(q, paged(1, cookies[who.User]))
			last := bridged[len(bridged)-1]
			if !sameAnswers(bridged, direct) || len(bridged) != 2 || code(last) != 0 {
				t.Errorf("%s, page %d: %s, and slapd: %s", who.User, round, shown(bridged), shown(direct))
			}
			cookies[who.User] = last.cookie()
		}
	}
	for who, c := range cookies {
		if len(c) > 0 {
			t.Errorf("%s: three pages, and more: % x", who, c)
		}
	}
	// Two on one connection, and then the first goes on: slapd keeps one.
	p := &pair{t, n.Rick, bridgedWire(t, n, bridge, n.Rick), directWire(t, n, s)}
	first, _ := p.both(q, paged(1, nil))
	p.same("a second search", asked{base: lab.DirectoryShared, scope: 2, filter: filterOf(t, "(cn=*)")}.op(), paged(1, nil))
	p.same("the first goes on", q, paged(1, first[len(first)-1].cookie()))
	// A cookie of another connection is worth nothing.
	stranger := &pair{t, n.Namesake, bridgedWire(t, n, bridge, n.Namesake), directWire(t, n, s)}
	if got := stranger.same("a cookie of somebody else", q, paged(1, first[len(first)-1].cookie())); got == 0 {
		t.Error("a cookie of somebody else is taken")
	}
}
