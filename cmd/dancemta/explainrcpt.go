package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/explain"
	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

type rcptFlags struct {
	config string
	json   bool
}

func newExplainRcpt() *cobra.Command {
	f := &rcptFlags{}
	c := &cobra.Command{
		Use:   "rcpt ADDRESS",
		Short: "Explain what becomes of mail to an address",
		Long: `Plan a delivery as the queue does, by the same code, and show it: the route, the
hosts in the order of calls with their addresses, what TLS must show there by the
configuration, by DANE or by MTA-STS, what keeps mail from a host, each question to
DNS, and the mail that waits for the same destination, with its next try. Nobody is
called: "dancemta probe" shows what a host offers.

The exit code is 0 when hosts would be called, 8 when mail would bounce, 9 when it
would wait.`,
		Example: `  dancemta explain rcpt ann@example.org`,
		Args:    exactArgs(1, "an address"),
		RunE:    func(c *cobra.Command, args []string) error { return f.run(c.Context(), c.OutOrStdout(), args[0]) },
	}
	addConfigFlag(c, &f.config)
	c.Flags().BoolVar(&f.json, "json", false, "print a JSON object")
	return c
}

func (f *rcptFlags) run(ctx context.Context, w io.Writer, word string) error {
	to, err := mailaddr.Parse(word)
	if err != nil || to.IsNull() {
		return usage(fmt.Errorf("%q is no mail address", word), "such as ann@example.org")
	}
	r, err := f.explain(ctx, to)
	if err != nil {
		return err
	}
	view := queueView{config: f.config}
	if err := view.each(ctx, "domain="+queue.Destination(to), func(s queue.Summary) error { r.Add(s); return nil }); err != nil {
		r.QueueUnknown = err.Error() // the way there is known all the same
	}
	switch err := printReport(w, r, f.json); {
	case err != nil:
		return err
	case r.Verdict == explain.Refused:
		return &exitError{code: exitRefused, err: fmt.Errorf("mail to %s would bounce", to)}
	case r.Verdict == explain.Temporary:
		return &exitError{code: exitTemporary, err: fmt.Errorf("mail to %s would wait", to)}
	}
	return nil
}

// explain makes of the configuration what a server would, but for queue and doors.
func (f *rcptFlags) explain(ctx context.Context, to mailaddr.Address) (*explain.Rcpt, error) {
	cfg, err := loadConfig(f.config)
	if err != nil {
		return nil, err
	}
	p := &parts{path: f.config, cfg: cfg, log: slog.New(slog.DiscardHandler), looks: true}
	l, err := newLive(cfg)
	if err != nil {
		return nil, err
	}
	p.live.Store(l)
	if p.resolver, p.dnsCert, err = newResolver(cfg, dnssec.Options{}); err != nil {
		return nil, err
	}
	defer p.resolver.Close()
	recorder := &explain.Recorder{Resolver: p.resolver}
	deliverer, err := p.newDeliverer(recorder)
	if err != nil {
		return nil, err
	}
	e := explain.RcptExplainer{Planner: deliverer, Recorder: recorder, Rules: l.rules, Limits: explain.Limits{
		MessageBytes: cfg.Limits.MessageSize.Bytes, Deliveries: cfg.Queue.Concurrency, PerDestination: cfg.Queue.PerDestination,
	}}
	if way := l.routes.find(queue.Destination(to)); way != nil {
		e.Way, e.Limits.Connections = way.what, way.conf.Connections
		if rate := way.conf.Rate; rate.N > 0 {
			e.Limits.Rate = fmt.Sprintf("%d in %v", rate.N, rate.Per)
		}
	}
	return e.Explain(ctx, to), nil
}
