package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
)

const (
	// The TTLs that are advised: in between a relay asks often enough to notice
	// that a record has gone, and seldom enough to outlast a short failure of DNS.
	minTTL     = 60
	maxTTL     = 3600          // an identity lives an hour at most, so that more only slows revocation
	highestTTL = math.MaxInt32 // RFC 2181 8
)

// tlsaForm is one of the forms that owner names have.
type tlsaForm struct {
	use, short, long, example string
	words                     int // before the files
	owner                     func(f *tlsaFlags, words []string) (daneclient.Owner, error)
}

func tlsaForms() []tlsaForm {
	return []tlsaForm{
		{"client HOST FILE...", "Records of a mail server that logs in: _smtp-client.HOST",
			"The server's certificate holds HOST as a dNSName. Usage 3 publishes the server's own key (the\ndefault), usage 2 the CA that issued its certificate.",
			"  dancemta tlsa client mta.example.org mta.pem\n  dancemta tlsa client mta.example.org --usage 2 chain.pem",
			1, func(_ *tlsaFlags, w []string) (daneclient.Owner, error) { return ownerOf(daneclient.ClientOwner, w[0]) }},
		{"device NAME DOMAIN FILE...", "Records of a device: NAME._device.DOMAIN",
			"The device's certificate holds the whole name, such as sensor7._device.example.org, as a\ndNSName. With --hash-label the name is replaced by the first 32 hex digits of the SHA-256 of\nthat whole name, for zones whose names anybody can list; choose a NAME that nobody guesses.",
			"  dancemta tlsa device sensor7 example.org sensor7.pem\n  dancemta tlsa device --hash-label sensor7-4f81c2 example.org sensor7.key",
			2, deviceOwner},
		{"wildcard DOMAIN CAFILE...", "Records of a CA that vouches for all devices: *._device.DOMAIN",
			"Only usage 2 counts below a wildcard: with usage 3 one key would be every device.",
			"  dancemta tlsa wildcard example.org device-ca.pem",
			1, func(_ *tlsaFlags, w []string) (daneclient.Owner, error) {
				return ownerOf(daneclient.AnyDeviceOwner, w[0])
			}},
		{"user DOMAIN CAFILE...", "Records of the CA of a domain's users: _user.DOMAIN",
			"Only usage 2 counts there: with usage 3 the holder of that key could sign himself any user.",
			"  dancemta tlsa user example.org ca/ca.pem",
			1, func(_ *tlsaFlags, w []string) (daneclient.Owner, error) { return ownerOf(daneclient.UserOwner, w[0]) }},
		{"server HOST FILE...", "Records of a server, for its clients: _25._tcp.HOST",
			"They say nothing about HOST as a client.",
			"  dancemta tlsa server mx.example.org mx.pem\n  dancemta tlsa server --port 465 mx.example.org mx.pem",
			1, func(f *tlsaFlags, w []string) (daneclient.Owner, error) {
				return ownerOf(func(n dnsname.Name) (daneclient.Owner, error) { return daneclient.ServerOwner(n, f.port) }, w[0])
			}},
		{"owner NAME FILE...", "Records of a client at any other name, which is taken as it is",
			"NAME holds A-labels and may hold underscore labels.",
			"  dancemta tlsa owner _imap-client.box.example.org box.pem",
			1, freeOwner},
	}
}

func newTLSA() *cobra.Command {
	f := new(tlsaFlags)
	c := &cobra.Command{
		Use:   "tlsa",
		Short: "Print the TLSA records that publish a certificate or key",
		Long: `Print the records to publish for certificates (PEM or DER, own certificate first)
or keys (PEM), as lines of a zone file. Nothing is changed, and no network used.
The zone must be signed: what DNSSEC does not prove gives nobody an identity.

Records that could never authenticate anybody are refused (exit code 6); what only
some verifiers take is printed, with a warning.`,
		Example: `  dancemta tlsa device sensor7 example.org sensor7.pem
  dancemta tlsa user example.org ca/ca.pem --nsupdate | nsupdate -k update.key
  dancemta tlsa user example.org ca/ca.pem --zone _user.example.org --ns ns1.example.net`,
		Args: noArgs, RunE: needsCommand,
	}
	f.register(c)
	for _, form := range tlsaForms() {
		c.AddCommand(f.command(form))
	}
	return c
}

// tlsaFlags are the flags that all forms share, and two that one form has.
type tlsaFlags struct {
	usage, selector, matching field
	ttl                       int64
	json, nsupdate            bool
	zone                      string
	servers                   []string
	hash                      bool
	port                      uint16
}

