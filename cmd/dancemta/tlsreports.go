package main

import (
	"bytes"
	"context"
	"path/filepath"

	"dancemta/queue"
	"dancemta/queue/deliver"
	"dancemta/queue/tlsrpt"
)

const (
	// reportsDir is where the counts for TLS reports are, in state_dir.
	reportsDir = "tlsrpt"
	// reportsIdentity stands for who sent a report, in log and list; no client or user
	// is called so.
	reportsIdentity = "tls-reports"
)

// newReporter makes the sender of TLS reports; nil: none are sent, and so nothing
// is counted.
func (p *parts) newReporter() (*tlsrpt.Reporter, error) {
	c := p.cfg.TLSReports
	if c.Organization == "" {
		return nil, nil
	}
	r, err := tlsrpt.New(tlsrpt.Options{
		Dir:      filepath.Join(string(p.cfg.StateDir), reportsDir),
		Hostname: p.cfg.Hostname, Organization: c.Organization, Contact: c.Contact,
		Resolver:  p.resolver,
		Permitted: deliver.Permitted(p.cfg.Delivery.AllowPrivateTargets),
		Sign:      p.signReport,
		OnReport:  p.countTLSReports(),
		Submit:    p.submitReport,
		Logger:    p.log,
	})
	if err != nil {
		return nil, unavailable(err)
	}
	return r, nil
}

func (p *parts) signReport(message []byte) ([]byte, error) {
	signed, err := p.live.Load().signer.Own(message)
	p.countSignature("tls-report", err)
	return signed, err
}

// countTLS is who hears of TLS sessions; nil: nobody.
func (p *parts) countTLS() func(tlsrpt.Session) {
	if p.reports == nil {
		return nil
	}
	return p.reports.Counter().Add
}

// submitReport queues a report by mail. It goes in spite of trouble with TLS, and a
// session for it is in no report (RFC 8460 3): TLSOptional says both. No bounce
// comes back of it.
func (p *parts) submitReport(ctx context.Context, m tlsrpt.Mail) error {
	return p.queue.Accept(ctx, queue.Envelope{
		ID: queue.NewID(), Sender: m.Sender, Identity: reportsIdentity, TLSOptional: true, Expires: m.Expires,
		Recipients: []queue.Recipient{{Address: m.Recipient, Notify: queue.NotifyNever}},
	}, bytes.NewReader(m.Body))
}
