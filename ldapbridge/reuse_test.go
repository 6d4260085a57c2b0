package ldapbridge

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/ldapbridge/message"
)

// hookedCounters call a function when an operation has ended.
type hookedCounters struct {
	noCounters
	ended func()
}

func (h hookedCounters) Operation(string, message.Code) { h.ended() }

// TestEndedBeforeTheNext: no request that a client sends because of a result is looked
// at before the result's operation is noted as ended: it may have the same ID.
func TestEndedBeforeTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *world
		free := 0
		w = newWorld(t, func(o *Options) {
			o.Counters = hookedCounters{ended: func() {
				w.srv.fronts["ldaps"].conns.Each(func(c *conn) {
					if c.writing.TryLock() {
						free++
						c.writing.Unlock()
					}
				})
			}}
		})
		defer w.shut()
		c := w.bound("rick@partner.test")
		defer c.close()
		if got := c.code(compareOp("dc=a")); got != message.Success || free > 0 {
			t.Errorf("%v, and the lock is free: %d", got, free)
		}
	})
}

// TestSizeBeforeBind: who has not bound gets little memory, and afterwards enough.
func TestSizeBeforeBind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.shut()
		large := searchOp("dc="+strings.Repeat("x", unboundMessage), 2)
		for _, listener := range []string{"ldap", "open"} {
			c := w.dial(listener).listen()
			c.send(large)
			if closed, code := c.isClosed(); !closed || code != message.ProtocolError {
				t.Errorf("%s: closed %v, %v", listener, closed, code)
			}
			c.close()
		}
		c := w.bound("rick@partner.test")
		defer c.close()
		if got := c.code(large); got != message.Success {
			t.Errorf("who has bound: %v", got)
		}
	})
}

// TestSameIDTwice: the second of two operations with one ID is refused, and the first
// goes on.
func TestSameIDTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.shut()
		c := w.bound("rick@partner.test")
		defer c.close()
		var later func() error
		w.server.say(func(s *server) {
			s.handle = func(m message.Message, write func([]byte) error) bool {
				later = func() error { return s.reply(m, write) }
				return true
			}
		})
		id := c.send(compareOp("dc=a"))
		c.last--
		if got := c.code(compareOp("dc=a")); got != message.ProtocolError {
			t.Errorf("the second: %v", got)
		}
		time.Sleep(time.Minute)
		if err := later(); err != nil {
			t.Fatal("the bridge has gone: ", err)
		}
		if got := c.take(); len(got) != 1 || got[0].ID != id {
			t.Errorf("%d answers", len(got))
		}
	})
}
