package deliver

import (
	"strings"
	"testing"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/queue"
)

// endless is a visit of n messages.
type endless struct {
	job  queue.Job
	n    int
	fail int
}

func (e *endless) Destination() string { return e.job.Destination }

func (e *endless) Next() (queue.Job, bool) {
	e.n--
	return e.job, e.n >= 0
}

func (e *endless) Report(_ queue.Job, o []queue.Outcome) {
	if o[0].Result != queue.Delivered {
		e.fail++
	}
}

// BenchmarkVisit compares messages that share connections with such that have one
// each, in clear and over TLS.
func BenchmarkVisit(b *testing.B) {
	body := strings.Repeat("A line of text as people write it, of some seventy characters or so.\r\n", 58) // 4 KB
	for _, c := range []struct {
		name   string
		noTLS  bool
		shared bool
	}{{"clear/shared", true, true}, {"clear/each", true, false}, {"tls/shared", false, true}, {"tls/each", false, false}} {
		b.Run(c.name, func(b *testing.B) {
			sink, err := lab.StartSink("127.0.0.1:0", lab.SinkOptions{NoTLS: c.noTLS})
			if err != nil {
				b.Fatal(err)
			}
			defer sink.Close()
			d, err := New(Options{Hostname: dnsname.MustParse("mx.example.test"), Resolver: zone{}, Route: func(string) Route { return Route{Hosts: []string{sink.Addr()}} }})
			if err != nil {
				b.Fatal(err)
			}
			each := 1
			if c.shared {
				each = maxMessages
			}
			v := &endless{job: job(body, "b@d.test")}
			b.ReportAllocs()
			b.ResetTimer()
			for left := b.N; left > 0; left -= each {
				v.n = min(left, each)
				d.Deliver(b.Context(), v)
			}
			b.StopTimer()
			if b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s"); v.fail > 0 {
				b.Fatalf("%d of %d were not delivered", v.fail, b.N)
			}
		})
	}
}
