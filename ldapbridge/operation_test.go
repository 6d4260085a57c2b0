package ldapbridge

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/ldapbridge/message"
)

const rickDN = "dn:uid=rick,ou=partner.test," + people

func control(oid string, critical bool, value ...string) message.Control {
	c := message.Control{OID: oid, Critical: critical}
	if len(value) > 0 {
		c.Value, c.HasValue = []byte(value[0]), true
	}
	return c
}

// The operations that are asked for below, each with its word.
var operations = map[string][]byte{
	"search":    searchOp(people, 2),
	"compare":   compareOp("uid=rick," + people),
	"modify":    modifyOp("uid=rick," + people),
	"add":       []byte(element(0x68, element(4, "cn=x"), element(0x30, element(0x30, element(4, "cn"), element(0x31, element(4, "x")))))),
	"delete":    []byte(element(0x4a, "cn=x")),
	"modify_dn": []byte(element(0x6c, element(4, "cn=x"), element(4, "cn=y"), "\x01\x01\xff")),
	"extended":  message.ExtendedOp(message.OIDPasswordModify, []byte(element(0x30))),
}

// TestOperationsByRule: what a rule does not have does not get to the server, and the
// rest gets there under the user's rights.
func TestOperationsByRule(t *testing.T) {
	all := "search compare modify add delete modify_dn extended"
	for _, c := range []struct{ user, allowed string }{
		{"rick@partner.test", "search compare"},
		{"boss@other.test", all},
		{"mute@other.test", "compare"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			client := w.bound(c.user)
			for word, op := range operations {
				want := message.InsufficientAccessRights
				if strings.Contains(" "+c.allowed+" ", " "+word+" ") {
					want = message.Success
				}
				if got := client.code(op); got != want {
					t.Errorf("%s of %s: %v, want %v", word, c.user, got, want)
				}
				uid, domain, _ := strings.Cut(c.user, "@")
				seen := w.server.take()
				if want == message.Success != (seen == word+" dn:uid="+uid+",ou="+domain+","+people) {
					t.Errorf("%s of %s: the server saw %q", word, c.user, seen)
				}
			}
			if log := w.log.take(); c.user == "rick@partner.test" && !strings.Contains(log, `msg="ldap operation refused" session=`) {
				t.Error(log)
			}
			client.close()
			w.shut()
		})
	}
}

// TestNobody: who has not bound sees the root DSE, and with anonymous reads.
func TestNobody(t *testing.T) {
	for _, c := range []struct {
		listener string
		tls      bool
		search   message.Code
		modify   message.Code
		seen     string
	}{
		{"ldap", false, message.StrongerAuthRequired, message.StrongerAuthRequired, ""},
		{"ldaps", true, message.InsufficientAccessRights, message.InsufficientAccessRights, ""},
		{"open", false, 0, message.StrongerAuthRequired, "search"},
		{"strict", true, message.InsufficientAccessRights, message.InsufficientAccessRights, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			client := w.dial(c.listener)
			if c.tls {
				client.secure(userCert("rick@stranger.test"))
			} else {
				client.listen()
			}
			if got := client.code(searchOp("", 0, "+")); got != 0 {
				t.Errorf("%s: the root DSE: %v", c.listener, got)
			}
			w.server.take() // the bridge may have asked for the server's
			if got := client.code(searchOp(people, 2)); got != c.search {
				t.Errorf("%s: search: %v", c.listener, got)
			}
			if got := client.code(modifyOp(people)); got != c.modify {
				t.Errorf("%s: modify: %v", c.listener, got)
			}
			if got := client.code(operations["extended"]); got != c.modify {
				t.Errorf("%s: password: %v", c.listener, got)
			}
			if got := w.server.take(); got != c.seen {
				t.Errorf("%s: the server saw %q, want %q", c.listener, got, c.seen)
			}
			client.close()
			w.shut()
		})
	}
}

