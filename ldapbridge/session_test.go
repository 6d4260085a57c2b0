package ldapbridge

import (
	"context"
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/ldapbridge/message"
	"dancemta/ldapbridge/upstream"
)

func startTLS() []byte { return message.ExtendedOp(message.OIDStartTLS, nil) }

// upgrade does StartTLS in clear, and the handshake.
func (c *client) upgrade(cert *tls.Certificate) {
	c.t.Helper()
	c.last++
	go c.raw.Write(message.AppendMessage(nil, c.last, startTLS(), nil))
	b := make([]byte, 512)
	n, err := c.raw.Read(b)
	if err != nil {
		c.t.Fatal(err)
	}
	m, err := read(b[:n])
	if err != nil || m.ID != c.last {
		c.t.Fatalf("%+v, %v", m, err)
	}
	if r, err := message.ParseResult(m.Op); err != nil || r.Code != 0 || r.OID != message.OIDStartTLS {
		c.t.Fatalf("%+v, %v", r, err)
	}
	c.secure(cert)
}

// TestStartTLS: the way of RFC 4511 4.14, and who has walked it.
func TestStartTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.dial("ldap")
		client.upgrade(userCert("rick@partner.test"))
		if got := client.whoAmI(); got != "" {
			t.Errorf("TLS alone made him %q", got)
		}
		if got := client.bind(nil); got != 0 {
			t.Error(got)
		}
		if got := client.code(startTLS()); got != message.OperationsError {
			t.Errorf("a second time: %v", got)
		}
		if got := client.whoAmI(); got != "u:rick@partner.test" {
			t.Errorf("after a second StartTLS: %q", got)
		}
		client.close()
		w.shut()
	})
}

// TestStartTLSLeftovers: what stands behind the request in clear is never run.
func TestStartTLSLeftovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.dial("open").listen()
		octets := message.AppendMessage(nil, 1, startTLS(), nil)
		client.write(message.AppendMessage(octets, 2, searchOp(people, 2), nil))
		if closed, code := client.isClosed(); !closed || code != -1 {
			t.Errorf("closed: %v, notice %v", closed, code)
		}
		if got := w.server.take() + w.events.take(); got != "injection behind starttls" {
			t.Error(got)
		}
		client.close()
		w.shut()
	})
}

// TestStartTLSRefused: not with operations outstanding, nor with a value.
func TestStartTLSRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.dial("open").listen()
		if got := client.code(message.ExtendedOp(message.OIDStartTLS, []byte("x"))); got != message.ProtocolError {
			t.Errorf("with a value: %v", got)
		}
		if got := client.code(startTLS(), control("1.2.3", true)); got != message.UnavailableCriticalExtension {
			t.Errorf("with a control: %v", got)
		}
		w.server.say(func(s *server) { s.silent = true })
		client.send(searchOp(people, 2))
		if got := client.code(startTLS()); got != message.OperationsError {
			t.Errorf("with a search outstanding: %v", got)
		}
		client.close()
		w.shut()
	})
}

// TestNoWayBack: after a handshake that failed nothing is read in clear.
func TestNoWayBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.dial("open")
		go client.raw.Write(message.AppendMessage(nil, 1, startTLS(), nil))
		b := make([]byte, 512)
		if _, err := client.raw.Read(b); err != nil {
			t.Fatal(err)
		}
		client.listen()
		client.write(message.AppendMessage(nil, 2, searchOp(people, 2), nil))
		if closed, _ := client.isClosed(); !closed || w.server.take() != "" || w.events.take() != "handshake failed" {
			t.Error("still open")
		}
		client.close()
		w.shut()
	})
}

