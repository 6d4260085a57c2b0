package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/internal/dnsname"
	"dancemta/internal/servercert"
	"dancemta/queue/deliver/probe"
	"dancemta/queue/deliver/smtpclient"
	"dancemta/queue/mtasts"
)

// A person waits: a server that says nothing for so long will not say much more.
const (
	probeStep = 15 * time.Second
	probeAll  = 2 * time.Minute
)

type probeFlags struct {
	dns                     keyDNS
	domain, roots, hostname string
	cert, key, clientName   string
	implicit, json          bool
	extension               int
}

func newProbe() *cobra.Command {
	f := &probeFlags{}
	c := &cobra.Command{
		Use:   "probe HOST[:PORT]",
		Short: "Show what a far mail server offers, shows and asks for",
		Long: `Connect to a mail server as one that has mail for it would, and show its greeting,
what it offers in clear and inside TLS, its certificates, what PKIX, DANE and, with
--domain, MTA-STS say of them, and whether it asks for a certificate and for a name by
dane_clientid. No message is sent. Nothing of ours is shown without --cert.

The port is 25, where TLS begins by STARTTLS; at 465 and with --implicit it begins at
once. Resolvers are those of the configuration, or --resolver.

The exit code is 0 when mail would go there, 8 when what is published does not hold, so
that mail would wait, and 9 when nothing can be said: the host was not reached, or DNS
does not answer.`,
		Example: `  dancemta probe mx.example.org --domain example.org
  dancemta probe mx.example.org:587 --cert rick.pem --key rick.key --json --resolver 127.0.0.1:53`,
		Args: exactArgs(1, "the name of a host"),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c.Context(), c.OutOrStdout(), args[0]) },
	}
	p := c.Flags()
	addConfigFlag(c, &f.dns.config)
	p.StringArrayVar(&f.dns.resolvers, "resolver", nil, "a recursive resolver, as `IP:port`, in place of those of the configuration; may be repeated")
	p.StringVar(&f.dns.anchors, "trust-anchors", "", "a `file` with the keys of the root; goes with --resolver")
	p.StringVar(&f.domain, "domain", "", "a `domain` for whose mail the host stands: look at its MTA-STS policy, too")
	p.StringVar(&f.roots, "roots", "", "a PEM `file` of the CAs that count for PKIX (default: those of this host)")
	p.StringVar(&f.hostname, "hostname", "", "our `name` in EHLO (default: this host's)")
	p.StringVar(&f.cert, "cert", "", "our certificate, a PEM `file` with its chain, to be shown where it is asked for")
	p.StringVar(&f.key, "key", "", "its private key, a PEM `file`")
	p.StringVar(&f.clientName, "client-name", "", "our TLSA owner `name`, told by dane_clientid where it is asked for")
	p.IntVar(&f.extension, "extension-type", int(clientid.DefaultType), "the `number` of that TLS extension")
	p.BoolVar(&f.implicit, "implicit", false, "TLS begins with the first octet")
	p.BoolVar(&f.json, "json", false, "print a JSON object")
	return c
}

func (f *probeFlags) run(ctx context.Context, w io.Writer, target string) error {
	o, err := f.options(target)
	if err != nil {
		return err
	}
	resolver, err := f.dns.resolver(keyEnv{now: time.Now})
	if err != nil {
		return err
	}
	defer resolver.Close()
	o.Resolver = resolver
	policies, err := mtasts.New(mtasts.Options{Resolver: resolver, Roots: o.Roots,
		Permitted: func(netip.Addr) bool { return true }}) // whoever calls has chosen the domain
	if err != nil {
		return err
	}
	o.Policy = policies.Policy
	ctx, cancel := context.WithTimeout(ctx, probeAll)
	defer cancel()
	r := probe.Look(ctx, o)
	switch err := printReport(w, r, f.json); {
	case err != nil:
		return err
	case r.Verdict == probe.Broken:
		return &exitError{code: exitRefused, err: fmt.Errorf("%s: what is published does not hold; mail would wait", r.Host)}
	case r.Verdict == probe.Temporary:
		e := &exitError{code: exitTemporary, err: fmt.Errorf("%s: nothing can be said now", r.Host)}
		if r.Greetless() && !o.Implicit {
			e.hints = []string{"where a host takes the connection and says nothing, TLS may begin with the first octet: --implicit"}
		}
		return e
	}
	return nil
}

// options reads the flags, but for what wants a resolver.
func (f *probeFlags) options(target string) (o probe.Options, err error) {
	if o.Host, o.Port, err = hostAndPort(target); err != nil {
		return o, err
	}
	o.Implicit = f.implicit || o.Port == portSubmissions
	o.Timeouts = smtpclient.Timeouts{Connect: probeStep, Greeting: probeStep, Hello: probeStep, Handshake: probeStep, Quit: time.Second}
	if o.Hostname, err = (&sendFlags{myName: f.hostname}).hostname(); err != nil {
		return o, err
	}
	if f.domain != "" {
		if o.Domain, err = dnsname.ParseUnicode(f.domain); err != nil {
			return o, usage(fmt.Errorf("--domain %w", err))
		}
	}
	if f.roots != "" {
		if o.Roots, err = readCAs(f.roots); err != nil {
			return o, err
		}
	}
	return o, f.identity(&o)
}

// hostAndPort reads a name, since an address has no records, and its port.
func hostAndPort(target string) (host dnsname.Name, port uint16, err error) {
	name := target
	port = portRelay
	if h, p, err := net.SplitHostPort(target); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return host, 0, usage(fmt.Errorf("%s: %q is no port", target, p))
		}
		name, port = h, uint16(n)
	}
	if host, err = dnsname.ParseUnicode(name); err == nil {
		_, err = daneclient.ServerOwner(host, port)
	}
	if err != nil {
		return host, 0, usage(fmt.Errorf("%q: %w", target, err), "a name, and a port behind a colon: addresses have no TLSA records")
	}
	return host, port, nil
}

// identity reads what is shown of us.
func (f *probeFlags) identity(o *probe.Options) error {
	switch {
	case (f.cert == "") != (f.key == ""):
		return usage(errors.New("--cert and --key belong together"))
	case f.cert == "" && f.clientName != "":
		return usage(errors.New("--client-name needs --cert and --key"), "the name alone proves nothing")
	case f.extension < 1 || f.extension > 1<<16-1:
		return usage(fmt.Errorf("--extension-type %d: no type of an extension", f.extension))
	}
	o.Extension = uint16(f.extension)
	if f.cert == "" {
		return nil
	}
	s, err := servercert.New(f.cert, f.key)
	if err != nil {
		return unavailable(err)
	}
	if o.Certificate, err = s.GetCertificate(nil); err != nil || f.clientName == "" {
		return err
	}
	if !clientid.Supported {
		return usage(fmt.Errorf("--client-name: %w", clientid.ErrUnsupported), `build it by "make build", or leave the name to the certificate`)
	}
	if o.ClientName, err = dnsname.ParseOwner(f.clientName); err != nil {
		return usage(fmt.Errorf("--client-name %w", err), "the whole TLSA owner name, such as sensor7._device.example.org")
	}
	return nil
}
