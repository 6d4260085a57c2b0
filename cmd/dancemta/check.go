package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dancemta/config"
	"dancemta/queue/boltstore"
)

func newCheck() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "check",
		Short: "Look for whatever would keep the server from working",
		Long: `Read the configuration and the files that it names, try the folder of the queue,
the resolvers, the directory servers (as the LDAP bridge, too), the milters, the next
hops of all routes and the way to the postmaster, look at the names that other servers
know this host by, and say what is wrong and what to do about it. Nothing is changed,
and a running server is not disturbed. The exit code is 6 when there is a problem;
warnings alone leave it at 0.`,
		Args: exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			r := &report{w: c.OutOrStdout()}
			r.ok("%s says nothing wrong", path)
			r.everything(c.Context(), path, cfg)
			if r.problems > 0 {
				return &exitError{code: exitBroken, err: fmt.Errorf("%s, %s", counted(r.problems, "problem"), counted(r.warnings, "warning"))}
			}
			return r.err
		},
	}
	addConfigFlag(c, &path)
	return c
}

// report prints one line for each thing that was looked at.
type report struct {
	w                  io.Writer
	problems, warnings int
	said               []string // each problem once, however many find it
	err                error    // of the writer
}

func (r *report) line(word, format string, args ...any) {
	if _, err := fmt.Fprintf(r.w, "%-8s %s\n", word, fmt.Sprintf(format, args...)); err != nil {
		r.err = err
	}
}

func (r *report) ok(format string, args ...any)   { r.line("ok", format, args...) }
func (r *report) note(format string, args ...any) { r.line("note", format, args...) }

func (r *report) warning(format string, args ...any) {
	r.warnings++
	r.line("warning", format, args...)
}

func (r *report) problem(err error) {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if slices.Contains(r.said, text) {
		return
	}
	r.said = append(r.said, text)
	r.problems++
	r.line("problem", "%s", text)
	if e, ok := errors.AsType[*exitError](err); ok {
		for _, h := range e.hints {
			r.line("", "hint: %s", h)
		}
	}
}

func (r *report) everything(ctx context.Context, path string, cfg *config.Config) {
	r.certificate(cfg.TLS)
	r.roots(cfg.DANE)
	r.sts(cfg.MTASTS)
	r.stateDir(string(cfg.StateDir), cfg.Limits)
	r.crowd(cfg.Limits)
	r.rules(cfg)
	r.routes(cfg)
	r.rates(cfg)
	r.laboratory(cfg)
	r.keys(cfg)
	r.inbound(cfg)
	r.metrics(cfg.Metrics)
	r.milters(ctx, cfg)
	r.directory(ctx, cfg)
	r.ldap(ctx, cfg)
	if err := checkBuild(path, cfg); err != nil {
		r.problem(err)
	}
	r.note("client names: %s", clientNameSources())
	r.dns(ctx, path, cfg)
}

func (r *report) stateDir(dir string, l config.Limits) {
	err := checkStateDir(dir)
	if err == nil {
		err = boltstore.Room(dir, uint64(l.FreeSpace.Bytes), uint64(l.FreeInodes)) // below that, each message would get 452
	}
	if err != nil {
		r.problem(fmt.Errorf("state_dir: %w", err))
		return
	}
	r.ok("%s can be written", dir)
}

func (r *report) certificate(c config.TLS) {
	s, err := newCertificate(c)
	switch {
	case err != nil:
		r.problem(err)
	case s == nil:
		r.warning("no [tls]: nobody can log in, and all mail comes in clear")
	default:
		r.ok("%s and its key belong together", c.Certificate)
		for _, w := range s.Warnings() {
			r.warning("%s", w)
		}
	}
}

func (r *report) roots(c config.DANE) {
	if c.PKIXRoots == "" {
		return
	}
	if _, err := readRoots(c); err != nil {
		r.problem(err)
		return
	}
	r.ok("TLSA records of usages 0 and 1 count below the roots of %s", c.PKIXRoots)
}

// sts looks at who proves policy hosts. Without the system's CAs serve runs, but no
// policy can be fetched.
func (r *report) sts(c config.MTASTS) {
	if !c.Enabled {
		r.note("policies of MTA-STS are not obeyed: mta_sts.enabled is false")
		return
	}
	_, err := readPool(c.Roots, "see mta_sts.roots in the configuration")
	switch {
	case err == nil:
		r.ok("policies of MTA-STS are obeyed, below the roots of %s", c.Roots)
	case c.Roots == config.SystemRoots:
		r.warning("mta_sts: %v: no policy can be fetched; install the CAs of your system (ca-certificates), or name some by mta_sts.roots", err)
	default:
		r.problem(err)
	}
}

func (r *report) rules(cfg *config.Config) {
	l, err := newLive(cfg)
	if err != nil {
		r.problem(err)
		return
	}
	r.ok("%s, %s", counted(len(cfg.Rules), "rule"), counted(len(cfg.RelayDomains), "relay domain"))
	if len(cfg.LDAPRules) > 0 {
		r.ok("%s of the LDAP bridge", counted(len(cfg.LDAPRules), "rule"))
	}
	for _, sentence := range append(l.rules.Unreachable(), l.mapper.Unreachable()...) {
		r.warning("%s", sentence)
	}
	if len(cfg.Rules) == 0 && len(cfg.RelayDomains) == 0 {
		r.warning("neither rules nor relay domains: all mail but the postmaster's is refused")
	}
	for _, d := range cfg.RelayDomains {
		if d.Recipients == config.RecipientsAny {
			r.warning("relay_domain %s takes mail for any local part, also for those that do not exist", d.Domain)
		}
	}
}

// laboratory is loud about settings that no server on the Internet should have.
func (r *report) laboratory(cfg *config.Config) {
	if cfg.Delivery.AllowPrivateTargets {
		r.warning("delivery.allow_private_targets: any domain's MX may send our mail to this host and its private neighbours; for laboratories only")
	}
	if cfg.Delivery.MXPort != 25 {
		r.warning("delivery.mx_port is %d: no mail server on the Internet listens there; for laboratories only", cfg.Delivery.MXPort)
	}
	if cfg.MTASTS.Enabled && cfg.MTASTS.Port != 443 {
		r.warning("mta_sts.port is %d: no policy host on the Internet listens there; for laboratories only", cfg.MTASTS.Port)
	}
}

// counted writes a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
