package deliver

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/internal/dialog"
	"dancemta/queue"
)

func keepFor(span time.Duration) func(string) time.Duration {
	return func(string) time.Duration { return span }
}

// TestKeep: one connection serves visits that follow each other; nobody holds one
// that is not needed.
func TestKeep(t *testing.T) {
	one := to("b@d.test", good)
	hello := greets + "S: 250 x\n"
	b := func() queue.Job { return job("x\r\n", "b@d.test") }
	secret := b()
	secret.Envelope.TLSOptional = true
	for _, c := range []struct {
		name    string
		pause   time.Duration // between the visits
		visits  [][]queue.Job
		scripts []string // of each connection
	}{
		{"steady mail", time.Second, [][]queue.Job{{b(), b()}, {b()}, {b()}}, []string{hello + one + one + one + one + leaves}},
		{"too late", 3 * time.Second, [][]queue.Job{{b(), b()}, {b()}}, []string{hello + one + one + leaves, hello + one + leaves}},
		{"a message now and then", time.Second, [][]queue.Job{{b()}, {b()}}, []string{hello + one + leaves, hello + one + leaves}},
		{"the server has gone", time.Second, [][]queue.Job{{b(), b()}, {b()}}, []string{hello + one + one + "DROP", hello + one + leaves}},
		{"other terms", time.Second, [][]queue.Job{{b(), b()}, {secret}}, []string{hello + one + one + leaves, hello + one + leaves}},
		{"at the end", 0, [][]queue.Job{{b(), b()}}, []string{hello + one + one + leaves}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				d := newDeliverer(t, Options{Resolver: twoMX, Keep: keepFor(2 * time.Second), Dial: func(context.Context, string, string) (net.Conn, error) {
					here, there := net.Pipe()
					script := "S: 421 one connection too many"
					if calls < len(c.scripts) {
						script = c.scripts[calls]
					}
					calls++
					go func() {
						if err := dialog.Play(there, nil, script); err != nil {
							t.Error(err)
						}
					}()
					return here, nil
				}})
				for _, jobs := range c.visits {
					v := &visited{jobs: jobs}
					d.Deliver(t.Context(), v)
					for _, o := range v.outcomes {
						if !strings.HasPrefix(text(o), "delivered") {
							t.Error(text(o))
						}
					}
					if len(v.outcomes) != len(jobs) {
						t.Errorf("%d of %d messages", len(v.outcomes), len(jobs))
					}
					time.Sleep(c.pause)
				}
				d.Close()
				if calls != len(c.scripts) || d.keeper.count != 0 || len(d.keeper.idle)+len(d.keeper.visits) != 0 {
					t.Errorf("%d calls, want %d; left %+v", calls, len(c.scripts), d.keeper.idle)
				}
			})
		})
	}
}

// TestKeepPanic: after a panic a connection may be anywhere, and takes nothing more.
func TestKeepPanic(t *testing.T) {
	script := greets + "S: 250 x\n" + to("b@d.test", good) + leaves
	n := &network{to: map[string]*dialog.Server{"192.0.2.1:25": dialog.Serve(t, script, script)}}
	d := newDeliverer(t, Options{Resolver: twoMX, Dial: n.Dial, Keep: keepFor(time.Hour)})
	bad := job("x\r\n", "b@d.test")
	bad.Open = func() (io.ReadCloser, error) { panic("the store") }
	func() {
		defer func() { recover() }()
		d.Deliver(t.Context(), &visited{jobs: []queue.Job{job("x\r\n", "b@d.test"), bad}})
	}()
	d.Deliver(t.Context(), &visited{jobs: []queue.Job{job("x\r\n", "b@d.test")}})
	d.Close()
	if len(n.calls) != 2 {
		t.Errorf("called %v", n.calls)
	}
}
