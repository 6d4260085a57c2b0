package smtpd

import (
	"context"
	"time"

	"dancemta/internal/dnsname"
)

// nullMXTime bounds the question: without its answer mail goes on.
const nullMXTime = 10 * time.Second

// nullMX reports whether a domain says that it takes no mail (RFC 7505 3).
func (s *session) nullMX(domain dnsname.Name) bool {
	if s.opts.NullMX == nil || domain.IsZero() {
		return false
	}
	ctx, cancel := context.WithTimeout(s.ctx, nullMXTime)
	defer cancel()
	return s.opts.NullMX(ctx, domain)
}

func (s *session) routed(domain dnsname.Name) bool {
	return s.opts.Routed != nil && s.opts.Routed(domain)
}
