package deliver

import (
	"bytes"
	"context"
	"io"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// Ask finds out whether the hosts of an address would take mail for it: an attempt
// with the null sender that ends behind RCPT, so that nothing is sent (RFC 5321
// 4.5.5). Delivered means that one would, Failed that one will not, Deferred that
// this cannot be said now.
func (d *Deliverer) Ask(ctx context.Context, to mailaddr.Address) queue.Outcome {
	s := &visit{Deliverer: d, asks: true}
	defer func() { s.leave(ctx) }()
	job := queue.Job{Destination: queue.Destination(to), Recipients: []queue.Recipient{{Address: to}},
		Envelope: queue.Envelope{SMTPUTF8: !to.IsASCII()},
		Open:     func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(nil)), nil }}
	return s.attempt(ctx, job)[0]
}