// TestNotLDAP: what cannot be read ends the connection, after a notice.
func TestNotLDAP(t *testing.T) {
	for _, c := range []struct {
		name   string
		octets []byte
		event  string
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), "malformed message"},
		{"no end", []byte("\x30\x80"), "malformed message"},
		{"too large", []byte("\x30\x84\x7f\xff\xff\xff"), "message over a limit"},
		{"too deep", message.AppendMessage(nil, 1, []byte(deep(200)), nil), "message over a limit"},
		{"ID 0", message.AppendMessage(nil, 0, searchOp("", 0), nil), "malformed message"},
		{"a reply", message.AppendResult(nil, 1, message.SearchDone, message.Result{}), "malformed message"},
		{"an unknown operation", message.AppendMessage(nil, 1, []byte(element(0x7d)), nil), "malformed message"},
		{"delete, but constructed", message.AppendMessage(nil, 1, []byte(element(0x6a, element(4, "cn=x"))), nil), "malformed message"},
		{"abandon of nothing", message.AppendMessage(nil, 1, []byte("\x50\x00"), nil), "malformed message"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			client := w.bound("boss@other.test")
			client.write(c.octets)
			if closed, code := client.isClosed(); !closed || code != message.ProtocolError {
				t.Errorf("%s: closed: %v, notice %v", c.name, closed, code)
			}
			if got := w.events.take(); got != c.event || w.server.take() != "" {
				t.Errorf("%s: %q", c.name, got)
			}
			client.close()
			w.shut()
		})
	}
}

func deep(n int) string {
	s := element(0x87, "uid")
	for range n {
		s = element(0xa2, s)
	}
	return element(0x63, s)
}

// TestSyntax: what is LDAP, and yet cannot be read, is refused and no more.
func TestSyntax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.bound("boss@other.test")
		if got := client.code([]byte(element(0x63, "\x0a\x01\x00"))); got != message.ProtocolError {
			t.Errorf("a search: %v", got)
		}
		for _, op := range []string{
			element(0x63, element(4, people), "\x0a\x01\x02\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00", element(0xa3, element(4, "uid")), element(0x30)), // an assertion without a value
			element(0x63, element(4, people), "\x0a\x01\x02\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00", element(0x87, "uid"), element(0x30), element(0xa0)),
			element(0x6e, element(4, people), element(0x30, element(4, "uid"), element(4, "x")), element(4, "x")),
			element(0x6c, element(4, "cn=x"), element(4, "cn=y")),
		} {
			if got := client.code([]byte(op)); got != message.ProtocolError {
				t.Errorf("% x: %v", op, got)
			}
		}
		client.last++
		client.write(message.AppendMessage(nil, client.last, compareOp(people), []byte(element(0xa0, "\x04\x00"))))
		if got := client.take(); len(got) != 1 || got[0].Tag() != message.CompareResponse {
			t.Errorf("controls that are none: %+v", got)
		}
		if got := client.code(compareOp(people), control(message.OIDPreRead, false, "x"), control(message.OIDPreRead, false, "y")); got != message.ProtocolError {
			t.Errorf("a control twice: %v", got)
		}
		if got := w.server.take(); got != "" {
			t.Error(got)
		}
		client.close()
		w.shut()
	})
}

// TestUnbind: the connection ends without a word, and the server keeps its own.
func TestUnbind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.bound("rick@partner.test")
		client.code(searchOp(people, 2))
		client.send(message.UnbindOp())
		if closed, code := client.isClosed(); !closed || code != -1 {
			t.Error(closed, code)
		}
		if got := w.pool.Stats(); got != (upstream.Stats{Idle: 1}) {
			t.Errorf("%+v", got)
		}
		client.close()
		w.shut()
	})
}

// TestLeases: a client has his connection from the first operation until he is idle,
// or until his paged search is over or forgotten.
func TestLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.bound("rick@partner.test")
		if got := w.pool.Stats(); got.Leased != 0 {
			t.Errorf("after the bind: %+v", got)
		}
		client.code(searchOp(people, 2))
		time.Sleep(29 * time.Second)
		if got := w.pool.Stats(); got.Leased != 1 {
			t.Errorf("before it is idle: %+v", got)
		}
		time.Sleep(2 * time.Second)
		if got := w.pool.Stats(); got.Leased != 0 || got.Idle != 1 {
			t.Errorf("idle: %+v", got)
		}
		w.server.say(func(s *server) {
			s.handle = func(m message.Message, write func([]byte) error) bool {
				r := message.AppendResult(nil, m.ID, message.SearchDone, message.Result{})
				done, _ := read(r)
				write(message.AppendMessage(nil, m.ID, done.Op, message.AppendControls(nil, control(message.OIDPagedResults, false, element(0x30, "\x02\x01\x00", element(4, "cookie"))))))
				return true
			}
		})
		client.code(searchOp(people, 2), control(message.OIDPagedResults, true, element(0x30, "\x02\x01\x0a", element(4))))
		time.Sleep(time.Minute)
		if got := w.pool.Stats(); got.Leased != 1 {
			t.Errorf("with a paged search: %+v", got)
		}
		time.Sleep(5 * time.Minute)
		if got := w.pool.Stats(); got.Leased != 0 {
			t.Errorf("with a forgotten one: %+v", got)
		}
		client.close()
		w.shut()
	})
}

