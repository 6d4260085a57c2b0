package directory

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"dancemta/internal/lab"
	"dancemta/internal/mailaddr"
)

func mailbox(s string) mailaddr.Address { return mailaddr.MustParse(s + "@example.org") }

// TestReconnects: a server that has closed an idle connection has not failed.
func TestReconnects(t *testing.T) {
	f := newFake(t, finding(entry(rickDN)))
	d := newDirectory(t, Options{Cache: time.Nanosecond}, f)
	for range breakerFailures + 2 {
		if ok, err := d.Exists(t.Context(), mailbox("rick")); !ok || err != nil {
			t.Fatalf("%v, %v", ok, err)
		}
		f.hangUp()
	}
	if ever, _ := f.connections(); ever != breakerFailures+2 {
		t.Errorf("%d connections", ever)
	}
	for _, got := range f.asked() {
		if !strings.HasPrefix(got, "bind EXTERNAL") && !strings.HasPrefix(got, "search") {
			t.Errorf("asked %s", got)
		}
	}
}

// TestPoolIsBounded: never more connections than were allowed, however many ask.
func TestPoolIsBounded(t *testing.T) {
	f := newFake(t, finding(entry(rickDN)))
	d := newDirectory(t, Options{Connections: 2, Cache: time.Nanosecond}, f)
	var wait sync.WaitGroup
	for range 30 {
		wait.Go(func() {
			for _, who := range "abcdefgh" {
				if ok, err := d.Exists(t.Context(), mailbox(string(who))); !ok || err != nil {
					t.Errorf("%v, %v", ok, err)
				}
			}
		})
	}
	wait.Wait()
	if ever, most := f.connections(); most > 2 || ever > 2 {
		t.Errorf("%d connections, %d at once", ever, most)
	}
	d.Close()
	if ok, err := d.Exists(t.Context(), mailbox("z")); !ok || err != nil {
		t.Errorf("after Close: %v, %v", ok, err)
	}
}

// TestSilence: a server that says nothing keeps nobody longer than the timeout, and
// soon nobody asks it at all until a pause is over.
func TestSilence(t *testing.T) {
	var mu sync.Mutex
	now, silent := time.Unix(1000, 0), true
	f := newFake(t, func(r request) []*ber.Packet {
		mu.Lock()
		defer mu.Unlock()
		if silent && r.op == "search" {
			return nil
		}
		return finding(entry(rickDN))(r)
	})
	log := &strings.Builder{}
	d := newDirectory(t, Options{Timeout: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil)),
		Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }}, f)
	ask := func(who string) error {
		_, err := d.Exists(t.Context(), mailbox(who))
		return err
	}
	for i, who := range []string{"a", "b", "c"} {
		begin := time.Now()
		isTrouble(t, who, ask(who))
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("question %d took %v", i, took)
		}
	}
	ever, _ := f.connections()
	for _, who := range []string{"d", "e"} {
		if err := ask(who); !errors.Is(err, errNoServer) {
			t.Errorf("while the breaker is open: %v", err)
		}
	}
	if again, _ := f.connections(); again != ever || ever != 3 {
		t.Errorf("%d connections, then %d", ever, again)
	}
	mu.Lock()
	now = now.Add(breakerPause)
	mu.Unlock()
	isTrouble(t, "the one that tries", ask("f"))
	if err := ask("g"); !errors.Is(err, errNoServer) {
		t.Errorf("after a try that failed: %v", err)
	}
	mu.Lock()
	now, silent = now.Add(breakerPause), false
	mu.Unlock()
	for _, who := range []string{"h", "i", "a"} {
		if err := ask(who); err != nil {
			t.Errorf("%s: %v", who, err)
		}
	}
	if got := log.String(); strings.Count(got, "does not answer") != 1 || strings.Count(got, "answers again") != 1 {
		t.Errorf("the log is %s", got)
	}
}

// TestOneTries: while the breaker is open one question at a time goes through it.
func TestOneTries(t *testing.T) {
	now := time.Unix(1000, 0)
	b := &breaker{now: func() time.Time { return now }}
	for i := range breakerFailures {
		if !b.allow() {
			t.Fatalf("question %d is not allowed", i)
		}
		if opened := b.done(false); opened != (i == breakerFailures-1) {
			t.Errorf("failure %d: opened %v", i, opened)
		}
	}
	if b.allow() {
		t.Error("allowed at once")
	}
	now = now.Add(breakerPause)
	if !b.allow() || b.allow() {
		t.Error("not one try")
	}
	if b.done(false) || b.allow() {
		t.Error("a failed try closed it")
	}
	now = now.Add(breakerPause)
	if !b.allow() || !b.done(true) || !b.allow() || !b.allow() {
		t.Error("a good try did not close it")
	}
}

