// Package metrics counts what an operator wants to see as numbers, and shows
// them to Prometheus. The idea: few metrics, each with all values of its labels
// written beside it (table.go), all there and zero from the start, so that an
// alert never waits for a series that does not exist yet.
//
// Start at table.go, then New. The parts that are counted know nothing of this
// package: each calls a small interface or function of its own.
package metrics

import (
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Queue is the state of the queue at one moment.
type Queue struct {
	New, Active, Deferred int
	Held                  int
	Oldest                time.Time // arrival of the oldest message; zero: none
	Broken                bool      // the store
}

// Anchor is a trust anchor of the resolver.
type Anchor struct {
	KeyTag  uint16
	Matched bool // a key of the live root
}

// OwnTLSA is what the live records say of a certificate of our own.
type OwnTLSA struct{ Identity, Verdict string }

// Upstream are the connections of the LDAP bridge to the directory server, and the
// clients who wait for one.
type Upstream struct{ Leased, Idle, Waiting int }

// Options of New. Queue, Anchors, Own and Upstream are asked at each scrape and must
// be quick; nil: an empty queue, none.
type Options struct {
	Version   string
	Extension bool // this build knows dane_clientid
	Queue     func() Queue
	Anchors   func() []Anchor
	Own       func() []OwnTLSA
	Upstream  func() Upstream
	Now       func() time.Time // nil: time.Now
}

// Metrics are all counters. Its methods may be called at once and never block; a
// word that the table does not know is counted as "other".
type Metrics struct {
	registry *prometheus.Registry

	sessions, clients, logins, replies, wire, lookups, directory, deliveries, deliveryTLS, reports, checks                counters
	signatures, tlsReports, stsFetches, milters, overQuota, quotaNotices, upstream, ldapBinds, ldapOperations, ldapEvents counters
	accepted                                                                                                              *prometheus.HistogramVec
}

// New makes all series.
func New(o Options) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	for _, c := range []struct {
		into *counters
		of   metric
	}{
		{&m.sessions, sessionsTotal}, {&m.clients, clientsTotal}, {&m.logins, loginsTotal}, {&m.replies, repliesTotal},
		{&m.wire, wireTotal}, {&m.lookups, lookupsTotal}, {&m.directory, directoryTotal}, {&m.deliveries, deliveriesTotal}, {&m.deliveryTLS, deliveryTLS}, {&m.reports, reportsTotal}, {&m.checks, checksTotal},
		{&m.signatures, signaturesTotal}, {&m.tlsReports, tlsReportsTotal}, {&m.stsFetches, stsFetchesTotal},
		{&m.upstream, upstreamTotal}, {&m.ldapBinds, ldapBindsTotal}, {&m.ldapOperations, ldapOperationsTotal}, {&m.ldapEvents, ldapEventsTotal},
		{&m.milters, milterTotal}, {&m.overQuota, overQuotaTotal}, {&m.quotaNotices, quotaNoticesTotal},
	} {
		*c.into = newCounters(m.registry, c.of)
	}
	m.accepted = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: acceptedBytes.name, Help: acceptedBytes.help, Buckets: buckets,
	}, acceptedBytes.labelNames())
	for _, v := range listeners.values {
		m.accepted.WithLabelValues(v)
	}
	m.registry.MustRegister(m.accepted, newGauges(o)) // panics only on a table that contradicts itself
	return m
}

// Session counts one that greeted us; tls is "none" or a version such as "1.3".
func (m *Metrics) Session(listener, tls string) { m.sessions.inc(listener, tls) }

// Client counts a judgement about a client.
func (m *Metrics) Client(source, reason string) { m.clients.inc(source, reason) }

// Login counts a judgement about a user.
func (m *Metrics) Login(how, reason string) { m.logins.inc(how, reason) }

// Reply counts an SMTP reply.
func (m *Metrics) Reply(code int) { m.replies.inc(strconv.Itoa(code/100) + "xx") }

// Wire counts an event below SMTP.
func (m *Metrics) Wire(event string) { m.wire.inc(event) }

// Lookup counts an answer of the resolver.
func (m *Metrics) Lookup(state string, cached bool) {
	m.lookups.inc(state, hitOrMiss(cached))
}

func hitOrMiss(cached bool) string {
	if cached {
		return "hit"
	}
	return "miss"
}

// Accepted counts a message that was taken into the queue.
func (m *Metrics) Accepted(listener string, size int64) {
	m.accepted.WithLabelValues(listeners.closed(listener)).Observe(float64(size))
}

// Directory counts a question to the directory.
func (m *Metrics) Directory(question, result string, cached bool) {
	m.directory.inc(question, result, hitOrMiss(cached))
}

// Checked counts what came of judging a message by a method.
func (m *Metrics) Checked(method, result string) { m.checks.inc(method, result) }

// Milters counts what the milters of a listener said.
func (m *Metrics) Milters(stage, verdict string) { m.milters.inc(stage, verdict) }

// OverQuota counts a recipient refused because a quota is used up.
func (m *Metrics) OverQuota(of, each string) { m.overQuota.inc(of, each) }

// QuotaNotice counts a mail to postmaster about quotas.
func (m *Metrics) QuotaNotice(result string) { m.quotaNotices.inc(result) }

// Delivery counts the result of an attempt for one recipient.
func (m *Metrics) Delivery(result string) { m.deliveries.inc(result) }

