//go:build unix

package lab

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// realWorld serves a world by nsd and unbound; without them the test is
// skipped, unless DANCEMTA_E2E=required forbids that.
func realWorld(t *testing.T, w *World) *RealDNS {
	t.Helper()
	if missing := Missing("nsd", "unbound"); missing != nil {
		if os.Getenv("DANCEMTA_E2E") == "required" {
			t.Fatalf("not installed: %s", strings.Join(missing, " "))
		}
		t.Skipf("not installed: %s", strings.Join(missing, " "))
	}
	r, err := w.StartRealDNS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestStrangersServeAndJudgeTheWorld(t *testing.T) {
	now := time.Now()
	n, err := NewInternet(now)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	r := realWorld(t, n.World)
	for _, c := range []struct {
		name  string
		rcode int
		ad    bool
	}{
		{n.Device.Owner, dns.RcodeSuccess, true},
		{n.MTA.Owner, dns.RcodeSuccess, true},
		{n.Rick.Owner, dns.RcodeSuccess, true},
		{n.Eve.Owner, dns.RcodeSuccess, true},
		{n.Random.Owner, dns.RcodeSuccess, true},
		{n.Unsigned.Owner, dns.RcodeSuccess, false},
		{n.Bogus.Owner, dns.RcodeServerFailure, false},
		{"none.partner.test", dns.RcodeNameError, true},
	} {
		q := new(dns.Msg)
		q.SetQuestion(c.name+".", dns.TypeTLSA)
		q.SetEdns0(1232, true)
		reply, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(q, r.Unbound)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if reply.Rcode != c.rcode || reply.AuthenticatedData != c.ad {
			t.Errorf("%s: %s, AD %v", c.name, dns.RcodeToString[reply.Rcode], reply.AuthenticatedData)
		}
	}
}

func TestRealServersLeaveNothingBehind(t *testing.T) {
	w := NewWorld(time.Now())
	r := realWorld(t, w)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{r.NSD, r.Unbound} {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Errorf("%s still listens", addr)
		}
	}
}
