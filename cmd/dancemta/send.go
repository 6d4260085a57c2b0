package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/pemfile"
	"dancemta/internal/servercert"
	"dancemta/queue/deliver/submit"
	"dancemta/saslext/usercert"
)

const (
	sendCommand = "send"
	sendmail    = "sendmail"

	portRelay       = 25
	portSubmission  = 587 // RFC 6409 3.1
	portSubmissions = 465 // RFC 8314 7.3

	tlsStart    = "starttls"
	tlsImplicit = "implicit"
)

// arguments makes a program that is called as sendmail be "dancemta send".
func arguments(argv []string) []string {
	if filepath.Base(argv[0]) == sendmail {
		return append([]string{sendCommand}, argv[1:]...)
	}
	return argv[1:]
}

func newSend() *cobra.Command {
	f := &sendFlags{}
	c := &cobra.Command{
		Use:   "send [flags] RECIPIENT...",
		Short: "Send one message through a relay, as sendmail would: a client that speaks DANE",
		Long: `Read a message from standard input and hand it to a relay, for machines that have no
mail server. Nothing is queued: when it cannot be sent now the exit code is 9, and
it is for the caller to try again.

The relay is --relay, or an MX host of --domain, whose records must be signed. It is
proved by its TLSA records, which must be secure; one that has none is refused, unless
--tls-ca names the CA of its certificate. We are known to it by --cert and --key; a user
is logged in by AUTH EXTERNAL.

A line with nothing but a dot does not end the message, as with sendmail's -i. A Bcc
field is removed; From, Date and Message-ID are added where they are missing. Called by
the name sendmail the program does the same.

The exit code is 0 when the relay took the message for all recipients, 8 when it was
refused, 9 when somebody may get it later.`,
		Example: `  dancemta send --relay mx.example.org --cert sensor7.pem --key sensor7.key -f sensor7@example.org ann@example.net < mail
  dancemta send --domain example.org --cert rick.pem --key rick.key -t < mail`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			f.hasSender = c.Flags().Changed("from") || c.Flags().Changed("return-path")
			return f.run(c.Context(), c.InOrStdin(), c.ErrOrStderr(), args)
		},
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usage(err, "of sendmail's flags it knows -f, -r, -F, -t, -i, -o…, -B…, -bm, -m, -n, -N, -R, -V and -v: there is no queue and no alias here",
			fmt.Sprintf("%q lists the others", c.CommandPath()+" --help"))
	})
	f.register(c)
	return c
}

// sendFlags are the flags, those of sendmail first.
type sendFlags struct {
	from, fullName string
	hasSender      bool
	fromHeader     bool
	verbose        bool
	mode, body     string
	options        []string
	dsn            dsnFlags

	relay, domain, tls, tlsCA  string
	cert, key, clientName      string
	auth, dns, anchors, myName string
	dnsCA                      string
	dnsCert                    bool
	extension                  int
}

func (f *sendFlags) register(c *cobra.Command) {
	p := c.Flags()
	p.StringVarP(&f.from, "from", "f", "", "the envelope `sender`; \"\" or <> for the null sender (default: the message's Sender or From)")
	p.StringVarP(&f.from, "return-path", "r", "", "the same as -f")
	p.StringVarP(&f.fullName, "full-name", "F", "", "the sender's `name`, for a From field that is missing")
	p.BoolVarP(&f.fromHeader, "read-recipients", "t", false, "send to everybody in To, Cc and Bcc, too")
	p.BoolVarP(&f.verbose, "verbose", "v", false, "say what happens")
	p.StringVarP(&f.mode, "mode", "b", "m", "sendmail's -bm, which is all that this can do")
	p.StringVarP(&f.body, "body", "B", "", "sendmail's -B; what the body is is seen")
	p.StringArrayVarP(&f.options, "option", "o", nil, "sendmail's -oi, -oe… and -od…, which change nothing here")
	f.dsn.register(p)
	for name, short := range map[string]string{"ignore-dots": "i", "me-too": "m", "no-aliases": "n"} {
		p.BoolP(name, short, true, "sendmail's -"+short)
	}
	for _, name := range []string{"return-path", "mode", "body", "option", "ignore-dots", "me-too", "no-aliases"} {
		if err := p.MarkHidden(name); err != nil {
			panic(err) // the flags were defined above
		}
	}

	p.StringVar(&f.relay, "relay", "", "the relay as `HOST` or HOST:PORT (default port: 25, for users 587, for implicit TLS 465)")
	p.StringVar(&f.domain, "domain", "", "use the MX hosts of this `domain`, at port 25 or domain:PORT")
	p.StringVar(&f.tls, "tls", tlsStart, "the `kind` of TLS: \"starttls\" or \"implicit\"")
	p.StringVar(&f.tlsCA, "tls-ca", "", "a PEM `file` of CAs that decide on a relay without TLSA records")
	p.StringVar(&f.cert, "cert", "", "our certificate, a PEM `file` with its chain")
	p.StringVar(&f.key, "key", "", "its private key, a PEM `file`")
	p.StringVar(&f.clientName, "client-name", "", "our TLSA owner `name`, told to a relay that asks by dane_clientid")
	p.IntVar(&f.extension, "extension-type", int(clientid.DefaultType), "the `number` of that TLS extension")
	p.StringVar(&f.auth, "auth", "", "the `login`: \"external\" sends nothing without one (default: where offered, with a user's certificate)")
	p.StringVar(&f.dns, "dns", "127.0.0.1:53", "a recursive resolver, as `IP:port`, or over TLS as tls://IP:port#name or …#sha256/BASE64")
	p.StringVar(&f.dnsCA, "dns-ca", "", "a PEM `file` of CAs for a resolver over TLS with a name (default: those of this host)")
	p.BoolVar(&f.dnsCert, "dns-cert", false, "show --cert, and tell --client-name, to a resolver over TLS that asks, too")
	p.StringVar(&f.anchors, "trust-anchors", "", "a `file` with DS or DNSKEY lines of the root (default: the built-in keys)")
	p.StringVar(&f.myName, "hostname", "", "our `name` in EHLO (default: this host's)")
}

