package dnssec

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/dnsname"
)

const (
	updateSecret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
	otherSecret  = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhl"
)

// primary is a server for updates that answers as it is told.
type primary struct {
	addr string
	got  chan *dns.Msg
}

// answer writes the reply; m is signed already as it should be.
func startPrimary(t *testing.T, secret string, answer func(w dns.ResponseWriter, q, m *dns.Msg)) *primary {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &primary{addr: l.Addr().String(), got: make(chan *dns.Msg, 1)}
	s := &dns.Server{
		Listener: l, TsigSecret: map[string]string{"updater.": secret, "stranger.": otherSecret},
		MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg)
			m.SetReply(q)
			m.SetTsig("updater.", dns.HmacSHA256, 300, time.Now().Unix())
			if w.TsigStatus() != nil {
				m.Rcode = dns.RcodeNotAuth
			}
			p.got <- q
			answer(w, q, m)
		}),
	}
	done := make(chan struct{})
	go func() { defer close(done); s.ActivateAndServe() }()
	t.Cleanup(func() { s.Shutdown(); l.Close(); <-done })
	return p
}

func updaterAt(t *testing.T, addr string) *Updater {
	t.Helper()
	key, err := ParseTSIGKey("hmac-sha256:updater:" + updateSecret)
	if err != nil {
		t.Fatal(err)
	}
	u, err := NewUpdater(UpdateOptions{Server: addr, Zone: "Z.test.", Key: key, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

var someTLSA = TLSA{3, 1, 1, []byte{0xab, 0xcd}}

// TestUpdateMessage looks at what is sent.
func TestUpdateMessage(t *testing.T) {
	p := startPrimary(t, updateSecret, func(w dns.ResponseWriter, _, m *dns.Msg) { w.WriteMsg(m) })
	u := updaterAt(t, p.addr)
	if err := u.Add(t.Context(), dnsname.MustParse("_x.z.test"), someTLSA, 15*time.Minute); err != nil {
		t.Fatal(err)
	}
	added := <-p.got
	if err := u.Remove(t.Context(), dnsname.MustParse("_x.z.test"), someTLSA); err != nil {
		t.Fatal(err)
	}
	removed := <-p.got
	for _, c := range []struct {
		m    *dns.Msg
		want string
	}{
		{added, "_x.z.test.\t900\tIN\tTLSA\t3 1 1 abcd"},
		{removed, "_x.z.test.\t0\tNONE\tTLSA\t3 1 1 abcd"}, // RFC 2136 2.5.4: this one, not all
	} {
		if c.m.Opcode != dns.OpcodeUpdate || len(c.m.Answer) != 0 || len(c.m.Ns) != 1 || c.m.Ns[0].String() != c.want {
			t.Errorf("sent\n%v\nwant %s", c.m, c.want)
		}
		if q := c.m.Question[0]; q.Name != "z.test." || q.Qtype != dns.TypeSOA || q.Qclass != dns.ClassINET {
			t.Errorf("zone section %v", q)
		}
		if tsig := c.m.IsTsig(); tsig == nil || tsig.Algorithm != dns.HmacSHA256 || tsig.Fudge != 300 {
			t.Errorf("TSIG %v", tsig)
		}
	}
}

// TestUpdateReplies: a reply counts when the key signed it, and not before.
func TestUpdateReplies(t *testing.T) {
	for name, c := range map[string]struct {
		secret string
		answer func(w dns.ResponseWriter, q, m *dns.Msg)
		kind   UpdateFault
		says   string
	}{
		"refused": {updateSecret, func(w dns.ResponseWriter, _, m *dns.Msg) { m.Rcode = dns.RcodeRefused; w.WriteMsg(m) },
			UpdateRefused, "it says REFUSED"},
		"no such zone": {updateSecret, func(w dns.ResponseWriter, _, m *dns.Msg) { m.Rcode = dns.RcodeNameError; w.WriteMsg(m) },
			UpdateRefused, "it says NXDOMAIN"},
		"not the primary": {updateSecret, func(w dns.ResponseWriter, _, m *dns.Msg) { m.Rcode = dns.RcodeNotAuth; w.WriteMsg(m) },
			UpdateUnproved, "it says that it is not the primary of z.test. (NOTAUTH)"},
		"unsigned": {updateSecret, func(w dns.ResponseWriter, _, m *dns.Msg) { m.Extra = nil; w.WriteMsg(m) },
			UpdateUnproved, "a reply without signature (it says that all is well)"},
		"unsigned refusal": {updateSecret, func(w dns.ResponseWriter, _, m *dns.Msg) { m.Extra, m.Rcode = nil, dns.RcodeRefused; w.WriteMsg(m) },
			UpdateUnproved, "a reply without signature (REFUSED)"},
		"changed on the way": {updateSecret, func(w dns.ResponseWriter, q, m *dns.Msg) {
			signed, _, err := dns.TsigGenerate(m, updateSecret, q.IsTsig().MAC, false)
			if err != nil {
				panic(err)
			}
			signed[3] ^= 0x20 // a reserved bit of the header
			w.Write(signed)
		}, UpdateUnproved, "a reply with a wrong signature: dns: bad signature"},
		"a signature for another question": {updateSecret, func(w dns.ResponseWriter, _, m *dns.Msg) {
			signed, _, err := dns.TsigGenerate(m, updateSecret, "abcd", false)
			if err != nil {
				panic(err)
			}
			w.Write(signed)
		}, UpdateUnproved, "a reply with a wrong signature: dns: bad signature"},
		"another key": {updateSecret, func(w dns.ResponseWriter, q, m *dns.Msg) {
			m.Extra = nil
			m.SetTsig("stranger.", dns.HmacSHA256, 300, time.Now().Unix())
			signed, _, err := dns.TsigGenerate(m, updateSecret, q.IsTsig().MAC, false)
			if err != nil {
				panic(err)
			}
			w.Write(signed)
		}, UpdateUnproved, "a reply signed by another key"},
		"another id": {updateSecret, func(w dns.ResponseWriter, q, m *dns.Msg) {
			m.IsTsig().OrigId++ // which the library writes into the header
			signed, _, err := dns.TsigGenerate(m, updateSecret, q.IsTsig().MAC, false)
			if err != nil {
				panic(err)
			}
			w.Write(signed)
		}, UpdateUnproved, "a reply to something else"},
		"bad key": {otherSecret, func(w dns.ResponseWriter, _, m *dns.Msg) {
			m.IsTsig().Error = dns.RcodeBadKey
			m.IsTsig().Algorithm = dns.HmacSHA256
			packed, err := m.Pack()
			if err != nil {
				panic(err)
			}
			w.Write(packed)
		}, UpdateUnproved, "it does not know the key updater, or not with this algorithm (BADKEY)"},
		"garbage": {updateSecret, func(w dns.ResponseWriter, _, _ *dns.Msg) { w.Write([]byte("what?")) },
			UpdateUnproved, "a reply that cannot be read"},
		"hangs up": {updateSecret, func(w dns.ResponseWriter, _, _ *dns.Msg) { w.Close() },
			UpdateUnreachable, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPrimary(t, c.secret, c.answer)
			err := updaterAt(t, p.addr).Add(t.Context(), dnsname.MustParse("x.z.test"), someTLSA, time.Minute)
			e, ok := errors.AsType[*UpdateError](err)
			if !ok || e.Kind != c.kind || !strings.Contains(e.Detail, c.says) || e.Server != p.addr {
				t.Errorf("%v, want kind %d: %s", err, c.kind, c.says)
			}
		})
	}
}

func TestUpdateImpossible(t *testing.T) {
	u := updaterAt(t, "127.0.0.1:1")
	for _, owner := range []dnsname.Name{{}, dnsname.MustParse("x.test"), dnsname.MustParse("x.evilz.test")} {
		err := u.Add(t.Context(), owner, someTLSA, time.Minute)
		if e, ok := errors.AsType[*UpdateError](err); !ok || e.Kind != UpdateImpossible {
			t.Errorf("%q: %v", owner, err)
		}
	}
	err := u.Remove(t.Context(), dnsname.MustParse("x.z.test"), someTLSA)
	if e, ok := errors.AsType[*UpdateError](err); !ok || e.Kind != UpdateUnreachable {
		t.Errorf("nobody listens: %v", err)
	}
	key := u.o.Key
	for _, o := range []UpdateOptions{
		{Server: "ns.z.test", Zone: "z.test.", Key: key}, {Server: "ns.z.test:53", Zone: "z.test."},
		{Server: "ns.z.test:53", Zone: "z.test.", Key: TSIGKey{Name: key.Name, Algorithm: "hmac-md5", Secret: key.Secret}},
		{Server: "ns.z.test:53", Zone: "z.test.", Key: TSIGKey{Name: key.Name, Algorithm: key.Algorithm}},
	} {
		if _, err := NewUpdater(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestParseTSIGKey(t *testing.T) {
	for text, want := range map[string]string{
		"hmac-sha256:updater:" + updateSecret:                                                   "",
		"HMAC-SHA512:updater.example.org:c2VjcmV0c2VjcmV0c2VjcmV0\n":                            "",
		"key \"updater\" {\n\talgorithm hmac-sha256;\n\tsecret \"" + updateSecret + "\";\n};\n": "",
		"key updater { secret " + updateSecret + "; algorithm hmac-sha384; };":                  "",
		"": "neither", "updater:" + updateSecret: "neither",
		"hmac-md5:updater:" + updateSecret: `algorithm "hmac-md5"`, "hmac-sha1:updater:" + updateSecret: "algorithm",
		"hmac-sha256:up dater:" + updateSecret: "name", "hmac-sha256:updater:%%%": "no base64", "hmac-sha256:updater:c2VjcmV0": "6 octets",
		"key \"updater\" { algorithm hmac-sha256; };": "no secret", "key \"updater\" { secret \"" + updateSecret + "\"; };": "no algorithm",
		strings.Repeat("x", 5000): "too long",
	} {
		k, err := ParseTSIGKey(text)
		if want == "" && (err != nil || len(k.Secret) < 18 || !strings.HasPrefix(k.Name.String(), "updater")) {
			t.Errorf("%q: %+v, %v", text, k, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), updateSecret) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}
