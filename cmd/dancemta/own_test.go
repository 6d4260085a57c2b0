package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/lab"
	"dancemta/internal/metrics"
)

// ownConfig is routeConfig with a port at which records can stand.
func ownConfig(t *testing.T, n *lab.Internet, more string) string {
	t.Helper()
	text := fmt.Sprintf(routeConfig, n.DNS.Addr(), "192.0.2.1:25") + more
	text = strings.Replace(text, "out.example.test", lab.ServerName, 1)
	path := writeConfig(t, strings.Replace(text, "127.0.0.1:0", "127.0.0.1:25", 1))
	if err := n.WritePKI(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	return path
}

// check says of each certificate of ours what its live records make of it.
func TestCheckOwn(t *testing.T) {
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	path := ownConfig(t, n, "")
	copyPair(t, filepath.Dir(path), n.Device)
	check := func(code int, want ...string) {
		t.Helper()
		got, out, _ := run(t, "check", "-c", path)
		if got != code {
			t.Errorf("exit code %d, want %d\n%s", got, code, out)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("not said: %s\n%s", w, out)
			}
		}
	}
	check(0, "note     listener relay: no DANE records: _25._tcp.mx.example.test TLSA: no-record",
		"ok       relay_domain remote.test: the live records at sensor7._device.partner.test match our certificate",
		"warning  partner.test. denies by NSEC")

	zone := n.World.Zone("example.test.")
	zone.Add("_25._tcp.mx " + lab.TLSA(3, 1, 1, n.Server.Leaf()))
	copyPair(t, filepath.Dir(path), n.Wrong)
	check(exitBroken, "ok       listener relay: the live records at _25._tcp.mx.example.test match our certificate",
		"problem  relay_domain remote.test: the live TLSA records refuse our certificate: sensor7._device.partner.test TLSA: no-match",
		"hint: who asks for our name refuses it until it matches")

	zone.Remove("_25._tcp.mx", 52)
	zone.Add("_25._tcp.mx " + lab.TLSA(3, 1, 1, n.Device.Leaf()))
	copyPair(t, filepath.Dir(path), n.Unsigned)
	check(exitBroken, "problem  listener relay: the live TLSA records refuse our certificate: mx.example.test TLSA: no-match",
		"warning  relay_domain remote.test: nobody knows us by our certificate: ")

	copyPair(t, filepath.Dir(path), n.Bogus)
	check(exitBroken, "warning  relay_domain remote.test: the records of our certificate cannot be compared now: _smtp-client.mta.bogus.test TLSA: bogus-dns")
}

// A TTL that makes rollovers slow deserves a warning.
func TestCheckOwnTTL(t *testing.T) {
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	path := ownConfig(t, n, "")
	copyPair(t, filepath.Dir(path), n.Device)
	n.World.Zone("example.test.").Add("_25._tcp.mx 7200 IN " + lab.TLSA(3, 1, 1, n.Server.Leaf()))
	code, out, _ := run(t, "check", "-c", path)
	if want := "warning  _25._tcp.mx.example.test TLSA: the TTL is 2h0m0s, over 1h0m0s"; code != 0 || !strings.Contains(out, want) {
		t.Errorf("%d, not said: %s\n%s", code, want, out)
	}
}

// Each identity is there once, and the one that nobody can publish is not.
func TestOwnIdentities(t *testing.T) {
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	path := ownConfig(t, n, `
[[relay_domain]]
domain             = "again.test"
recipients         = "any"
next_hop           = ["192.0.2.1:25"]
client_certificate = "client.pem"
client_key         = "client.key"

[[route]]
domain             = "*.far.test"
next_hop           = ["192.0.2.2:25"]
client_certificate = "mx.pem"
client_key         = "mx.key"

[[listener]]
name    = "also"
kind    = "relay"
address = "[::1]:25"

[[listener]]
name    = "users"
kind    = "submission"
address = "127.0.0.1:587"

[[listener]]
name    = "any"
kind    = "relay"
address = "127.0.0.1:0"
`)
	copyPair(t, filepath.Dir(path), n.Device)
	cfg, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range ownIdentities(cfg) {
		got = append(got, fmt.Sprint(o.kind, " ", o.what, " ", o.port, " ", len(o.chain)))
	}
	want := []string{"server listener relay 25 2", "server listener users 587 2", "client relay_domain remote.test 0 1", "client route *.far.test 0 2"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A verdict that becomes worse is told once; trouble of DNS is tried again soon and
// is no verdict.
func TestOwnWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards what follows
		var told []string
		verdicts := map[string]daneclient.OwnVerdict{"mx": daneclient.OwnNone, "out": daneclient.OwnMatch}
		looks := 0
		w := newOwnWatch([]ownIdentity{{kind: ownServer, what: "mx"}, {kind: ownClient, what: "out"}})
		w.judge = func(_ context.Context, o ownIdentity) daneclient.Own {
			mu.Lock()
			defer mu.Unlock()
			looks++
			return daneclient.Own{Verdict: verdicts[o.what]}
		}
		w.worse = func(o ownIdentity, own daneclient.Own) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, o.what+" "+own.Verdict.String())
		}
		step := func(what string, wait time.Duration, mx, out daneclient.OwnVerdict, n int, want ...string) {
			t.Helper()
			mu.Lock()
			verdicts["mx"], verdicts["out"] = mx, out
			mu.Unlock()
			time.Sleep(wait)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			list := []metrics.OwnTLSA{{Identity: "server", Verdict: mx.String()}, {Identity: "client", Verdict: out.String()}}
			if !slices.Equal(w.verdicts(), list) || looks != 2*n || !slices.Equal(told, want) {
				t.Errorf("%s: %v after %d looks, told %q; want %v after %d, %q", what, w.verdicts(), looks, told, list, 2*n, want)
			}
			told = nil
		}
		if len(w.verdicts()) != 0 {
			t.Error("verdicts before the first look")
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { w.run(ctx) })
		const none, match, unknown, mismatch = daneclient.OwnNone, daneclient.OwnMatch, daneclient.OwnUnknown, daneclient.OwnMismatch
		step("as usual", 0, none, match, 1)
		step("no DNS", ownEach, unknown, unknown, 2)
		step("DNS is back", ownRetry, match, match, 3)
		step("a renewed certificate", ownEach, mismatch, match, 4, "mx mismatch")
		step("still", ownEach, mismatch, match, 5)
		step("no DNS again", ownEach, unknown, match, 6)
		step("and still", ownRetry, mismatch, none, 7, "out none")
		step("mended", ownEach, match, match, 8)
		w.set(*w.list.Load())
		step("reloaded", 0, match, mismatch, 9, "out mismatch")
		cancel()
		wait.Wait()
	})
	synctest.Test(t, func(t *testing.T) {
		var told []string
		w := newOwnWatch([]ownIdentity{{kind: ownServer, what: "mx"}, {kind: ownClient, what: "out"}})
		w.judge = func(_ context.Context, o ownIdentity) daneclient.Own {
			return daneclient.Own{Verdict: map[string]daneclient.OwnVerdict{"mx": daneclient.OwnMismatch, "out": daneclient.OwnNone}[o.what]}
		}
		w.worse = func(o ownIdentity, own daneclient.Own) { told = append(told, o.what) }
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { w.run(ctx) })
		synctest.Wait()
		cancel()
		wait.Wait()
		if !slices.Equal(told, []string{"mx", "out"}) {
			t.Errorf("told at the start: %q", told)
		}
	})
}
