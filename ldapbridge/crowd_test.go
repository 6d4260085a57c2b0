package ldapbridge

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/internal/crowd"
	"dancemta/ldapbridge/message"
)

// TestPlaces: connections in all, of an address and of a network; what those read for
// whom there is no place.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) {
			o.Crowd = crowd.New(crowd.Options{Connections: 4, PerAddress: 1, PerNetwork: 2})
		})
		var clients []*client
		for _, c := range []struct {
			address string
			code    message.Code // -1: there is a place
		}{
			{"192.0.2.7:1", -1}, {"192.0.2.7:2", message.Busy}, {"192.0.2.8:1", -1}, {"192.0.2.9:1", message.Busy},
			{"198.51.100.1:1", -1}, {"203.0.113.1:1", -1}, {"203.0.114.1:1", message.Busy},
		} {
			client := w.dialFrom("ldap", c.address).listen()
			if closed, code := client.isClosed(); closed != (c.code >= 0) || code != c.code {
				t.Errorf("%s: closed: %v, %v", c.address, closed, code)
			}
			clients = append(clients, client)
		}
		if got := w.events.take(); got != "too many from one peer, too many from one network, dense crowd, too many connections" {
			t.Error(got)
		}
		for _, c := range clients {
			c.close()
		}
		w.shut()
	})
}

// TestDenseCrowd: those who have not bound lose their places, the others keep theirs.
func TestDenseCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.Crowd = crowd.New(crowd.Options{Connections: 8}) })
		var bound []*client
		for range 5 {
			bound = append(bound, w.bound("rick@partner.test"))
		}
		silent := w.dial("ldap").listen()
		time.Sleep(11 * time.Second)
		if closed, code := silent.isClosed(); !closed || code != message.Unavailable {
			t.Errorf("the silent one: closed %v, %v", closed, code)
		}
		time.Sleep(time.Minute)
		for _, c := range bound {
			if closed, _ := c.isClosed(); closed {
				t.Error("one who has bound has lost his place")
			}
			c.close()
		}
		silent.close()
		w.shut()
	})
}

// TestHalfOpenHandshakes: a flood of handshakes that go nowhere leaves room for the
// others, and 2,000 idle clients do not stop anybody.
func TestHalfOpenHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) {
			o.Crowd = crowd.New(crowd.Options{Connections: 4000, PerAddress: 4000, PerNetwork: 4000, Handshakes: 300})
		})
		var all []*client
		for range 2000 {
			all = append(all, w.dial("ldap"))
		}
		honest := w.bound("rick@partner.test")
		for range 300 {
			c := w.dial("ldap")
			all = append(all, c)
			go c.raw.Write(message.AppendMessage(nil, 1, startTLS(), nil))
			if _, err := c.raw.Read(make([]byte, 512)); err != nil {
				t.Fatal(err)
			}
		}
		late := w.dial("ldap").listen()
		if got := late.code(startTLS()); got != message.Busy {
			t.Errorf("one handshake more: %v", got)
		}
		if got := late.code(searchOp("", 0)); got != 0 {
			t.Errorf("without it: %v", got)
		}
		if got := honest.code(searchOp(people, 2)); got != 0 {
			t.Errorf("who is in: %v", got)
		}
		time.Sleep(11 * time.Second) // the handshakes have had their time
		next := w.bound("boss@other.test")
		for _, c := range append(all, honest, late, next) {
			c.close()
		}
		w.shut()
	})
}

// TestSlowReader: a client that takes no replies holds up the server's connection of
// his own, and nobody else; nothing is gathered for him, and he is let go.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		sent := 0
		w.server.say(func(s *server) {
			s.handle = func(m message.Message, write func([]byte) error) bool {
				if len(m.Op) < 200 {
					return false
				}
				entry := message.AppendEntry(nil, m.ID, "cn=x", []message.Attribute{{Name: "x", Values: []string{strings.Repeat("x", 1000)}}}, false)
				for range 10_000 {
					if write(entry) != nil {
						return true
					}
					s.say(func(*server) { sent++ })
				}
				return true
			}
		})
		slow, quick := w.bound("rick@partner.test"), w.bound("boss@other.test")
		slow.mu.Lock()
		slow.deaf = make(chan struct{})
		slow.mu.Unlock()
		slow.send(searchOp(strings.Repeat("x", 200), 2))
		synctest.Wait()
		w.server.say(func(*server) {
			if sent > 300 {
				t.Errorf("%d entries are on their way to nobody", sent)
			}
		})
		for range 5 {
			if got := quick.code(searchOp(people, 2)); got != 0 {
				t.Errorf("the other one: %v", got)
			}
		}
		w.events.take()
		time.Sleep(61 * time.Second)
		if got := w.events.take(); !strings.HasPrefix(got, "slow reader") {
			t.Error(got)
		}
		close(slow.deaf)
		slow.close()
		quick.close()
		w.shut()
	})
}