// TestControls: which get to the server. "-": left out.
func TestControls(t *testing.T) {
	const relax, sync, treeDelete, subentries, dontCopy = "1.3.6.1.4.1.4203.666.5.12", "1.3.6.1.4.1.4203.1.9.1.1", "1.2.840.113556.1.4.805", "1.3.6.1.4.1.4203.1.10.1", "1.3.6.1.1.22"
	paging := message.OIDPagedResults
	pages := element(0x30, "\x02\x01\x0a", element(4))
	for _, c := range []struct {
		user    string
		control message.Control
		code    message.Code
		passed  bool
	}{
		{"rick@partner.test", control(paging, true, pages), 0, true},
		{"rick@partner.test", control(paging, false, pages), 0, true},
		{"rick@partner.test", control(message.OIDServerSort, true, "x"), 0, true},
		{"rick@partner.test", control(message.OIDAssertion, true, "x"), 0, true},
		{"rick@partner.test", control(message.OIDPreRead, false, "x"), 0, true},
		{"rick@partner.test", control(message.OIDPostRead, true, "x"), 0, true},
		{"rick@partner.test", control(message.OIDMatchedValues, true, "x"), 0, true},
		{"rick@partner.test", control(message.OIDManageDsaIT, true), 12, false},
		{"rick@partner.test", control(message.OIDManageDsaIT, false), 0, false},
		{"boss@other.test", control(message.OIDManageDsaIT, true), 0, true},
		{"rick@partner.test", control(message.OIDProxiedAuthOld, true, "dn:cn=admin"), 12, false},
		{"rick@partner.test", control(message.OIDProxiedAuthOld, false, "dn:cn=admin"), 0, false},
		{"rick@partner.test", control(relax, true), 12, false},
		{"rick@partner.test", control(relax, false), 0, false},
		{"rick@partner.test", control(sync, true, "x"), 12, false},
		{"rick@partner.test", control(sync, false, "x"), 0, false},
		{"rick@partner.test", control(treeDelete, false), 0, false},
		{"rick@partner.test", control(subentries, true), 12, false},
		{"rick@partner.test", control(dontCopy, true), 12, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			client := w.bound(c.user)
			if got := client.code(searchOp(people, 2), c.control); got != c.code {
				t.Errorf("%+v: %v, want %v", c.control, got, c.code)
			}
			seen := w.server.take()
			if strings.HasSuffix(seen, " "+c.control.OID) != c.passed || (seen == "") != (c.code != 0) {
				t.Errorf("%+v: the server saw %q", c.control, seen)
			}
			client.close()
			w.shut()
		})
	}
}

// TestProxiedAuthorization: a client's own is a claim, which rules must allow; what
// gets to the server is ours.
func TestProxiedAuthorization(t *testing.T) {
	own := message.OIDProxiedAuth
	for _, c := range []struct {
		user    string
		control message.Control
		code    message.Code
		seen    string
	}{
		{"rick@partner.test", control(own, true, "u:rick@partner.test"), 0, rickDN},
		{"rick@partner.test", control(own, true, "dn:uid=RICK, ou=partner.test,"+people), 0, rickDN},
		{"boss@other.test", control(own, true, "u:rick@partner.test"), 0, rickDN},
		{"boss@other.test", control(own, true, rickDN), 0, rickDN},
		{"rick@partner.test", control(own, true, "u:rick@other.test"), 123, ""},
		{"rick@partner.test", control(own, true, "dn:cn=admin"), 123, ""},
		{"rick@partner.test", control(own, true, ""), 123, ""},
		{"rick@partner.test", control(own, true, "u:rick\xff@partner.test"), 123, ""},
		{"rick@partner.test", control(own, true, "rick"), 123, ""},
		{"rick@partner.test", control(own, false, "u:rick@partner.test"), 2, ""},
		{"rick@partner.test", control(own, true), 2, ""},
		{"boss@other.test", control(own, true, "u:gone@other.test"), 123, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			client := w.bound(c.user)
			if got := client.code(searchOp(people, 2), c.control); got != c.code {
				t.Errorf("%q: %v, want %v", c.control.Value, got, c.code)
			}
			want := ""
			if c.seen != "" {
				want = "search " + c.seen
			}
			if seen := w.server.take(); seen != want {
				t.Errorf("%q: the server saw %q, want %q", c.control.Value, seen, want)
			}
			client.close()
			w.shut()
		})
	}
}

// TestProxyOfWhomItIs: who acts as another has that other's operations, and asks to
// be a third one as who he is himself.
func TestProxyOfWhomItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.ldaps(userCert("boss@other.test"))
		if got := client.bind(text("u:rick@partner.test")); got != 0 {
			t.Fatal(got)
		}
		if got := client.code(modifyOp(people)); got != message.InsufficientAccessRights {
			t.Errorf("modify as rick: %v", got)
		}
		if got := client.code(searchOp(people, 2), control(message.OIDManageDsaIT, true)); got != message.UnavailableCriticalExtension {
			t.Errorf("a control that rick may not send: %v", got)
		}
		if got := client.code(compareOp(people), control(message.OIDProxiedAuth, true, "u:mute@other.test")); got != message.AuthorizationDenied {
			t.Errorf("whom rick may be, and the boss may not: %v", got)
		}
		if got := client.code(modifyOp(people), control(message.OIDProxiedAuth, true, "u:boss@other.test")); got != 0 {
			t.Errorf("himself: %v", got)
		}
		if got := w.server.take(); got != "modify dn:uid=boss,ou=other.test,"+people {
			t.Error(got)
		}
		client.close()
		w.shut()
	})
}

