package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/msgauth"
	"dancemta/internal/newfile"
	"dancemta/internal/pemfile"
)

// rsaBits is what verifiers must take and what fits into most DNS forms. RFC 8301 3.2
const rsaBits = 2048

// recordTTL is that of the record to publish: an exchange of keys waits for it.
const recordTTL = time.Hour

func newDKIM() *cobra.Command {
	c := &cobra.Command{
		Use:   "dkim",
		Short: "Make the keys that sign mail, and see whether DNS publishes them",
		Long: `Make the keys by which this server signs the mail of its users (DKIM), print the records
to publish, and compare them with what DNS has. Exchange a key by making another one
with another selector: see docs/dkim.md.`,
		Args: noArgs,
		RunE: needsCommand,
	}
	c.AddCommand(newDKIMNew(), newDKIMShow())
	return c
}

// dkimName is which key is meant.
type dkimName struct{ domain, selector string }

func (n *dkimName) register(c *cobra.Command) {
	c.Flags().StringVar(&n.domain, "domain", "", "the `domain` in the From field of the mail")
	c.Flags().StringVar(&n.selector, "selector", "", "the `name` of the key within the domain, such as 2026a")
}

func (n *dkimName) key() (k msgauth.Key, err error) {
	if n.domain == "" || n.selector == "" {
		return k, usage(errors.New("--domain and --selector are needed"), "only a file that is called SELECTOR._domainkey.DOMAIN.pem tells them itself")
	}
	if k.Domain, err = dnsname.ParseUnicode(strings.TrimSuffix(n.domain, ".")); err != nil {
		return k, usage(fmt.Errorf("--domain: %w", err))
	}
	if k.Selector, err = dnsname.Parse(n.selector); err != nil {
		return k, usage(fmt.Errorf("--selector: %w", err))
	}
	if _, err = dnsname.ParseOwner(k.Owner()); err != nil {
		return k, usage(err)
	}
	return k, nil
}

// guess takes what no flag says from a file's name, as "dkim new" makes it.
func (n *dkimName) guess(file string) {
	base, ok := strings.CutSuffix(filepath.Base(file), keySuffix)
	selector, domain, found := strings.Cut(base, "._domainkey.")
	if ok && found && n.domain == "" && n.selector == "" {
		n.domain, n.selector = domain, selector
	}
}

// keySuffix ends the names of key files.
const keySuffix = ".pem"

func newDKIMNew() *cobra.Command {
	var n dkimName
	var kind, dir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "new",
		Short: "Make a key, and print its record",
		Long: `Make a key for DKIM, write it to SELECTOR._domainkey.DOMAIN.pem in the folder (mode 0600),
and print the TXT record to publish and the lines for the configuration. Publish the record before
the server signs with the key. An existing file is never overwritten.

Ed25519 keys are short and quick, but some verifiers know only RSA: with one key of each type,
mail gets both signatures.`,
		Example: `  dancemta dkim new --domain example.org --selector ed2026 --dir /etc/dancemta
  dancemta dkim new --domain example.org --selector rsa2026 --type rsa --dir /etc/dancemta`,
		Args: exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error {
			k, err := n.key()
			if err != nil {
				return err
			}
			if dir == "" {
				return usage(errors.New("--dir is missing: the folder of the key"))
			}
			if k.Key, err = generateDKIM(kind); err != nil {
				return err
			}
			file := filepath.Join(dir, k.Owner()+keySuffix)
			text, err := pemfile.EncodeKey(k.Key)
			if err != nil {
				return err
			}
			if err := newfile.Write(newfile.File{Path: file, Data: text, Mode: newfile.Secret}); err != nil {
				return unavailable(err, "another --selector makes another key")
			}
			return printDKIM(c.OutOrStdout(), findRecord(c.Context(), nil, k), file, asJSON)
		},
	}
	n.register(c)
	c.Flags().StringVar(&kind, "type", "ed25519", "ed25519 or rsa (2048 bits)")
	c.Flags().StringVar(&dir, "dir", "", "the `folder` to write to (required)")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	if err := c.MarkFlagDirname("dir"); err != nil {
		panic(err) // the flag was defined just above
	}
	return c
}

func generateDKIM(kind string) (crypto.Signer, error) {
	switch kind {
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case "rsa":
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, usage(fmt.Errorf("--type %q: ed25519 or rsa", kind))
}

func newDKIMShow() *cobra.Command {
	var n dkimName
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "show [FILE]",
		Short: "Print the record of a key, or compare all keys with DNS",
		Long: `Print the TXT record of the key in FILE; its name tells domain and selector if it is as
"dkim new" made it. Without FILE: print the records of all keys in the configuration, and
whether DNS publishes them: match, mismatch or missing. The exit code is then 0 when all
match, 6 when one does not, 9 when DNS does not answer.`,
		Example: `  dancemta dkim show ed2026._domainkey.example.org.pem
  dancemta dkim show --config /etc/dancemta/dancemta.toml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return showDKIM(c.Context(), c.OutOrStdout(), path, asJSON)
			}
			n.guess(args[0])
			k, err := n.key()
			if err != nil {
				return err
			}
			if k.Key, err = readDKIMKey(args[0]); err == nil {
				err = msgauth.CheckKey(k.Key)
			}
			if err != nil {
				return unavailable(fmt.Errorf("%s: %w", args[0], err))
			}
			return printDKIM(c.OutOrStdout(), findRecord(c.Context(), nil, k), "", asJSON)
		},
	}
	n.register(c)
	addConfigFlag(c, &path)
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object for each key")
	return c
}

// showDKIM prints and judges all keys of a configuration.
func showDKIM(ctx context.Context, w io.Writer, path string, asJSON bool) error {
	cfg, err := loadConfig(path)
	if err != nil {
		return err
	}
	s, err := newSigner(cfg)
	if err != nil {
		return err
	}
	resolver, _, err := newResolver(cfg, dnssec.Options{})
	if err != nil {
		return err
	}
	defer resolver.Close()
	ctx, cancel := context.WithTimeout(ctx, recordsTimeout)
	defer cancel()
	var wrong, unknowns int
	for _, k := range s.Keys() {
		f := findRecord(ctx, resolver, k)
		switch f.State {
		case string(msgauth.Match):
		case unknown:
			unknowns++
		default:
			wrong++
		}
		if err := printDKIM(w, f, "", asJSON); err != nil {
			return err
		}
	}
	switch {
	case wrong > 0:
		return &exitError{code: exitBroken, err: fmt.Errorf("%d of %d keys are not published as they are", wrong, len(cfg.DKIM))}
	case unknowns > 0:
		return &exitError{code: exitTemporary, err: fmt.Errorf("of %d keys DNS does not say what is published", unknowns)}
	}
	return nil
}

// printDKIM prints one key; file is where it was written just now.
func printDKIM(w io.Writer, f finding, file string, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(f)
	}
	var b strings.Builder
	if file != "" {
		fmt.Fprintf(&b, "; the key is in %s; publish its record:\n", file)
	}
	fmt.Fprintf(&b, "%s. %d IN TXT %s\n", f.Owner, int(recordTTL.Seconds()), msgauth.ZoneText(f.Record))
	if f.State != "" {
		fmt.Fprintf(&b, "; DNS: %s", f.State)
		if f.Why != "" {
			fmt.Fprintf(&b, " (%s)", f.Why)
		}
		b.WriteByte('\n')
	}
	if file != "" {
		fmt.Fprintf(&b, "; then, in the configuration:\n; [[dkim]]\n; domain   = %q\n; selector = %q\n; key      = %q\n", f.Domain, f.Selector, file)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
