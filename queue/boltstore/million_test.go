package boltstore

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

const (
	millionEnv  = "DANCEMTA_TEST_MILLION" // folder of the store that a child is to open
	millionSize = 1_000_000
	millionBody = 400
)

// BenchmarkMillion builds a queue of a million messages to a thousand destinations and
// opens it in a process of its own: what a start costs, the first delivery, a list, and
// memory. DANCEMTA_TEST_MESSAGES sets another number.
func BenchmarkMillion(b *testing.B) {
	n := millionSize
	if s := os.Getenv("DANCEMTA_TEST_MESSAGES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	start := time.Now()
	fillFast(b, dir, n)
	filled := time.Since(start).Seconds()
	for b.Loop() {
		c := exec.Command(os.Args[0], "-test.run=^TestMillionChild$")
		c.Env = append(os.Environ(), millionEnv+"="+dir)
		out, err := c.CombinedOutput()
		if err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		for line := range bytes.Lines(out) {
			if name, value, ok := strings.Cut(strings.TrimSpace(string(line)), " = "); ok {
				if v, err := strconv.ParseFloat(value, 64); err == nil {
					b.ReportMetric(v, name)
				}
			}
		}
	}
	b.ReportMetric(filled, "s-to-fill")
	if info, err := os.Stat(filepath.Join(dir, fileName)); err == nil {
		b.ReportMetric(float64(info.Size())/(1<<20), "MiB-file")
	}
}

// fillFast puts messages in by the thousand: the committer sees few operations.
func fillFast(b *testing.B, dir string, n int) {
	s, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	body := bytes.Repeat([]byte("x"), millionBody)
	for done := 0; done < n; {
		var group []*insertion
		for ; len(group) < 5000 && done < n; done++ {
			env := queue.Envelope{ID: queue.NewID(), Sender: mailaddr.MustParse(fmt.Sprintf("s%d@partner.test", done%97)), Arrived: time.Now(),
				Recipients: queue.To(mailaddr.MustParse(fmt.Sprintf("r%d@d%d.test", done, done%1000)))}
			in, err := newInsertion(env, time.Now(), content{size: millionBody, inline: body})
			if err != nil {
				b.Fatal(err)
			}
			group = append(group, in)
		}
		err := s.submit(&op{put: true, apply: func(t *txn) error {
			for _, in := range group {
				if err := in.apply(t); err != nil {
					return &dirtyError{err}
				}
			}
			return nil
		}})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// TestMillionChild is the process that BenchmarkMillion starts.
func TestMillionChild(t *testing.T) {
	dir := os.Getenv(millionEnv)
	if dir == "" {
		t.Skip("a child of BenchmarkMillion")
	}
	begin := time.Now()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fmt.Printf("s-to-open = %.3f\n", time.Since(begin).Seconds())
	jobs, _, err := s.Due(queue.DueRequest{Now: time.Now(), Max: 50, Next: func(queue.Envelope, int) time.Time { return time.Now().Add(time.Hour) }})
	if err != nil || len(jobs) != 50 {
		t.Fatal(len(jobs), err)
	}
	fmt.Printf("s-to-first-delivery = %.3f\ncpu-s-to-first-delivery = %.3f\n", time.Since(begin).Seconds(), processor(t))
	anon, file := resident(t)
	fmt.Printf("MiB-anon-then = %.0f\nMiB-map-then = %.0f\n", anon, file)
	listing, before, n := time.Now(), processor(t), 0
	if err := s.Each(func(queue.Summary) error { n++; return nil }); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	fmt.Printf("s-to-list = %.3f\ncpu-s-to-list = %.3f\n", time.Since(listing).Seconds(), processor(t)-before)
	anon, file = resident(t)
	fmt.Printf("MiB-anon-listed = %.0f\nMiB-map-listed = %.0f\n", anon, file)
	for _, j := range jobs {
		if err := s.Settle(queue.Settlement{ID: j.ID, Destination: j.Destination, Next: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
}

// processor is the time that this process has had of the processors.
func processor(t *testing.T) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// resident is the memory of this process, in MiB: its own, and the pages of mapped
// files that the system may take away at any time.
func resident(t *testing.T) (anon, file float64) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		v, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "RssAnon:":
			anon = v / 1024
		case "RssFile:":
			file = v / 1024
		}
	}
	return anon, file
}