// TestProxyOfNobody: nobody is nobody else.
func TestProxyOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, listener := range []string{"ldap", "open"} {
			client := w.dial(listener).listen()
			for _, as := range []string{"u:rick@partner.test", "dn:cn=admin", ""} {
				if got := client.code(searchOp(people, 2), control(message.OIDProxiedAuth, true, as)); got != message.AuthorizationDenied {
					t.Errorf("%s as %q: %v", listener, as, got)
				}
			}
			client.close()
		}
		if got := w.server.take(); got != "" {
			t.Error(got)
		}
		w.shut()
	})
}

// TestExtended: what is answered here, and what is not known.
func TestExtended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.bound("boss@other.test")
		for _, c := range []struct {
			op       []byte
			controls []message.Control
			code     message.Code
			value    string
		}{
			{message.ExtendedOp(message.OIDWhoAmI, nil), nil, 0, "u:boss@other.test"},
			{message.ExtendedOp(message.OIDWhoAmI, []byte("x")), nil, 2, ""},
			{message.ExtendedOp(message.OIDWhoAmI, nil), []message.Control{control(message.OIDProxiedAuth, true, "u:rick@partner.test")}, 0, "u:rick@partner.test"},
			{message.ExtendedOp(message.OIDWhoAmI, nil), []message.Control{control(message.OIDProxiedAuth, true, "u:ann@partner.test")}, 123, ""},
			{message.ExtendedOp(message.OIDWhoAmI, nil), []message.Control{control("1.2.3", true)}, 12, ""},
			{message.ExtendedOp("1.3.6.1.4.1.4203.1.11.1.9", nil), nil, 53, ""},
			{message.ExtendedOp("1.3.6.1.1.21.1", nil), nil, 53, ""}, // begin a transaction
			{message.ExtendedOp("", nil), nil, 53, ""},
			{[]byte(element(0x77)), nil, 2, ""},
			{message.ExtendedOp(message.OIDCancel, message.CancelValue(1)), nil, 119, ""},
			{message.ExtendedOp(message.OIDCancel, []byte("x")), nil, 2, ""},
		} {
			r := client.result(c.op, c.controls...)
			if r.Code != c.code || string(r.Value) != c.value {
				t.Errorf("% x: %v %q, want %v %q", c.op, r.Code, r.Value, c.code, c.value)
			}
		}
		if got := w.server.take(); got != "" {
			t.Error(got)
		}
		client.close()
		mute := w.bound("mute@other.test")
		if got := mute.whoAmI(); got != "insufficientAccessRights" {
			t.Errorf("whoami by a rule without it: %s", got)
		}
		mute.close()
		w.shut()
	})
}

// TestCancelAndAbandon: the ID is the client's here and ours there.
func TestCancelAndAbandon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.say(func(s *server) { s.silent = true })
		client := w.bound("rick@partner.test")
		client.last = 70000
		first, second := client.send(searchOp(people, 2)), client.send(searchOp(people, 1))
		client.send(message.AbandonOp(first))
		client.send(message.AbandonOp(12345))
		w.server.say(func(s *server) {
			if len(s.seen) != 3 {
				t.Fatalf("the server saw %d messages", len(s.seen))
			}
			if id, err := message.ParseAbandon(s.seen[2].Op); err != nil || id != s.seen[0].ID || id == first {
				t.Errorf("abandon %d, %v; want %d", id, err, s.seen[0].ID)
			}
			s.silent = false
			s.handle = func(m message.Message, write func([]byte) error) bool {
				x, err := message.ParseExtended(m.Op)
				if err != nil {
					return false
				}
				id, err := message.ParseCancel(x.Value)
				if err != nil || id != s.seen[1].ID {
					t.Errorf("cancel %d, %v; want %d", id, err, s.seen[1].ID)
				}
				write(message.AppendResult(nil, id, message.SearchDone, message.Result{Code: message.Canceled}))
				write(message.AppendResult(nil, m.ID, message.ExtendedResponse, message.Result{}))
				return true
			}
		})
		cancel := client.send(message.ExtendedOp(message.OIDCancel, message.CancelValue(second)))
		got := client.take()
		if len(got) != 2 || got[0].ID != second || got[1].ID != cancel {
			t.Errorf("%+v", got)
		}
		client.close()
		w.shut()
	})
}

