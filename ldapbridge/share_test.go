package ldapbridge

import (
	"testing"
	"testing/synctest"

	"dancemta/ldapbridge/message"
)

// TestShares: users of one domain, however many, leave places to others. Who rests has
// none, and a place comes back with the last reply, an Abandon, a bind or the end.
func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.Limits.PerDomain = 1 })
		defer w.shut()
		busy, ann := w.bound("rick@partner.test"), w.bound("ann@partner.test")
		other := w.bound("rick@other.test")
		silent := func(yes bool) { w.server.say(func(s *server) { s.silent = yes }) }
		hold := func() int32 {
			silent(true)
			defer silent(false)
			return busy.send(searchOp(people, 2))
		}
		is := func(when string, want message.Code) {
			t.Helper()
			if got := ann.code(searchOp(people, 2)); got != want {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
			if got := other.code(searchOp(people, 2)); got != message.Success {
				t.Errorf("%s, another domain: %v", when, got)
			}
		}
		is("nothing is under way", message.Success)
		id := hold()
		is("a search is under way", message.Busy)
		busy.send(message.AbandonOp(id))
		is("it was abandoned", message.Success)
		hold()
		is("and another one", message.Busy)
		busy.code(bindOp("EXTERNAL", nil))
		is("its client has bound again", message.Success)
		hold()
		busy.close()
		is("its client has gone", message.Success)
		other.close()
		ann.close()
	})
}
