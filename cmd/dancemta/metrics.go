package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"dancemta/config"
	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/maillog"
	"dancemta/internal/metrics"
	"dancemta/internal/msgauth"
	"dancemta/queue"
	"dancemta/smtpd"
	"dancemta/smtpd/wire"
)

const (
	// metricsEar is the name of the port for Prometheus in the log.
	metricsEar = "metrics"
	// A scrape takes milliseconds.
	scrapeDrain = 2 * time.Second
)

// listenMetrics opens the port for Prometheus; nil when there is to be none.
func listenMetrics(c config.Metrics) (net.Listener, error) {
	if c.Address == "" {
		return nil, nil
	}
	es, err := listenAll([]port{{name: metricsEar, address: c.Address}})
	if err != nil {
		return nil, err
	}
	return es[0].Listener, nil
}

// newMetrics makes the counters and the watch of the trust anchors, nil when nobody
// will ask for them. Store and resolver are asked only once p.run has begun.
func (p *parts) newMetrics() *metrics.Metrics {
	if p.cfg.Metrics.Address == "" {
		return nil
	}
	anchors, err := readAnchors(p.cfg.DNS)
	if err != nil {
		anchors = nil // the resolver says so, and the start ends
	}
	survey := func(ctx context.Context) ([]dnssec.AnchorStatus, error) { return p.resolver.Anchors(ctx) }
	p.anchors = newAnchorWatch(survey, anchors)
	return metrics.New(metrics.Options{
		Version: version, Extension: clientid.Supported,
		Queue:   func() metrics.Queue { return metrics.Queue(p.store.Gauges()) },
		Anchors: p.anchors.list,
		Own:     p.own.verdicts, Upstream: p.upstreamStats,
	})
}

// serveMetrics answers scrapes until ctx ends. Without them mail goes on.
func (p *parts) serveMetrics(ctx context.Context) {
	s := metrics.NewServer(p.metrics)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(p.scrapes) }()
	select {
	case err := <-ended:
		maillog.Trouble(p.log, "no metrics are shown any more, until a restart", err)
		return
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), scrapeDrain)
	defer cancel()
	if err := s.Drain(drain); err != nil {
		maillog.Trouble(p.log, "a scrape of the metrics was cut off at the stop", err)
	}
	<-ended
}

// The counters of the parts; nil without metrics.

func (p *parts) smtpCounters() smtpd.Counters {
	if p.metrics == nil {
		return nil
	}
	return smtpCounters{p.metrics}
}

func (p *parts) countLookups() func(dnssec.State, bool) {
	if p.metrics == nil {
		return nil
	}
	return func(s dnssec.State, cached bool) { p.metrics.Lookup(s.String(), cached) }
}

func (p *parts) countOutcomes() func(queue.Outcome) {
	if p.metrics == nil {
		return nil
	}
	return func(o queue.Outcome) {
		p.metrics.Delivery(o.Result.String())
		if wanted, got := tlsWords(o.TLS); wanted != "" {
			p.metrics.DeliveryTLS(wanted, got)
		}
	}
}

// tlsWords reads Outcome.TLS; empty: no server was reached.
func tlsWords(s string) (wanted, got string) {
	wanted, rest, ok := strings.Cut(s, ": ")
	if !ok {
		return "", ""
	}
	wanted, _, _ = strings.Cut(wanted, " (")
	switch {
	case rest == "none":
		return wanted, rest
	case strings.HasSuffix(rest, " not verified"):
		return wanted, "not verified"
	case strings.Contains(rest, " verified"):
		return wanted, "verified"
	}
	return wanted, "encrypted"
}

func (p *parts) countReports() func(string) {
	if p.metrics == nil {
		return nil
	}
	return p.metrics.Report
}

// smtpCounters gives the words of smtpd to the metrics.
type smtpCounters struct{ m *metrics.Metrics }

func (c smtpCounters) Session(k smtpd.Kind, v smtpd.TLSVersion) { c.m.Session(kindWord(k), v.String()) }
func (c smtpCounters) Client(s daneclient.Source, reason string) {
	c.m.Client(string(s), reason)
}
func (c smtpCounters) Login(how, reason string)          { c.m.Login(how, reason) }
func (c smtpCounters) Reply(code int)                    { c.m.Reply(code) }
func (c smtpCounters) Wire(k wire.Kind)                  { c.m.Wire(k.String()) }
func (c smtpCounters) Checked(method, result string)     { c.m.Checked(method, result) }
func (c smtpCounters) Accepted(k smtpd.Kind, size int64) { c.m.Accepted(kindWord(k), size) }

func (c smtpCounters) Filtered(stage, verdict string) { c.m.Milters(stage, verdict) }
func (c smtpCounters) OverQuota(of, each string)      { c.m.OverQuota(of, each) }

func (c smtpCounters) Signed(result string) { c.m.Signature("submission", result) }

// countSignature counts what came of signing a message of this server.
func (p *parts) countSignature(message string, err error) {
	if p.metrics == nil {
		return
	}
	result := "signed"
	switch {
	case errors.Is(err, msgauth.ErrUnsigned):
		result = "unsigned"
	case err != nil:
		result = "failed"
	}
	p.metrics.Signature(message, result)
}

func (p *parts) countTLSReports() func(string) {
	if p.metrics == nil {
		return nil
	}
	return p.metrics.TLSReport
}

func (p *parts) countNotices() func(string) {
	if p.metrics == nil {
		return nil
	}
	return p.metrics.QuotaNotice
}

func (p *parts) countFetches() func(string) {
	if p.metrics == nil {
		return nil
	}
	return p.metrics.STSFetch
}

// kindWord is the word of the configuration.
func kindWord(k smtpd.Kind) string {
	for word, kind := range kinds {
		if kind == k {
			return string(word)
		}
	}
	return ""
}

// metrics warns of numbers that others than this host may read.
func (r *report) metrics(c config.Metrics) {
	a, err := netip.ParseAddrPort(string(c.Address))
	switch {
	case c.Address == "":
	case err == nil && a.Addr().Unmap().IsLoopback():
		r.ok("metrics are shown at http://%s/metrics", c.Address)
	default:
		r.warning("metrics.address %s: whoever reaches it may read the numbers; write a loopback address, or let a firewall stand before it", c.Address)
	}
}