// TestPanicIsAFailure: one at what a server answered leaves no try open, no place taken
// and no connection behind.
func TestPanicIsAFailure(t *testing.T) {
	f := newFake(t, finding(entry(rickDN)))
	d := newDirectory(t, Options{Connections: 1, Cache: time.Nanosecond}, f)
	for range breakerFailures {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic got lost")
				}
			}()
			d.searches.do(t.Context(), func(*conn) error { panic("x") })
		}()
	}
	if _, err := d.Exists(t.Context(), mailbox("rick")); !errors.Is(err, errNoServer) {
		t.Errorf("%v", err)
	}
	if ever, _ := f.connections(); ever != breakerFailures || d.searches.gate.Len() != 0 {
		t.Errorf("%d connections, %d places taken", ever, d.searches.gate.Len())
	}
}

// sessions is where a panic in a handshake comes from.
type sessions struct{ tls.ClientSessionCache }

func (sessions) Get(string) (*tls.ClientSessionState, bool) { panic("x") }

// TestPanicAtTheDoor: one in the handshake is a failure, too, also that of the one try
// while the breaker is open.
func TestPanicAtTheDoor(t *testing.T) {
	f := newFakeTLS(t, true, &tls.Config{})
	f.server.TLS = &tls.Config{ServerName: "ldap.test", ClientSessionCache: sessions{}}
	now := time.Unix(1000, 0)
	d := newDirectory(t, Options{Now: func() time.Time { return now }}, f)
	panics := func() (did bool) {
		defer func() { did = recover() != nil }()
		d.searches.do(t.Context(), func(*conn) error { return nil })
		return
	}
	for i := range breakerFailures {
		if !panics() {
			t.Fatalf("question %d was not asked", i)
		}
	}
	for range 2 {
		if panics() {
			t.Error("while the breaker is open the server is asked")
		}
		if now = now.Add(breakerPause); !panics() {
			t.Error("after the pause nobody tries the server again")
		}
	}
}

// TestNextServer: the second server answers for the first.
func TestNextServer(t *testing.T) {
	gone := &fake{server: Server{Network: "unix", Address: t.TempDir() + "/gone"}}
	f := newFake(t, finding(entry(rickDN)))
	d := newDirectory(t, Options{}, gone, f)
	if ok, err := d.Exists(t.Context(), mailbox("rick")); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	d = newDirectory(t, Options{}, gone)
	_, err := d.Exists(t.Context(), mailbox("rick"))
	if isTrouble(t, "no server", err); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v does not say why", err)
	}
}

// TestTLS: both ways into TLS, each verified by roots and by name before we say who we
// are, and never without.
func TestTLS(t *testing.T) {
	ca, other := lab.NewCA("directory", lab.CAOptions{}), lab.NewCA("other", lab.CAOptions{})
	server := ca.Issue(lab.LeafOptions{Names: []string{"ldap.test"}}).TLSCertificate()
	ours := ca.Issue(lab.LeafOptions{CommonName: "dancemta"}).TLSCertificate()
	roots := func(ca *lab.CA) *x509.CertPool {
		p := x509.NewCertPool()
		p.AddCert(ca.Certificate)
		return p
	}
	for _, implicit := range []bool{false, true} {
		for name, c := range map[string]struct {
			roots *x509.CertPool
			name  string
			bind  Bind
			asked []string // nil: trouble, and nothing
		}{
			"EXTERNAL":    {roots(ca), "ldap.test", Bind{}, []string{"bind EXTERNAL dancemta"}},
			"simple":      {roots(ca), "ldap.test", Bind{"cn=us", "secret"}, []string{"bind cn=us secret"}},
			"other roots": {roots(other), "ldap.test", Bind{"cn=us", "secret"}, nil},
			"other name":  {roots(ca), "evil.test", Bind{"cn=us", "secret"}, nil},
		} {
			f := newFakeTLS(t, implicit, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert})
			f.server.TLS = &tls.Config{RootCAs: c.roots, ServerName: c.name, MinVersion: tls.VersionTLS12,
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &ours, nil }}
			d := newDirectory(t, Options{Bind: c.bind}, f)
			_, err := d.Exists(t.Context(), mailbox("rick"))
			var want []string
			if !implicit {
				want = []string{"starttls"}
			}
			if c.asked == nil {
				isTrouble(t, name, err)
			} else if want = append(append(want, c.asked...), "search ou=people,dc=example,dc=org (mail=rick@example.org)"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			f.mu.Lock()
			for _, r := range f.got {
				if !r.secure && r.op != "starttls" {
					t.Errorf("%s: %s in clear", name, r)
				}
			}
			f.mu.Unlock()
			same(t, name, f.asked(), want)
		}
	}
}