// TestServerAway: what is wrong with the server is never the client's fault.
func TestServerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.say(func(s *server) { s.down = true })
		client := w.bound("rick@partner.test")
		// However often a program asks meanwhile, it is not to blame.
		for range 101 {
			if got := client.code(searchOp(people, 2)); got != message.Unavailable {
				t.Fatalf("it is down: %v", got)
			}
		}
		w.server.say(func(s *server) { s.down = false })
		time.Sleep(time.Minute)
		if got := client.code(searchOp(people, 2)); got != 0 {
			t.Errorf("it is up again: %v", got)
		}
		// It dies under an operation, and is there for the next.
		w.server.say(func(s *server) { s.silent = true })
		id := client.send(searchOp(people, 2))
		w.server.say(func(s *server) {
			for c := range s.conns {
				c.Close()
			}
			s.silent = false
		})
		got := client.take()
		if len(got) != 1 || got[0].ID != id || got[0].Tag() != message.SearchDone {
			t.Fatalf("%+v", got)
		}
		if r, err := message.ParseResult(got[0].Op); err != nil || r.Code != message.Unavailable {
			t.Errorf("lost: %+v, %v", r, err)
		}
		if got := client.code(searchOp(people, 2)); got != 0 {
			t.Errorf("the next one: %v", got)
		}
		client.close()
		w.shut()
	})
}

// TestServerBusy: more clients than connections.
func TestServerBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.say(func(s *server) { s.silent = true })
		var clients []*client
		for range 20 {
			c := w.bound("rick@partner.test")
			c.send(searchOp(people, 2))
			clients = append(clients, c)
		}
		late := w.bound("rick@partner.test")
		id := late.send(searchOp(people, 2))
		time.Sleep(2 * time.Second)
		got := late.take()
		if len(got) != 1 || got[0].ID != id {
			t.Fatalf("%d messages", len(got))
		}
		if r, err := message.ParseResult(got[0].Op); err != nil || r.Code != message.Busy {
			t.Errorf("%+v, %v", r, err)
		}
		for _, c := range append(clients, late) {
			c.close()
		}
		w.shut()
	})
}

// TestRepliesArePassedOn: octet by octet, with their controls.
func TestRepliesArePassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		odd := element(0x64, element(4, "cn=odd"), element(0x30, element(0x30, element(4, "jpegPhoto"), element(0x31, element(4, strings.Repeat("\xff", 300)))))) // lengths in more octets than needed
		w.server.say(func(s *server) {
			s.handle = func(m message.Message, write func([]byte) error) bool {
				write(message.AppendMessage(nil, m.ID, []byte(odd), message.AppendControls(nil, control("1.2.3", false, "x"))))
				write(message.AppendMessage(nil, m.ID, []byte(element(0x73, element(4, "ldap://other/"))), nil))
				write(message.AppendResult(nil, m.ID, message.SearchDone, message.Result{Code: 32, MatchedDN: "dc=test"}))
				return true
			}
		})
		client := w.bound("rick@partner.test")
		client.send(searchOp(people, 2))
		got := client.take()
		if len(got) != 3 || string(got[0].Op) != odd || got[0].Controls == nil || got[1].Tag() != message.SearchReference || got[2].Tag() != message.SearchDone {
			t.Errorf("%q\n%s", got, w.log.take())
		}
		client.close()
		w.shut()
	})
}

// TestSearchLimits: the lower limit counts, the client's or the listener's.
func TestSearchLimits(t *testing.T) {
	for _, c := range []struct{ asked, limit, want int32 }{{0, 0, 0}, {5, 0, 5}, {0, 7, 7}, {5, 7, 5}, {7, 7, 7}, {8, 7, 7}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(o *Options) { o.Limits.Entries, o.Limits.Seconds = int(c.limit), int(c.limit)*2 })
			client := w.bound("rick@partner.test")
			s := message.Search{Base: []byte(people), Scope: 2, Deref: 3, SizeLimit: c.asked, TimeLimit: 2 * c.asked, TypesOnly: true,
				Filter: []byte(element(0xa3, element(4, "uid"), element(4, "rick"))), Attributes: message.AttributeSelection("cn", "1.1")}
			client.send(s.AppendOp(nil))
			s.SizeLimit, s.TimeLimit = c.want, 2*c.want
			w.server.say(func(srv *server) {
				if got, want := fmt.Sprintf("% x", srv.seen[0].Op), fmt.Sprintf("% x", s.AppendOp(nil)); got != want {
					t.Errorf("%+v:\n%s, want\n%s", c, got, want)
				}
			})
			client.close()
			w.shut()
		})
	}
}
