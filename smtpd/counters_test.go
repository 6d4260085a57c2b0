package smtpd

import (
	"crypto/tls"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/smtpd/wire"
)

// tallies are counters as a map of sentences.
type tallies struct {
	mu   sync.Mutex
	seen map[string]int
}

func (c *tallies) add(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[fmt.Sprintf(format, args...)]++
}

func (c *tallies) Session(k Kind, v TLSVersion)                 { c.add("session %d %s", k, v) }
func (c *tallies) Client(source daneclient.Source, word string) { c.add("client %s %s", source, word) }
func (c *tallies) Login(how, word string)                       { c.add("login %s %s", how, word) }
func (c *tallies) Reply(code int)                               { c.add("reply %d", code) }
func (c *tallies) Wire(k wire.Kind)                             { c.add("wire %s", k) }
func (c *tallies) Accepted(k Kind, size int64)                  { c.add("accepted %d %v", k, size > 5) }

func (c *tallies) Signed(result string) { c.add("signed %s", result) }

func (c *tallies) Checked(method, result string) { c.add("checked %s %s", method, result) }

func (c *tallies) Filtered(stage, verdict string) { c.add("filtered %s %s", stage, verdict) }

func (c *tallies) OverQuota(of, each string) { c.add("over quota %s %s", of, each) }

func (c *tallies) expect(t *testing.T, want map[string]int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !maps.Equal(c.seen, want) {
		t.Errorf("counted %v, want %v", c.seen, want)
	}
}

func counted(t *testing.T) (*world, *tallies) {
	c := &tallies{seen: map[string]int{}}
	w := newWorld(t, func(o *Options) { o.Counters = c })
	verified(w.verifier, start.Add(time.Hour))
	return w, c
}

func TestCountsOfAClient(t *testing.T) {
	w, c := counted(t)
	k := w.talk("mx", clientPeer(device))
	k.mail("sensor7@partner.test")
	k.rcpt("a@remote.test")
	k.rcpt("b@remote.test")
	k.expect("DATA", k.data("x\r\n"), "250 ")
	c.expect(t, map[string]int{"session 0 1.3": 1, "client certificate proved": 1, "accepted 0 true": 1})

	w, c = counted(t)
	refused(w.verifier, daneclient.NoMatch)
	k = w.talk("mx", clientPeer(device))
	k.mail("sensor7@partner.test")
	k.rcpt("a@remote.test")
	c.expect(t, map[string]int{"session 0 1.3": 1, "client certificate no-match": 1})

	w, c = counted(t)
	k = w.talk("mx", plainPeer())
	k.mail("someone@else.test")
	k.rcpt("info@example.test") // ours: nobody asks who it is
	c.expect(t, map[string]int{"session 0 none": 1})
	k.rcpt("a@remote.test")
	c.expect(t, map[string]int{"session 0 none": 1, "client certificate no-certificate": 1})
}

func TestCountsOfAUser(t *testing.T) {
	w, c := counted(t)
	k := w.talk("sub", userPeer("rick"))
	k.auth("eve@partner.test")
	k.auth("u:x")
	k.auth("")
	c.expect(t, map[string]int{"session 1 1.3": 1, "login external authzid-denied": 1, "login external bad-authzid": 1, "login external proved": 1})

	w, c = counted(t)
	refused(w.verifier, daneclient.BogusDNS)
	w.talk("sub", userPeer("rick")).auth("")
	c.expect(t, map[string]int{"session 1 1.3": 1, "login external bogus-dns": 1})

	w, c = counted(t)
	w.talk("subs", userPeer("rick")).mail("rick@partner.test")
	w.talk("subs", clientPeer(mtaName)).mail("rick@partner.test") // no user's, and no AUTH was said
	c.expect(t, map[string]int{"session 2 1.3": 2, "login implicit proved": 1, "client certificate not-allowed": 1})
}

// What the wire sees comes through, with the code of every reply.
func TestCountsOfTheWire(t *testing.T) {
	w, c := counted(t)
	f := w.fronts["mx"]
	f.event(wire.Event{Kind: wire.NUL})
	f.event(wire.Event{Kind: wire.InternalError})
	c.expect(t, map[string]int{"wire nul octet": 1, "wire internal error": 1})
}

func TestTLSVersions(t *testing.T) {
	for v, want := range map[TLSVersion]string{0: "none", tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3", tls.VersionTLS11: "other", 0x0305: "other"} {
		if v.String() != want {
			t.Errorf("%#x is %s, want %s", uint16(v), v, want)
		}
	}
}