// TestDrain: the idle are told at once, the others when they have what they asked for.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var finish func() error
		w.server.say(func(s *server) {
			s.handle = func(m message.Message, write func([]byte) error) bool {
				finish = func() error { return s.reply(m, write) }
				return true
			}
		})
		idle, busy := w.bound("rick@partner.test"), w.bound("boss@other.test")
		id := busy.send(searchOp(people, 2))
		drained := make(chan error, 1)
		go func() { drained <- w.srv.Drain(context.Background()) }()
		synctest.Wait()
		if closed, code := idle.isClosed(); !closed || code != message.Unavailable {
			t.Errorf("idle: closed %v, %v", closed, code)
		}
		if closed, _ := busy.isClosed(); closed {
			t.Error("busy: closed")
		}
		if got := busy.code(searchOp(people, 2)); got != message.Unavailable {
			t.Errorf("a new one: %v", got)
		}
		if err := finish(); err != nil {
			t.Fatal(err)
		}
		got := busy.take()
		if len(got) != 3 || got[1].ID != id || got[1].Tag() != message.SearchDone || got[2].ID != 0 {
			t.Errorf("busy: %+v", got)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
		idle.close()
		busy.close()
		w.shut()
	})
}

// TestDrainIsBounded: a client that never ends does not hold up the stop.
func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.say(func(s *server) { s.silent = true })
		client := w.bound("rick@partner.test")
		client.send(searchOp(people, 2))
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		if err := w.srv.Drain(ctx); err == nil || time.Since(begin) > 12*time.Second {
			t.Error(err, time.Since(begin))
		}
		client.close()
		w.shut()
	})
}

// TestTimes: silence, slowness and age have their ends.
func TestTimes(t *testing.T) {
	anonymous := func(w *world) *client { return w.dial("ldap").listen() }
	rick := func(w *world) *client { return w.bound("rick@partner.test") }
	for _, c := range []struct {
		name   string
		client func(w *world) *client
		say    string
		after  time.Duration
		code   message.Code
		event  string
	}{
		{"anonymous", anonymous, "", time.Minute, message.Unavailable, "idle timeout"},
		{"bound", rick, "", 15 * time.Minute, message.Unavailable, "idle timeout"},
		{"in a request", rick, "\x30\x20\x02\x01", 30 * time.Second, -1, "slow request"},
		{"silent under ldaps", func(w *world) *client { return w.dial("ldaps").listen() }, "", 10 * time.Second, -1, "handshake failed"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			client := c.client(w)
			client.write([]byte(c.say))
			time.Sleep(c.after - time.Second)
			if closed, _ := client.isClosed(); closed {
				t.Errorf("%s: closed too soon", c.name)
			}
			time.Sleep(2 * time.Second)
			if closed, code := client.isClosed(); !closed || code != c.code {
				t.Errorf("%s: closed: %v, notice %v", c.name, closed, code)
			}
			if got := w.events.take(); got != c.event {
				t.Errorf("%s: %q", c.name, got)
			}
			client.close()
			w.shut()
		})
	}
}

// TestAge: a connection ends, be it ever so busy.
func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.Limits.Connection = time.Hour })
		client := w.bound("rick@partner.test")
		for range 6 {
			time.Sleep(9 * time.Minute)
			if got := client.code(compareOp(people)); got != 0 {
				t.Error(got)
			}
		}
		time.Sleep(7 * time.Minute)
		if closed, code := client.isClosed(); !closed || code != message.Unavailable || !strings.HasSuffix(w.events.take(), ", connection timeout") {
			t.Error(closed, code)
		}
		client.close()
		w.shut()
	})
}

