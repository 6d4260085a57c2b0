package submit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/internal/mailaddr"
	"dancemta/queue/deliver/smtpclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is a signed DNS and a relay, which is called by many names.
type stage struct {
	world    *lab.World
	ca       *lab.CA
	sink     *lab.Sink
	port     uint16
	resolver *dnssec.Resolver

	mu    sync.Mutex
	dials int
	verbs []string
	notes []string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{world: lab.NewWorld(time.Now()), ca: lab.NewCA("relay CA", lab.CAOptions{})}
	own := s.ca.Issue(lab.LeafOptions{Names: []string{"good.relay.test", "ca.relay.test", "mx.unsigned.test", "none.relay.test", "alias.test"}})
	cert := own.TLSCertificate()
	sink, err := lab.StartSink("127.0.0.1:0", lab.SinkOptions{Certificate: &cert})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sink.Close)
	s.sink, s.port = sink, netip.MustParseAddrPort(sink.Addr()).Port()
	sink.Answer(func(c lab.Command) string {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.verbs = append(s.verbs, c.Verb)
		return ""
	})
	s.addZones(own)
	server, err := s.world.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	anchors, err := dnssec.ParseAnchors(s.world.Anchor())
	if err != nil {
		t.Fatal(err)
	}
	if s.resolver, err = dnssec.New(dnssec.Options{Upstreams: []string{server.Addr()}, Anchors: anchors}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.resolver.Close() })
	return s
}

// addZones publishes the relay under names that deserve trust, and others.
func (s *stage) addZones(own lab.Credential) {
	at := func(host string) string { return fmt.Sprintf("_%d._tcp.%s ", s.port, host) }
	right := lab.TLSA(3, 1, 1, own.Leaf())
	wrong := lab.TLSA(3, 1, 1, lab.SelfSigned(lab.LeafOptions{}).Leaf())
	hosts := []string{"good A 127.0.0.1", "ca A 127.0.0.1", "other A 127.0.0.1", "wrong A 127.0.0.1", "none A 127.0.0.1", "pkix A 127.0.0.1"}
	s.world.AddZone("test.", lab.ZoneOptions{})
	s.world.AddZone("relay.test.", lab.ZoneOptions{}).Add(append(hosts,
		at("good")+right, at("wrong")+wrong, at("pkix")+lab.TLSA(1, 1, 1, own.Leaf()),
		at("ca")+lab.TLSA(2, 0, 1, s.ca.Certificate), at("other")+lab.TLSA(2, 0, 1, s.ca.Certificate),
	)...)
	s.world.AddZone("good.test.", lab.ZoneOptions{}).Add("@ MX 10 good.relay.test.")
	s.world.AddZone("alias.test.", lab.ZoneOptions{}).Add("@ MX 10 other.relay.test.")
	s.world.AddZone("second.test.", lab.ZoneOptions{}).Add("@ MX 20 good.relay.test.", "@ MX 10 wrong.relay.test.")
	s.world.AddZone("away.test.", lab.ZoneOptions{}).Add("@ MX 10 mx.unsigned.test.")
	s.world.AddZone("null.test.", lab.ZoneOptions{}).Add("@ MX 0 .")
	s.world.AddZone("nomx.test.", lab.ZoneOptions{}).Add("@ A 127.0.0.1", at("@")+right)
	s.world.AddZone("unsigned.test.", lab.ZoneOptions{Unsigned: true}).Add(
		"@ MX 10 good.relay.test.", "mx A 127.0.0.1", at("mx")+right)
	s.world.AddZone("bogus.test.", lab.ZoneOptions{Fault: lab.BrokenSignatures}).Add(
		"@ MX 10 good.relay.test.", "mx A 127.0.0.1", at("mx")+right)
}

func (s *stage) options(change func(*Options)) Options {
	s.mu.Lock()
	s.dials, s.verbs, s.notes = 0, nil, nil
	s.mu.Unlock()
	o := Options{
		Resolver: s.resolver, Hostname: dnsname.MustParse("me.test"), Port: s.port,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			s.mu.Lock()
			s.dials++
			s.mu.Unlock()
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
		Note: func(text string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.notes = append(s.notes, text)
		},
	}
	change(&o)
	return o
}

func relay(host string) func(*Options) {
	return func(o *Options) { o.Relay = dnsname.MustParse(host) }
}

func domain(name string) func(*Options) {
	return func(o *Options) { o.Domain = dnsname.MustParse(name) }
}