// checkWords refuses what sendmail would do and this does not.
func (f *sendFlags) checkWords() error {
	const hint = "there is no queue, no alias and no server here: it sends one message from standard input"
	if f.mode != "m" {
		return usage(fmt.Errorf("-b%s: only -bm is known", f.mode), hint)
	}
	for _, o := range f.options {
		if o != "i" && !strings.HasPrefix(o, "e") && !strings.HasPrefix(o, "d") {
			return usage(fmt.Errorf("-o%s: only -oi, -oe… and -od… are known", o), hint)
		}
	}
	if f.tls != tlsStart && f.tls != tlsImplicit {
		return usage(fmt.Errorf("--tls %s: it begins by %q or %q", f.tls, tlsStart, tlsImplicit))
	}
	if f.auth != "" && f.auth != "external" {
		return usage(fmt.Errorf(`--auth %s: only "external" is known`, f.auth))
	}
	if f.extension < 1 || f.extension > math.MaxUint16 {
		return usage(fmt.Errorf("--extension-type %d: no type of an extension", f.extension))
	}
	return nil
}

// submission makes of the flags what is needed to reach the relay. The caller
// closes the resolver.
func (f *sendFlags) submission(stderr io.Writer) (o submit.Options, resolver *dnssec.Resolver, err error) {
	if err := f.checkWords(); err != nil {
		return o, nil, err
	}
	o.Implicit, o.Extension = f.tls == tlsImplicit, uint16(f.extension)
	if o.Hostname, err = f.hostname(); err != nil {
		return o, nil, err
	}
	if err := f.identity(&o); err != nil {
		return o, nil, err
	}
	if err := f.findRelay(&o); err != nil {
		return o, nil, err
	}
	if f.tlsCA != "" {
		if o.Roots, err = readCAs(f.tlsCA); err != nil {
			return o, nil, err
		}
	}
	if f.verbose {
		o.Note = func(s string) { fmt.Fprintln(stderr, s) }
	}
	if resolver, err = f.resolver(&o); err != nil {
		return o, nil, err
	}
	o.Resolver = resolver
	return o, resolver, nil
}

// hostname is what servers want to hear, not a proof of anything.
func (f *sendFlags) hostname() (dnsname.Name, error) {
	if f.myName != "" {
		name, err := dnsname.ParseUnicode(f.myName)
		if err != nil {
			return name, usage(fmt.Errorf("--hostname %w", err))
		}
		return name, nil
	}
	text, err := os.Hostname()
	if err != nil {
		text = ""
	}
	name, err := dnsname.ParseUnicode(text)
	if err != nil {
		return dnsname.Parse("localhost")
	}
	return name, nil
}

