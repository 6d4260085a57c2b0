package ldapbridge

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dancemta/ldapbridge/message"
)

// sessions are what clients say, as seeds: whole conversations, one octet string each.
func sessions() [][]byte {
	var all [][]byte
	add := func(ops ...[]byte) {
		var b []byte
		for i, op := range ops {
			b = message.AppendMessage(b, int32(i+1), op, nil)
		}
		all = append(all, b)
	}
	bind := bindOp("EXTERNAL", nil)
	add(bind, searchOp(people, 2), message.UnbindOp())
	add(bind, message.ExtendedOp(message.OIDWhoAmI, nil), modifyOp(people), compareOp(people))
	add(bind, searchOp(people, 1), message.AbandonOp(2), message.ExtendedOp(message.OIDCancel, message.CancelValue(2)))
	add(bindOp("EXTERNAL", text("u:rick@partner.test")), bindOp("EXTERNAL", text("dn:uid=rick")), searchOp("", 0, "+", "*"))
	add(simpleOp("", ""), simpleOp("cn=x", ""), simpleOp("cn=x", "y"), searchOp(people, 2))
	add(startTLS(), bind, searchOp(people, 2))
	add(operations["add"], operations["delete"], operations["modify_dn"], operations["extended"])
	for _, c := range []message.Control{
		control(message.OIDProxiedAuth, true, "u:rick@partner.test"), control(message.OIDProxiedAuth, true, ""),
		control(message.OIDProxiedAuthOld, false, "dn:cn=admin"), control(message.OIDPagedResults, true, element(0x30, "\x02\x01\x0a", element(4))),
	} {
		b := message.AppendMessage(nil, 1, bind, nil)
		all = append(all, message.AppendMessage(b, 2, searchOp(people, 2), message.AppendControls(nil, c)))
	}
	return all
}

// FuzzSession: whatever a client says, in clear or as a proved user under TLS, the
// server sees operations under his rights only, each with the control that says so;
// the connection ends, nothing panics and nothing stays behind.
func FuzzSession(f *testing.F) {
	for _, s := range sessions() {
		f.Add(s, false)
		f.Add(s, true)
	}
	cert := userCert("rick@partner.test")
	f.Fuzz(func(t *testing.T, said []byte, secure bool) {
		w := newWorld(t)
		ours, theirs := net.Pipe()
		listener := "ldap"
		if secure {
			listener = "ldaps"
		}
		w.conns[listener] <- from{theirs, net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:1000"))}
		_ = ours.SetDeadline(time.Now().Add(5 * time.Second))
		conn := net.Conn(ours)
		if secure {
			s := tls.Client(ours, clientConfig(cert))
			if err := s.Handshake(); err != nil {
				t.Fatal(err)
			}
			conn = s
		}
		read := make(chan struct{})
		go func() {
			defer close(read)
			readAll(conn)
		}()
		_, _ = conn.Write(said)
		// A request that is cut off has its end here; what came before has been served.
		_, _ = conn.Write(message.AppendMessage(nil, 1<<30, message.UnbindOp(), nil))
		end := time.AfterFunc(20*time.Millisecond, func() { ours.Close() }) // what waits for the rest of a message
		<-read
		end.Stop()
		ours.Close()
		w.shut()
		checkSeen(t, w, secure)
		if log := w.log.take(); strings.Contains(log, "panic") {
			t.Error(log)
		}
	})
}

// readAll reads whole messages up to the end; in clear a handshake may begin.
func readAll(r io.Reader) {
	in := bufio.NewReader(r)
	for {
		if _, err := message.Read(in, message.Limits{Bytes: 1 << 20}); err != nil {
			_, _ = io.Copy(io.Discard, in)
			return
		}
	}
}

// checkSeen: what the server has seen, without going through synctest.
func checkSeen(t *testing.T, w *world, secure bool) {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	for _, m := range w.server.seen {
		if m.Tag() == message.AbandonRequest || m.Tag() == message.UnbindRequest || bytes.Contains(m.Op, []byte(message.OIDCancel)) {
			continue
		}
		controls, err := message.ParseControls(m.Controls)
		if err != nil {
			t.Fatal(err)
		}
		var as []string
		for _, c := range controls {
			switch {
			case c.OID == message.OIDProxiedAuth && c.Critical && c.HasValue:
				as = append(as, string(c.Value))
			case !passed[c.OID]:
				t.Errorf("control %q got through", c.OID)
			}
		}
		root := m.Tag() == message.SearchRequest && len(as) == 1 && as[0] == "" // the bridge asks for the root DSE as nobody
		if !root && (len(as) != 1 || as[0] != rickDN || !secure || leaveFor[m.Tag()] == 0 && m.Tag() != message.ExtendedRequest) {
			t.Errorf("%v got through as %q", m.Tag(), as)
		}
		if !root && m.Tag() != message.SearchRequest && m.Tag() != message.CompareRequest {
			t.Errorf("%v got through, which no rule has", m.Tag())
		}
	}
}