// TestNoStartTLS: a server, or whoever stands before it, that will not begin TLS hears
// nothing of us.
func TestNoStartTLS(t *testing.T) {
	f := newFakeTLS(t, false, nil, func(f *fake) {
		f.answer = func(r request) []*ber.Packet { return []*ber.Packet{code(r.op, 52)} }
	})
	f.server.TLS = &tls.Config{ServerName: "ldap.test", MinVersion: tls.VersionTLS12}
	d := newDirectory(t, Options{Bind: Bind{"cn=us", "secret"}, Timeout: time.Second}, f)
	isTrouble(t, "no StartTLS", d.CheckPassword(t.Context(), user(t, "rick@example.org"), password(t, "secret")))
	same(t, "asked", f.asked(), []string{"starttls"})
}

// TestSilentBeginnings: nor does a server that says nothing before there is anything to
// ask keep anybody.
func TestSilentBeginnings(t *testing.T) {
	for name, c := range map[string]struct {
		implicit bool
		answers  map[string]bool
	}{
		"StartTLS":  {false, nil},
		"handshake": {false, map[string]bool{"starttls": true}},
		"TLS":       {true, nil},
	} {
		f := newFakeTLS(t, c.implicit, nil, func(f *fake) {
			f.stall = true
			f.answer = func(r request) []*ber.Packet {
				if c.answers[r.op] {
					return usual(r)
				}
				return nil
			}
		})
		f.server.TLS = &tls.Config{ServerName: "ldap.test", MinVersion: tls.VersionTLS12}
		begin := time.Now()
		_, err := newDirectory(t, Options{Timeout: 50 * time.Millisecond}, f).Exists(t.Context(), mailbox("rick"))
		if isTrouble(t, name, err); time.Since(begin) > 5*time.Second {
			t.Errorf("%s: after %v", name, time.Since(begin))
		}
	}
	f := newFake(t, func(request) []*ber.Packet { return nil })
	_, err := newDirectory(t, Options{Timeout: 50 * time.Millisecond}, f).Exists(t.Context(), mailbox("rick"))
	isTrouble(t, "bind", err)
}

func TestProbe(t *testing.T) {
	found := finding(entry("ou=people,dc=example,dc=org"))
	for name, c := range map[string]struct {
		answer func(request) []*ber.Packet
		base   string
		says   string // "": it is well
	}{
		"good":    {found, "ou={domain},ou=people,dc=example,dc=org", ""},
		"nothing": {usual, "ou=people,dc=example,dc=org", `search "ou=people,dc=example,dc=org": nothing that we may see: compare directory.base`},
		"hidden": {func(r request) []*ber.Packet {
			if r.op == "bind" {
				return usual(r)
			}
			return []*ber.Packet{code(r.op, 32)}
		}, "ou=people,dc=example,dc=org", `search "ou=people,dc=example,dc=org": No Such Object (32): `},
		"our bind":        {func(r request) []*ber.Packet { return []*ber.Packet{code(r.op, 49)} }, "ou=people,dc=example,dc=org", `no directory server answers; `},
		"the words of it": {func(r request) []*ber.Packet { return []*ber.Packet{code(r.op, 49)} }, "ou=people,dc=example,dc=org", `: compare directory.bind_dn`},
	} {
		f := newFake(t, c.answer)
		err := newDirectory(t, Options{Base: c.base}, f).Probe(t.Context())
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v", name, err)
		}
		if asked := f.asked(); c.says == "" {
			same(t, name, asked, []string{"bind EXTERNAL ", "search ou=people,dc=example,dc=org (objectClass=*)"})
		}
	}
}
