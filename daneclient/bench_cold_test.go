package daneclient_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// coldServerCommand makes the test binary the name server of BenchmarkColdNames, so
// that its share is not in the CPU of the resolver.
const coldServerCommand = "cold-names-server"

// coldPeers ask at once, as many peers would: a processor that waits for one answer
// spends its time in looking for other work.
const coldPeers = 16

// serveCold serves so many names of many.test until standard input ends. It prints its
// address and trust anchor.
func serveCold(number string) error {
	count, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	w := lab.NewWorld(time.Now())
	w.AddZone("test.", lab.ZoneOptions{})
	zone := w.AddZone("many.test.", lab.ZoneOptions{})
	record := lab.TLSA(3, 1, 1, lab.SelfSigned(lab.LeafOptions{Names: []string{"x.test"}}).Leaf())
	for i := range count {
		zone.Add(fmt.Sprintf("d%d._device %s", i, record))
	}
	if err := w.Sign(); err != nil {
		return err
	}
	d, err := w.Start("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer d.Close()
	fmt.Printf("%s %s\n", d.Addr(), strings.TrimSpace(w.Anchor()))
	io.Copy(io.Discard, os.Stdin)
	fmt.Println(len(d.Queries()))
	return nil
}

// BenchmarkColdNames judges names of one zone that nobody asked for before, once
// the zone is known: queries and our own CPU for each, system calls included.
func BenchmarkColdNames(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self, coldServerCommand, strconv.Itoa(b.N))
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil || cmd.Start() != nil {
		b.Fatal("no server")
	}
	defer cmd.Wait()
	defer in.Close()
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	address, anchor, _ := strings.Cut(line, " ")
	anchors, err := dnssec.ParseAnchors(anchor)
	if err != nil {
		b.Fatal(err)
	}
	r, err := dnssec.New(dnssec.Options{Upstreams: []string{address}, Anchors: anchors})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	names := make([]dnsname.Name, b.N)
	for i := range names {
		names[i] = dnsname.MustParse(fmt.Sprintf("d%d._device.many.test", i))
	}
	if a := r.Lookup(b.Context(), dnsname.MustParse("none._device.many.test"), dnssec.TypeTLSA); a.State != dnssec.Secure {
		b.Fatal(a.Reason)
	}
	b.ResetTimer()
	before := cpu(b)
	var next atomic.Int64
	var wait sync.WaitGroup
	for range coldPeers {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(names)); i = next.Add(1) - 1 {
				if a := r.Lookup(b.Context(), names[i], dnssec.TypeTLSA); a.State != dnssec.Secure {
					b.Error(names[i], a.Reason)
					return
				}
			}
		})
	}
	wait.Wait()
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e3, "cpu-µs/name")
	b.StopTimer()
	in.Close()
	text, err := lines.ReadString('\n')
	queries, err2 := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || err2 != nil {
		b.Fatal(err, err2)
	}
	const known = 6 // DNSKEY of three zones, DS of two, and the name that is none
	b.ReportMetric(float64(queries-known)/float64(b.N), "queries/name")
}

// cpu is what this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