// TestRefusedOften: who is refused again and again is let go.
func TestRefusedOften(t *testing.T) {
	for _, c := range []struct {
		op []byte
		n  int
	}{{bindOp("EXTERNAL", text("u:boss@other.test")), 10}, {modifyOp(people), 100}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			client := w.bound("rick@partner.test")
			for range c.n - 1 {
				client.code(c.op)
			}
			if closed, _ := client.isClosed(); closed {
				t.Error("closed too soon")
			}
			client.send(c.op)
			if closed, code := client.isClosed(); !closed || code != message.UnwillingToPerform {
				t.Error(closed, code)
			}
			client.close()
			w.shut()
		})
	}
}

// TestRootDSE: what it says depends on who asks, and how.
func TestRootDSE(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.say(func(s *server) {
			s.handle = func(m message.Message, write func([]byte) error) bool {
				search, err := message.ParseSearch(m.Op)
				if err != nil || len(search.Base) > 0 {
					return false
				}
				write(message.AppendEntry(nil, m.ID, "", []message.Attribute{
					{Name: "namingContexts", Values: []string{"dc=example,dc=test"}},
					{Name: "subschemaSubentry", Values: []string{"cn=Subschema"}},
					{Name: "supportedSASLMechanisms", Values: []string{"GSSAPI"}}}, false))
				write(message.AppendResult(nil, m.ID, message.SearchDone, message.Result{}))
				return true
			}
		})
		clear := w.dial("ldap").listen()
		none, rick := w.ldaps(nil), w.bound("rick@partner.test")
		for _, c := range []struct {
			client *client
			wanted []string
			want   string
		}{
			{clear, nil, "objectClass"},
			{clear, []string{"*"}, "objectClass"},
			{clear, []string{"1.1"}, ""},
			{clear, []string{"SUPPORTEDextension"}, "supportedExtension=1.3.6.1.1.8=1.3.6.1.4.1.1466.20037=1.3.6.1.4.1.4203.1.11.3"},
			{clear, []string{"supportedSASLMechanisms"}, ""},
			{none, []string{"supportedSASLMechanisms"}, ""},
			{rick, []string{"supportedSASLMechanisms"}, "supportedSASLMechanisms=EXTERNAL"},
			{rick, []string{"supportedExtension"}, "supportedExtension=1.3.6.1.1.8=1.3.6.1.4.1.4203.1.11.3"},
			{none, []string{"namingContexts", "subschemaSubentry"}, "namingContexts=dc=example,dc=test subschemaSubentry=cn=Subschema"},
			{none, []string{"+", "*"}, "objectClass supportedLDAPVersion supportedControl supportedExtension vendorName namingContexts subschemaSubentry"},
		} {
			c.client.send(searchOp("", 0, c.wanted...))
			got := c.client.take()
			if len(got) != 2 {
				t.Fatalf("%v: %d messages", c.wanted, len(got))
			}
			e, err := message.ParseEntry(got[0].Op)
			if err != nil || e.DN != "" {
				t.Error(e, err)
			}
			var words []string
			for _, a := range e.Attributes {
				word := a.Name
				if len(c.wanted) > 0 && c.wanted[0] != "*" && c.wanted[0] != "+" {
					slices.Sort(a.Values)
					word += "=" + strings.Join(a.Values, "=")
				}
				words = append(words, word)
			}
			if got := strings.Join(words, " "); got != c.want {
				t.Errorf("%v: %s, want %s", c.wanted, got, c.want)
			}
		}
		if got := w.server.take(); got != "search" {
			t.Errorf("the server was asked %q", got)
		}
		for _, c := range []*client{clear, none, rick} {
			c.close()
		}
		w.shut()
	})
}

// TestRequire: where a certificate is required there is no TLS without one.
func TestRequire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.dial("strict")
		s := tls.Client(c.raw, clientConfig(nil))
		err := s.Handshake()
		if err == nil {
			_, err = s.Read(make([]byte, 1))
		}
		if err == nil || !strings.Contains(err.Error(), "certificate required") {
			t.Error(err)
		}
		c.close()
		w.shut()
	})
}
