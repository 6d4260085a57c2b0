//go:build unix

package main

import (
	"crypto/ed25519"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/internal/msgauth"
)

// BenchmarkInbound judges a message of 4 KiB with one signature (Ed25519) by SPF, DKIM
// and DMARC, our own resolver having all records at hand.
func BenchmarkInbound(b *testing.B) {
	w, r := judgedWorld(b)
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	record, err := msgauth.Record(key.Public())
	sure(b, err)
	w.Zone("judged.test.").Add("s1._domainkey TXT " + msgauth.ZoneText(record))
	s, err := msgauth.New(msgauth.Options{Keys: []msgauth.Key{{Domain: dnsname.MustParse("judged.test"), Selector: dnsname.MustParse("s1"), Key: key}}})
	sure(b, err)
	message, err := s.Own([]byte("From: ann@judged.test\r\nTo: bob@example.test\r\nSubject: dinner\r\n\r\n" + strings.Repeat("All work and no play makes Jack a dull boy.\r\n", 82)))
	sure(b, err)
	v := msgauth.NewVerifier(msgauth.VerifierOptions{Hostname: dnsname.MustParse("mx.example.test"), Resolver: textResolver{r}})
	e := msgauth.Envelope{Peer: netip.MustParseAddr("192.0.2.7"), Helo: "mta.judged.test", Sender: mailaddr.MustParse("ann@judged.test")}
	judge := func() {
		c, err := v.Check(b.Context(), e, strings.NewReader(string(message)))
		sure(b, err)
		defer c.Close()
		if r := c.Report; r.SPF.Result != msgauth.Pass || r.DKIMResult() != msgauth.Pass || r.DMARC.Result != msgauth.Pass {
			b.Fatal(r.Detail())
		}
		_, err = io.Copy(io.Discard, c)
		sure(b, err)
	}
	judge() // asks DNS
	before := cpuTime(b)
	b.ReportAllocs()
	for b.Loop() {
		judge()
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/1000, "cpu-µs/op")
}

// cpuTime is what this process has used, in nanoseconds.
func cpuTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	sure(tb, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
