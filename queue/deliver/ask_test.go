package deliver

import (
	"testing"

	"dancemta/internal/dialog"
	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// TestAsk: a recipient is asked for, and nothing is sent.
func TestAsk(t *testing.T) {
	const hello, pipelining = "S: 220 mx\nC: EHLO mx.example.test\nS: 250 mx\nC: MAIL FROM:<>\nS: 250 ok\nC: RCPT TO:<b@d.test>\n",
		"S: 220 mx\nC: EHLO mx.example.test\nS: 250-mx\nS: 250 PIPELINING\nC: MAIL FROM:<>\nC: RCPT TO:<b@d.test>\nS: 250 ok\n"
	for _, c := range []struct {
		name, script string
		want         queue.Result
	}{
		{"there", hello + "S: 250 2.1.5 ok\nC: QUIT\nS: 221 bye", queue.Delivered},
		{"there, in one go", pipelining + "S: 250 ok\nC: QUIT\nS: 221 bye", queue.Delivered},
		{"not there", hello + "S: 550 5.1.1 who\nC: QUIT\nS: 221 bye", queue.Failed},
		{"not there, in one go", pipelining + "S: 550 5.1.1 who\nC: QUIT\nS: 221 bye", queue.Failed},
		{"not now", hello + "S: 450 4.2.1 busy\nC: QUIT\nS: 221 bye", queue.Deferred},
		{"the sender is refused for now", "S: 220 mx\nC: EHLO mx.example.test\nS: 250 mx\nC: MAIL FROM:<>\nS: 451 4.3.0 no\nC: QUIT\nS: 221 bye", queue.Deferred},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := dialog.Serve(t, c.script)
			d := newDeliverer(t, Options{Resolver: zone{}, Route: func(string) Route { return Route{Hosts: []string{s.Addr().String()}} }})
			if o := d.Ask(t.Context(), mailaddr.MustParse("b@d.test")); o.Result != c.want {
				t.Errorf("%s %q, want %s", o.Result, o.Reply, c.want)
			}
		})
	}
	d := newDeliverer(t, Options{Resolver: zone{}, Route: func(string) Route { return Route{Hosts: []string{"127.0.0.1:1"}} }})
	if o := d.Ask(t.Context(), mailaddr.MustParse("b@d.test")); o.Result != queue.Deferred {
		t.Errorf("nobody there: %s %q", o.Result, o.Reply)
	}
}