func (f *tlsaFlags) register(c *cobra.Command) {
	p := c.PersistentFlags()
	p.Var(&f.usage, "usage", "2 for a CA, 3 for an own certificate or key (default: what the name wants)")
	p.Var(&f.selector, "selector", "0 for the whole certificate, 1 for its key (default: 0 for a CA, else 1)")
	p.Var(&f.matching, "matching", "0 for all of it, 1 for SHA-256, 2 for SHA-512 (default: 1)")
	p.Int64Var(&f.ttl, "ttl", maxTTL, "time to live in `seconds`")
	p.BoolVar(&f.json, "json", false, "print one JSON object per record")
	p.BoolVar(&f.nsupdate, "nsupdate", false, "print commands for nsupdate")
	p.StringVar(&f.zone, "zone", "", "print a whole zone of this `name`, ready for signing")
	p.StringArrayVar(&f.servers, "ns", nil, "a name server of that zone, as `HOST` or HOST=ADDRESS,ADDRESS; may be repeated")
}

func (f *tlsaFlags) command(form tlsaForm) *cobra.Command {
	c := &cobra.Command{
		Use: form.use, Short: form.short, Long: form.long, Example: form.example,
		Args: atLeast(form.words+1, form.use),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			owner, err := form.owner(f, args[:form.words])
			if err != nil {
				return usage(err, fmt.Sprintf("%q shows what it takes", c.CommandPath()+" --help"))
			}
			records, err := f.records(owner, args[form.words:])
			if err != nil {
				return err
			}
			f.warn(c.ErrOrStderr(), records)
			return f.print(c.OutOrStdout(), records)
		},
	}
	switch c.Name() {
	case "device":
		c.Flags().BoolVar(&f.hash, "hash-label", false, "publish an opaque label in place of NAME")
	case "server":
		c.Flags().Uint16Var(&f.port, "port", 25, "the `port` that the server listens on")
	}
	return c
}

// atLeast is cobra's rule with our exit code.
func atLeast(n int, use string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= n {
			return nil
		}
		_, what, _ := strings.Cut(use, " ")
		return usage(fmt.Errorf("%q takes %s", c.CommandPath(), what), fmt.Sprintf("%q shows how", c.CommandPath()+" --help"))
	}
}

// field is a number of a record that may be left out.
type field struct{ value *uint8 }

func (f *field) Type() string { return "number" }

func (f *field) String() string {
	if f.value == nil {
		return ""
	}
	return strconv.Itoa(int(*f.value))
}

func (f *field) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return errors.New("a number from 0 to 255 is wanted")
	}
	v := uint8(n)
	f.value = &v
	return nil
}

// check finds flags that do not go together.
func (f *tlsaFlags) check() error {
	forms := 0
	for _, on := range []bool{f.json, f.nsupdate, f.zone != ""} {
		if on {
			forms++
		}
	}
	switch {
	case forms > 1:
		return usage(errors.New("--json, --nsupdate and --zone exclude each other"))
	case f.zone == "" && len(f.servers) > 0:
		return usage(errors.New("--ns goes with --zone"))
	case f.ttl < 0 || f.ttl > highestTTL:
		return usage(fmt.Errorf("--ttl %d: it is from 0 to %d seconds", f.ttl, highestTTL))
	}
	return nil
}

// typed reads a name that a person typed, with or without a final dot.
func typed(s string) (dnsname.Name, error) { return dnsname.ParseUnicode(strings.TrimSuffix(s, ".")) }

func ownerOf(form func(dnsname.Name) (daneclient.Owner, error), word string) (daneclient.Owner, error) {
	name, err := typed(word)
	if err != nil {
		return daneclient.Owner{}, err
	}
	return form(name)
}

func deviceOwner(f *tlsaFlags, words []string) (daneclient.Owner, error) {
	name, err := typed(words[0])
	if err != nil {
		return daneclient.Owner{}, err
	}
	o, err := ownerOf(func(d dnsname.Name) (daneclient.Owner, error) { return daneclient.DeviceOwner(name, d) }, words[1])
	if err != nil || !f.hash {
		return o, err
	}
	return o.Opaque()
}

func freeOwner(_ *tlsaFlags, words []string) (daneclient.Owner, error) {
	name, err := dnsname.ParseOwner(strings.TrimSuffix(words[0], "."))
	if err != nil {
		return daneclient.Owner{}, err
	}
	return daneclient.FreeOwner(name)
}
