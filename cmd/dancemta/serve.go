package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dancemta/config"
	"dancemta/internal/admin"
	"dancemta/internal/maillog"
	"dancemta/queue/boltstore"
)

const (
	// socketName is the control socket, in state_dir.
	socketName = "admin.sock"
	// How long sessions may take to end their message when the server stops:
	// service managers kill after 90 s, and the queue needs some of that too.
	drainTimeout = 30 * time.Second
	// A self-test that takes longer than a login may take proves nothing.
	selfTestTimeout = 15 * time.Second
)

func newServe() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server in the foreground; the log goes to standard error.

SIGHUP reads rules (of the LDAP bridge, too), groups, the directory, relay domains,
recipient files, routes, certificates, DKIM keys, the trust anchors and the log level
again; a mistake in them keeps the old ones. SIGTERM stops: sessions may end their message or their LDAP
operations, deliveries too, the queue stays on disk.`,
		Args: exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error {
			return serve(c.Context(), path, c.ErrOrStderr(), boltstore.Options{})
		},
	}
	addConfigFlag(c, &path)
	return c
}

// serve runs until ctx ends. The order of the start is the order in which
// things can fail without having changed anything: configuration, keys, ports,
// then the store. so has what a test wants to hear of the store.
func serve(ctx context.Context, path string, stderr io.Writer, so boltstore.Options) error {
	// From the first moment: a reload or a lost log reader while the server starts must
	// not end it. A write to a broken pipe as standard error would; mail can go on
	// without a log.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	signal.Ignore(syscall.SIGPIPE)
	cfg, err := loadConfig(path)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	log := newLeveledLogger(cfg.Log, stderr, level)
	ears, err := listenAll(ports(cfg))
	if err != nil {
		return err
	}
	defer ears.close() // those that Serve took are closed already
	scrapes, err := listenMetrics(cfg.Metrics)
	if err != nil {
		return err
	}
	if scrapes != nil {
		defer scrapes.Close()
	}
	boundMemory(cfg.Limits)
	p, err := newParts(path, cfg, log, so)
	if err != nil {
		return err
	}
	defer p.close()
	p.level = level
	control, err := admin.Listen(filepath.Join(string(cfg.StateDir), socketName))
	if err != nil {
		return unavailable(err)
	}
	p.serveStatus(ears)
	p.serveLogLevel()
	p.admin.Serve(control)
	for _, e := range ears {
		maillog.Listening(log, e.name, e.Addr().String())
	}
	if scrapes != nil {
		maillog.Listening(log, metricsEar, scrapes.Addr().String())
	}
	p.scrapes = scrapes
	return p.run(ctx, ears, hangup)
}

// run serves until ctx ends or a listener breaks, then stops in the order that
// loses nothing: no new sessions, running ones to their end, then the queue.
func (p *parts) run(ctx context.Context, ears ears, hangup <-chan os.Signal) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	queueCtx, stopQueue := context.WithCancel(context.WithoutCancel(ctx))
	defer stopQueue()
	wait.Go(func() { p.runQueue(queueCtx) })
	if p.reports != nil {
		wait.Go(func() { p.reports.Run(queueCtx) })
	}
	if p.sts != nil {
		wait.Go(func() { p.sts.Run(queueCtx) })
	}
	testCtx, stopTest := selfTestContext(ctx)
	defer stopTest()
	wait.Go(func() { p.selfTest(testCtx) })
	wait.Go(func() { p.own.run(queueCtx) })
	wait.Go(func() { p.quotas.run(queueCtx) }) // to the end of all sessions
	if p.notices != nil {
		wait.Go(func() { p.notices.Run(queueCtx) })
	}
	if p.scrapes != nil {
		wait.Go(func() { p.serveMetrics(queueCtx) }) // as long as there is anything to see
		wait.Go(func() { p.anchors.run(queueCtx) })
	}
	broken := make(chan error, len(ears))
	for _, e := range ears {
		wait.Go(func() { broken <- p.serveEar(e) })
	}
	maillog.Ready(p.log, version, clientNameSources())
	var failure error
	for failure == nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-hangup:
			p.reload()
		case failure = <-broken:
		}
	}
	maillog.Stopping(p.log)
	drainCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := p.drain(drainCtx); err != nil {
		maillog.Trouble(p.log, "sessions were cut off at the stop", err)
	}
	stopQueue()
	return failure
}

func (p *parts) serveEar(e ear) error {
	serve := p.serveMail
	if e.ldap {
		serve = p.bridge.door.Serve
	}
	if err := serve(e.name, e.Listener); err != nil {
		return unavailable(fmt.Errorf("listener %s: %w", e.name, err))
	}
	return nil
}

// runQueue outlives trouble of the store: the server then answers 451 to all
// mail until it is restarted, and operators find it alive and saying why.
func (p *parts) runQueue(ctx context.Context) {
	if err := p.queue.Run(ctx); err != nil {
		maillog.Trouble(p.log, "no mail is accepted or delivered any more; mend the disk, then restart", err)
	}
}

func (p *parts) selfTest(ctx context.Context) {
	if err := p.resolver.SelfTest(ctx); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		maillog.Trouble(p.log, `DNSSEC does not work, so logins get 454; "dancemta check" says more`, err)
	}
}

func newLogger(c config.Log, w io.Writer) *slog.Logger {
	return newLeveledLogger(c, w, new(slog.LevelVar))
}

// newLeveledLogger makes a log whose level, that of c at first, may change while it is
// written.
func newLeveledLogger(c config.Log, w io.Writer, level *slog.LevelVar) *slog.Logger {
	level.Set(slogLevel(c.Level))
	o := &slog.HandlerOptions{Level: level}
	if c.Format == config.JSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func (p *parts) serveMail(name string, l net.Listener) error { return p.smtp.Serve(name, l) }

// drain lets sessions of both kinds end, at once.
func (p *parts) drain(ctx context.Context) error {
	var wait sync.WaitGroup
	var ldap error
	wait.Go(func() { ldap = p.bridge.drain(ctx) })
	var mail error
	if p.smtp != nil {
		mail = p.smtp.Drain(ctx)
	}
	wait.Wait()
	return errors.Join(mail, ldap)
}

// ear is one open port.
type ear struct {
	name string
	ldap bool
	net.Listener
}

type ears []ear

func (es ears) close() {
	for _, e := range es {
		e.Close()
	}
}

// listenAll opens every port or none.
func listenAll(ports []port) (ears, error) {
	var es ears
	for _, p := range ports {
		n, err := net.Listen("tcp", string(p.address))
		if err != nil {
			es.close()
			return nil, unavailable(fmt.Errorf("listener %s: %w", p.name, err), listenHint(err))
		}
		es = append(es, ear{p.name, p.ldap, n})
	}
	return es, nil
}

// port is what becomes an ear.
type port struct {
	name    string
	address config.ListenAddress
	ldap    bool
}

// ports are those of the configuration.
func ports(cfg *config.Config) (all []port) {
	for _, l := range cfg.Listeners {
		all = append(all, port{l.Name, l.Address, false})
	}
	for _, l := range cfg.LDAPListeners {
		all = append(all, port{l.Name, l.Address, true})
	}
	return all
}

func listenHint(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program has this port: ss -ltnp shows which"
	case errors.Is(err, syscall.EACCES):
		return "ports below 1024 need root or CAP_NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this host has no such address: ip address shows those that it has"
	}
	return "see listener.address in the configuration"
}