// DeliveryTLS counts the TLS of an attempt for one recipient: what was wanted, and
// what there was.
func (m *Metrics) DeliveryTLS(wanted, got string) { m.deliveryTLS.inc(wanted, got) }

// Signature counts a message that came to the question of one.
func (m *Metrics) Signature(message, result string) { m.signatures.inc(message, result) }

// TLSReport counts what came of a report about TLS.
func (m *Metrics) TLSReport(result string) { m.tlsReports.inc(result) }

// STSFetch counts a fetch of a policy.
func (m *Metrics) STSFetch(result string) { m.stsFetches.inc(result) }

// LDAPBind counts a bind at the LDAP bridge by its result.
func (m *Metrics) LDAPBind(how, result string) { m.ldapBinds.inc(how, result) }

// LDAPOperation counts an operation by its result, be it the bridge's or the server's.
func (m *Metrics) LDAPOperation(operation, result string) { m.ldapOperations.inc(operation, result) }

// LDAPEvent counts an event of a connection to the LDAP bridge.
func (m *Metrics) LDAPEvent(event string) { m.ldapEvents.inc(event) }

// LDAPUpstream counts what happened to a connection to the directory server.
func (m *Metrics) LDAPUpstream(event string) { m.upstream.inc(event) }

// Report counts a recipient of whom a sender was told.
func (m *Metrics) Report(action string) { m.reports.inc(action) }

// counters are the series of one metric.
type counters struct {
	metric
	vec    *prometheus.CounterVec
	series map[string]prometheus.Counter // those of the table, by key; nobody writes to it after newCounters
}

func newCounters(r *prometheus.Registry, of metric) counters {
	c := counters{metric: of, series: map[string]prometheus.Counter{}}
	c.vec = prometheus.NewCounterVec(prometheus.CounterOpts{Name: of.name, Help: of.help}, of.labelNames())
	for _, values := range of.combinations() {
		c.series[key(values)] = c.vec.WithLabelValues(values...)
	}
	r.MustRegister(c.vec)
	return c
}

// inc adds one. What the table knows costs no more than a look into a map.
func (c *counters) inc(values ...string) {
	if s := c.series[key(values)]; s != nil {
		s.Inc()
		return
	}
	closed := make([]string, len(values))
	for i, v := range values {
		closed[i] = c.labels[i].closed(v)
	}
	c.vec.WithLabelValues(closed...).Inc()
}

func key(values []string) string { return strings.Join(values, "\x00") }

// closed returns v when it is a value of l.
func (l label) closed(v string) string {
	if slices.Contains(l.values, v) {
		return v
	}
	return other
}

func (m *metric) labelNames() []string {
	names := make([]string, len(m.labels))
	for i, l := range m.labels {
		names[i] = l.name
	}
	return names
}

// combinations returns all values of the labels with each other.
func (m *metric) combinations() [][]string {
	all := [][]string{nil}
	for _, l := range m.labels {
		var longer [][]string
		for _, before := range all {
			for _, v := range l.values {
				longer = append(longer, append(slices.Clone(before), v))
			}
		}
		all = longer
	}
	return all
}

// gauges asks for its values at each scrape.
type gauges struct {
	o                                                       Options
	messages, oldest, broken, anchors, own, upstream, build *prometheus.Desc
}

func newGauges(o Options) *gauges {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Queue == nil {
		o.Queue = func() Queue { return Queue{} }
	}
	if o.Anchors == nil {
		o.Anchors = func() []Anchor { return nil }
	}
	if o.Own == nil {
		o.Own = func() []OwnTLSA { return nil }
	}
	if o.Upstream == nil {
		o.Upstream = func() Upstream { return Upstream{} }
	}
	desc := func(m metric) *prometheus.Desc { return prometheus.NewDesc(m.name, m.help, m.labelNames(), nil) }
	return &gauges{o, desc(queueMessages), desc(queueOldest), desc(storeBroken), desc(anchorMatched), desc(ownTLSA), desc(upstreamConnections), desc(buildInfo)}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.messages, g.oldest, g.broken, g.anchors, g.own, g.upstream, g.build} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	show := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	q := g.o.Queue()
	for i, n := range []int{q.New, q.Active, q.Deferred, q.Held} {
		show(g.messages, float64(n), queued.values[i])
	}
	age := 0.0
	if !q.Oldest.IsZero() {
		age = max(0, g.o.Now().Sub(q.Oldest).Seconds()) // clocks may be set back
	}
	show(g.oldest, age)
	show(g.broken, number(q.Broken))
	matched := map[uint16]bool{} // two digests of one key are one anchor here
	for _, a := range g.o.Anchors() {
		matched[a.KeyTag] = matched[a.KeyTag] || a.Matched
	}
	for tag, m := range matched {
		show(g.anchors, number(m), strconv.Itoa(int(tag)))
	}
	owned := map[OwnTLSA]int{}
	for _, own := range g.o.Own() {
		owned[own]++
	}
	for _, values := range ownTLSA.combinations() {
		show(g.own, float64(owned[OwnTLSA{values[0], values[1]}]), values...)
	}
	u := g.o.Upstream()
	for i, n := range []int{u.Leased, u.Idle, u.Waiting} {
		show(g.upstream, float64(n), upstreamStates.values[i])
	}
	show(g.build, 1, strings.ToValidUTF8(g.o.Version, "?"), runtime.Version(), strconv.FormatBool(g.o.Extension))
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
