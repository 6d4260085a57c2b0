package deliver

import (
	"strings"
	"testing"

	"dancemta/internal/dialog"
	"dancemta/queue"
)

// TestWhoReports: of mail that was taken, we tell the sender what the host behind us
// does not (RFC 3461 5.2).
func TestWhoReports(t *testing.T) {
	const smtp = "S: 220 mx\nC: EHLO mx.example.test\nS: 250-mx\nS: 250 DSN\nC: MAIL FROM:<a@example.test>\nS: 250 ok\nC: RCPT TO:<b@d.test> NOTIFY=SUCCESS\nS: 250 ok\n" +
		"C: DATA\nS: 354 go\nC: x\nC: .\nS: 250 2.6.0 ok\nC: QUIT\nS: 221 bye"
	noDSN := strings.NewReplacer("S: 250-mx\nS: 250 DSN", "S: 250 mx", " NOTIFY=SUCCESS", "").Replace(smtp)
	lmtp := strings.ReplaceAll(noDSN, "EHLO", "LHLO")
	for _, c := range []struct {
		name           string
		script         string
		lmtp           bool
		notify         queue.Notify
		relayed, final bool
	}{
		{"a host with DSN", smtp, false, queue.NotifySuccess, false, false},
		{"a host without", noDSN, false, queue.NotifySuccess, true, false},
		{"and nobody asked", noDSN, false, queue.NotifyFailure, false, false},
		{"a mail store", lmtp, true, queue.NotifySuccess, false, true},
		{"and nobody asked", lmtp, true, 0, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := dialog.Serve(t, c.script)
			d := newDeliverer(t, Options{Resolver: zone{}, Route: func(string) Route { return Route{Hosts: []string{s.Addr().String()}, LMTP: c.lmtp} }})
			j := job("x\r\n", "b@d.test")
			j.Recipients[0].Notify = c.notify
			o := d.attempt(t.Context(), j)[0]
			if o.Result != queue.Delivered || o.Relayed != c.relayed || o.Final != c.final {
				t.Errorf("%s %q, relayed %v, final %v", o.Result, o.Reply, o.Relayed, o.Final)
			}
		})
	}
}
