package deliver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dialog"
	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zone is a resolver of literal answers; what is not in it fails.
type zone map[string]dnssec.Answer

func (z zone) Lookup(_ context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer {
	key := map[dnssec.Type]string{dnssec.TypeMX: "MX ", dnssec.TypeA: "A ", dnssec.TypeAAAA: "AAAA "}[t] + name.String()
	if a, ok := z[key]; ok {
		if a.Final.IsZero() {
			a.Final = name
		}
		return a
	}
	if t == dnssec.TypeTLSA {
		return none // each host is asked for records
	}
	return dnssec.Answer{Reason: "nobody expected this query"}
}

var (
	none     = dnssec.Answer{State: dnssec.Insecure}
	nxdomain = dnssec.Answer{State: dnssec.Secure, NXDomain: true}
)

// mx reads "10 mx1.test, 20 mx2.test"; a dot is the null MX.
func mx(text string) dnssec.Answer {
	a := dnssec.Answer{State: dnssec.Insecure}
	for record := range strings.SplitSeq(text, ", ") {
		pref, name, _ := strings.Cut(record, " ")
		m := dnssec.MX{}
		for _, c := range pref {
			m.Preference = m.Preference*10 + uint16(c-'0')
		}
		if name != "." {
			m.Host = dnsname.MustParse(name)
		}
		a.MX = append(a.MX, m)
	}
	return a
}

func addrs(text ...string) dnssec.Answer {
	a := dnssec.Answer{State: dnssec.Secure}
	for _, s := range text {
		a.Addrs = append(a.Addrs, netip.MustParseAddr(s))
	}
	return a
}

// network connects documentation addresses to servers on loopback, and keeps
// the order of the calls.
type network struct {
	mu    sync.Mutex
	to    map[string]*dialog.Server
	calls []string
}

func (n *network) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	n.calls = append(n.calls, address)
	s := n.to[address]
	n.mu.Unlock()
	if s == nil {
		return nil, errors.New("connection refused")
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr().String())
}

func newDeliverer(t *testing.T, o Options) *Deliverer {
	t.Helper()
	o.Hostname = dnsname.MustParse("mx.example.test")
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func job(body string, to ...string) queue.Job {
	j := queue.Job{
		ID: queue.NewID(), Attempt: 1, Size: int64(len(body)),
		Envelope: queue.Envelope{Sender: mailaddr.MustParse("a@example.test"), Arrived: time.Now()},
		Open:     func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil },
	}
	for _, s := range to {
		j.Recipients = append(j.Recipients, queue.Recipient{Address: mailaddr.MustParse(s)})
	}
	j.Envelope.Recipients = j.Recipients
	j.Destination = queue.Destination(j.Recipients[0].Address)
	return j
}

// text writes outcomes for tables: result, status, who spoke.
func text(outcomes []queue.Outcome) string {
	var parts []string
	for _, o := range outcomes {
		parts = append(parts, strings.TrimSpace(o.Result.String()+" "+o.Status+" "+o.RemoteMTA))
	}
	return strings.Join(slices.Compact(parts), ", ")
}

// visited is a visit of given jobs.
type visited struct {
	jobs     []queue.Job
	outcomes [][]queue.Outcome
}

func (v *visited) Destination() string { return v.jobs[0].Destination }

func (v *visited) Next() (queue.Job, bool) {
	if n := len(v.outcomes); n < len(v.jobs) {
		return v.jobs[n], true
	}
	return queue.Job{}, false
}

func (v *visited) Report(_ queue.Job, o []queue.Outcome) { v.outcomes = append(v.outcomes, o) }

// attempt is a visit of one job.
func (d *Deliverer) attempt(ctx context.Context, job queue.Job) []queue.Outcome {
	v := &visited{jobs: []queue.Job{job}}
	d.Deliver(ctx, v)
	return v.outcomes[0]
}

// hop is a next hop by name, without TLSA records.
var hop = zone{"A in.test": addrs("192.0.2.7"), "AAAA in.test": none}

// dialTo connects everything to one place.
func dialTo(dial func() net.Conn) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) { return dial(), nil }
}