func mail(text string, to ...string) smtpclient.Message {
	m := smtpclient.Message{
		Sender: mailaddr.MustParse("a@example.test"), Size: int64(len(text)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
	}
	for _, s := range to {
		m.Recipients = append(m.Recipients, smtpclient.Recipient{Address: mailaddr.MustParse(s)})
	}
	return m
}

// one sends to one recipient.
func one(t *testing.T, o Options) error {
	t.Helper()
	all, err := Send(t.Context(), o, mail("x\r\n", "b@b.test"))
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	if (all[0].Reply.Code == 250) != (all[0].Err == nil) {
		t.Errorf("%+v", all[0])
	}
	return all[0].Err
}

// Which relay gets the message, and which does not even learn of one.
func TestRelayIsProved(t *testing.T) {
	s := newStage(t)
	roots := x509.NewCertPool()
	roots.AddCert(s.ca.Certificate)
	withCA := func(change func(*Options)) func(*Options) {
		return func(o *Options) {
			change(o)
			o.Roots = roots
		}
	}
	for _, c := range []struct {
		name  string
		to    func(*Options)
		want  string // of the error; "": sent
		dials int
	}{
		{"usage 3", relay("good.relay.test"), "", 1},
		{"usage 2, whose name the certificate has", relay("ca.relay.test"), "", 1},
		{"usage 2, another name", relay("other.relay.test"), "name-mismatch", 1},
		{"another key", relay("wrong.relay.test"), "no-match", 1},
		{"another key, though a CA is trusted", withCA(relay("wrong.relay.test")), "no-match", 1},
		{"no records", relay("none.relay.test"), "no-record", 0},
		{"no records, and a CA is trusted", withCA(relay("none.relay.test")), "", 1},
		{"none that is usable", relay("pkix.relay.test"), "unusable", 0},
		{"a zone that is not signed", relay("mx.unsigned.test"), "insecure", 0},
		{"a zone that is not signed, and a CA is trusted", withCA(relay("mx.unsigned.test")), "", 1},
		{"wrong signatures", relay("mx.bogus.test"), "bogus-dns", 0},
		{"wrong signatures, though a CA is trusted", withCA(relay("mx.bogus.test")), "bogus-dns", 0},
		{"no such host", relay("gone.relay.test"), "no-record", 0},

		{"MX", domain("good.test"), "", 1},
		{"MX, usage 2, the certificate has the domain's name", domain("alias.test"), "", 1},
		{"the second MX", domain("second.test"), "", 2},
		{"an MX that is not signed", domain("away.test"), "insecure", 0},
		{"MX records that are not signed", domain("unsigned.test"), ErrInsecure.Error(), 0},
		{"MX records that are not signed, though a CA is trusted", withCA(domain("unsigned.test")), ErrInsecure.Error(), 0},
		{"wrong signatures at the MX records", domain("bogus.test"), "lookup bogus.test MX: bogus", 0},
		{"null MX", domain("null.test"), ErrNoMX.Error(), 0},
		{"no MX", domain("nomx.test"), ErrNoMX.Error(), 0},
		{"no such domain", domain("gone.test"), ErrNoMX.Error(), 0},
	} {
		err := one(t, s.options(c.to))
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || Permanent(err)) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		s.mu.Lock()
		said := strings.Join(s.verbs, " ")
		if s.dials != c.dials || strings.Contains(said, "MAIL") != (c.want == "") {
			t.Errorf("%s: dialled %d times, it was told %s", c.name, s.dials, said)
		}
		s.mu.Unlock()
	}
}

// The relay sees our certificate in TLS 1.3 only.
func TestOwnCertificate(t *testing.T) {
	s := newStage(t)
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"sensor7._device.example.test"}})
	pair := own.TLSCertificate()
	to := relay("good.relay.test")
	if err := one(t, s.options(to)); err != nil {
		t.Fatal(err)
	}
	if err := one(t, s.options(func(o *Options) { to(o); o.Certificate = &pair })); err != nil {
		t.Fatal(err)
	}
	ms := s.sink.Messages()
	if first, second := ms[0].TLS, ms[1].TLS; len(first.PeerCertificates) != 0 || len(second.PeerCertificates) != 1 ||
		!second.PeerCertificates[0].Equal(own.Leaf()) || second.Version != tls.VersionTLS13 {
		t.Error("the wrong certificates were shown")
	}
	if notes := strings.Join(s.notes, "\n"); !strings.Contains(notes, "the relay asks for a certificate") || strings.Contains(notes, "told the name") {
		t.Error(notes)
	}
}

func TestBadOptions(t *testing.T) {
	s := newStage(t)
	for name, change := range map[string]func(*Options){
		"no resolver": func(o *Options) { o.Relay = dnsname.MustParse("a.test"); o.Resolver = nil },
		"no hostname": func(o *Options) { o.Relay = dnsname.MustParse("a.test"); o.Hostname = dnsname.Name{} },
		"no relay":    func(o *Options) {},
		"both":        func(o *Options) { o.Relay = dnsname.MustParse("a.test"); o.Domain = o.Relay },
		"no port":     func(o *Options) { o.Relay = dnsname.MustParse("a.test"); o.Port = 0 },
	} {
		if all, err := Send(t.Context(), s.options(change), mail("x", "b@b.test")); err == nil {
			t.Errorf("%s: %v", name, all)
		}
	}
}

// Who is interrupted has sent nothing.
func TestInterrupted(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, to := range []func(*Options){relay("good.relay.test"), domain("good.test")} {
		all, err := Send(ctx, s.options(to), mail("x", "b@b.test", "c@b.test"))
		if err != nil || len(all) != 2 || all[0].Err == nil || all[1].Err == nil || Permanent(all[0].Err) {
			t.Errorf("%+v, %v", all, err)
		}
	}
}

func TestPermanent(t *testing.T) {
	for err, want := range map[error]bool{
		errors.New("who knows"):                                 false,
		fmt.Errorf("a: %w", &smtpclient.Error{Permanent: true}): true,
		&smtpclient.Error{}:                                     false,
		&daneclient.Error{Reason: daneclient.NoMatch}:           false,
		nil: false,
	} {
		if Permanent(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}