// identity reads who we are.
func (f *sendFlags) identity(o *submit.Options) error {
	switch {
	case (f.cert == "") != (f.key == ""):
		return usage(errors.New("--cert and --key belong together"))
	case f.cert == "" && f.clientName != "":
		return usage(errors.New("--client-name needs --cert and --key"), "the name alone proves nothing")
	case f.cert == "" && f.auth != "":
		return usage(errors.New("--auth external needs --cert and --key"), "it logs in whom the certificate names")
	case f.cert == "":
		return nil
	}
	s, err := servercert.New(f.cert, f.key)
	if err != nil {
		return unavailable(err)
	}
	if o.Certificate, err = s.GetCertificate(nil); err != nil {
		return unavailable(err)
	}
	if f.clientName != "" {
		if !clientid.Supported {
			return usage(fmt.Errorf("--client-name: %w", clientid.ErrUnsupported),
				`build it by "make build", or leave the name to the certificate`)
		}
		if o.ClientName, err = dnsname.ParseOwner(f.clientName); err != nil {
			return usage(fmt.Errorf("--client-name %w", err), "the whole TLSA owner name, such as sensor7._device.example.org")
		}
	}
	o.Login = f.login(o.Certificate)
	return nil
}

func (f *sendFlags) login(own *tls.Certificate) submit.Login {
	switch {
	case f.auth != "":
		return submit.LoginAlways
	case usercert.HasUID(own.Leaf):
		return submit.LoginOffered
	}
	return submit.LoginNever
}

// findRelay reads --relay and --domain.
func (f *sendFlags) findRelay(o *submit.Options) error {
	if (f.relay == "") == (f.domain == "") {
		return usage(errors.New("one of --relay and --domain is needed"), "nothing else says where the message goes: there is no configuration file")
	}
	o.Port = portRelay
	switch {
	case o.Implicit:
		o.Port = portSubmissions
	case o.Login != submit.LoginNever && f.relay != "":
		o.Port = portSubmission
	}
	flag, text, into := "--relay", f.relay, &o.Relay
	if f.domain != "" {
		flag, text, into = "--domain", f.domain, &o.Domain
	}
	host := text
	if strings.Contains(text, ":") {
		var port string
		var err error
		if host, port, err = net.SplitHostPort(text); err != nil {
			return usage(fmt.Errorf("%s: %w", flag, err))
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return usage(fmt.Errorf("%s %s: %q is no port", flag, text, port))
		}
		o.Port = uint16(n)
	}
	name, err := dnsname.ParseUnicode(host)
	if err == nil {
		_, err = daneclient.ServerOwner(name, o.Port)
	}
	if err != nil {
		return usage(fmt.Errorf("%s %w", flag, err), "a name, since addresses have no TLSA records")
	}
	*into = name
	return nil
}

func (f *sendFlags) resolver(own *submit.Options) (*dnssec.Resolver, error) {
	o := dnssec.Options{Upstreams: []string{f.dns}}
	if err := f.resolverTLS(own, &o); err != nil {
		return nil, err
	}
	if f.anchors != "" {
		text, err := readKeyFile(f.anchors)
		if err != nil {
			return nil, err
		}
		if o.Anchors, err = dnssec.ParseAnchors(string(text)); err != nil {
			return nil, unavailable(fmt.Errorf("%s: %w", f.anchors, err), "each line holds a DS or DNSKEY record of the root")
		}
	}
	r, err := dnssec.New(o)
	if err != nil {
		return nil, usage(fmt.Errorf("--dns: %w", err))
	}
	return r, nil
}

// resolverTLS says how a resolver over TLS is proved, and what it sees of us.
func (f *sendFlags) resolverTLS(own *submit.Options, o *dnssec.Options) (err error) {
	if f.dnsCA != "" {
		if o.TLSRoots, err = readCAs(f.dnsCA); err != nil {
			return err
		}
	}
	switch {
	case !f.dnsCert:
		return nil
	case own.Certificate == nil:
		return usage(errors.New("--dns-cert needs --cert and --key"))
	case own.ClientName.IsZero():
		o.ClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.Certificate, nil }
		return nil
	}
	o.ClientCertificate, err = clientid.Present(*own.Certificate, own.Extension, own.ClientName)
	return err
}

func readCAs(file string) (*x509.CertPool, error) {
	text, err := readKeyFile(file)
	if err != nil {
		return nil, err
	}
	certs, err := pemfile.Certificates(text)
	if err != nil {
		return nil, unavailable(fmt.Errorf("%s: %w", file, err))
	}
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool, nil
}

// run sends one message.
func (f *sendFlags) run(ctx context.Context, stdin io.Reader, stderr io.Writer, words []string) error {
	o, resolver, err := f.submission(stderr)
	if err != nil {
		return err
	}
	defer resolver.Close()
	m, err := f.message(stdin, words, o.Hostname)
	if err != nil {
		return err
	}
	results, err := submit.Send(ctx, o, m)
	if err != nil {
		return err
	}
	return f.report(results)
}
