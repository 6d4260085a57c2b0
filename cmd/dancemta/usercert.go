package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dancemta/daneclient"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/newfile"
	"dancemta/saslext"
	"dancemta/saslext/usercert"
)

const (
	// The files of a CA in its folder.
	caCertFile = "ca.pem"
	caKeyFile  = "ca.key"

	caDays   = 20 * 365 // a new CA means new certificates for all users
	userDays = 365      // whoever leaves is out after a year at the latest
	maxDays  = 100 * 365
)

func newUserCert() *cobra.Command {
	c := &cobra.Command{
		Use:   "usercert",
		Short: "Make a domain's user CA and its users' certificates, or look into one",
		Long: `A domain's users log in with certificates of the domain's own CA, which it publishes
at _user.<domain> (see "dancemta tlsa user"). These commands make the CA and the
certificates, and say what a certificate is worth. No network is used.`,
		Args: noArgs, RunE: needsCommand,
	}
	c.AddCommand(newUserCertCA(), newUserCertIssue(), newUserCertShow())
	return c
}

func newUserCertCA() *cobra.Command {
	var domain, out string
	var days int
	var asJSON bool
	c := &cobra.Command{
		Use:   "ca --domain DOMAIN --out FOLDER",
		Short: "Make the CA of a domain's users",
		Long: `Make a key (ca.key, mode 0600) and a CA certificate (ca.pem) that vouches for users of
this domain and for nothing else, and print the record to publish. Who has the key can
be any user of the domain: keep it where no server is. Files that are there already are
never overwritten.`,
		Example: "  dancemta usercert ca --domain example.org --out ca",
		Args:    exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := needsFlags(c, "domain", "out"); err != nil {
				return err
			}
			made, err := makeCA(domain, out, days)
			if err != nil {
				return err
			}
			return made.print(c.OutOrStdout(), asJSON)
		},
	}
	c.Flags().StringVar(&domain, "domain", "", "the `domain` of the users")
	c.Flags().StringVar(&out, "out", "", "the `folder` for ca.key and ca.pem; it is made if need be")
	c.Flags().IntVar(&days, "days", caDays, "how many `days` the CA is valid")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

func makeCA(word, out string, days int) (*madeFiles, error) {
	name, err := typed(word)
	if err == nil {
		_, err = saslext.NewIdentity("user", name.String()) // a domain that users can have
	}
	if err != nil {
		return nil, usage(fmt.Errorf("--domain: %w", err))
	}
	end, err := endAfter(days)
	if err != nil {
		return nil, err
	}
	owner, err := daneclient.UserOwner(name)
	if err != nil {
		return nil, usage(err)
	}
	ca, err := usercert.NewCA(name, time.Now(), end)
	if err != nil {
		return nil, err
	}
	record, _, err := owner.Record(daneclient.Material{Certificates: ca.Chain}, daneclient.Fields{}, time.Now())
	if err != nil {
		return nil, err
	}
	made := &madeFiles{
		What: "CA", Domain: name.String(), Certificate: filepath.Join(out, caCertFile), Key: filepath.Join(out, caKeyFile),
		NotAfter: ca.Chain[0].NotAfter, Record: tlsa.Entry{Owner: owner.String(), TTL: maxTTL, Record: record}.String(),
	}
	return made, made.write(&ca.Pair, nil)
}

// issueFlags are those of usercert issue.
type issueFlags struct {
	ca, user, out, p12, p12Password string
	days                            int
	json                            bool
}

func newUserCertIssue() *cobra.Command {
	f := new(issueFlags)
	c := &cobra.Command{
		Use:   "issue --ca FOLDER --user UID --out FOLDER",
		Short: "Issue the certificate of a user",
		Long: `Make a key and a certificate for one user: UID.key (mode 0600) and UID.pem, which holds
the certificate and the CA behind it, as the user's program must send both. With --p12
both also go into a PKCS #12 file, which mail programs import.

The UID gets its normal form: "Rick" becomes rick. With a CA of other software that names
no domain, write --user rick@example.org. Files that are there already are never
overwritten.`,
		Example: `  dancemta usercert issue --ca ca --user rick --out users
  dancemta usercert issue --ca ca --user rick --out users --p12 rick.p12 --p12-password-file password`,
		Args: exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := needsFlags(c, "ca", "user", "out"); err != nil {
				return err
			}
			made, err := f.issue(c.ErrOrStderr())
			if err != nil {
				return err
			}
			return made.print(c.OutOrStdout(), f.json)
		},
	}
	c.Flags().StringVar(&f.ca, "ca", "", "the `folder` with ca.pem and ca.key")
	c.Flags().StringVar(&f.user, "user", "", "the user: `UID` or UID@DOMAIN")
	c.Flags().StringVar(&f.out, "out", "", "the `folder` for UID.key and UID.pem; it is made if need be")
	c.Flags().IntVar(&f.days, "days", userDays, "how many `days` the certificate is valid, at most as long as the CA")
	c.Flags().StringVar(&f.p12, "p12", "", "also write a PKCS #12 `file`")
	c.Flags().StringVar(&f.p12Password, "p12-password-file", "", "the `file` whose first line is its password")
	c.Flags().BoolVar(&f.json, "json", false, "print one JSON object")
	return c
}

func (f *issueFlags) issue(warnings io.Writer) (*madeFiles, error) {
	end, err := endAfter(f.days)
	if err != nil {
		return nil, err
	}
	password, err := f.password()
	if err != nil {
		return nil, err
	}
	ca, err := readCA(f.ca, warnings)
	if err != nil {
		return nil, err
	}
	id, err := userOf(ca, f.user)
	if err != nil {
		return nil, usage(fmt.Errorf("--user: %w", err))
	}
	pair, err := ca.Issue(usercert.User{UID: id.UID, Domain: id.Domain, Shown: id.String(), NotAfter: end}, time.Now())
	switch {
	case errors.Is(err, usercert.ErrOtherDomain):
		return nil, usage(fmt.Errorf("--user: %w", err))
	case err != nil:
		return nil, &exitError{code: exitBroken, err: fmt.Errorf("%s: %w", filepath.Join(f.ca, caCertFile), err)}
	}
	made := &madeFiles{
		What: "certificate", Identity: id.String(), PKCS12: f.p12, NotAfter: pair.Chain[0].NotAfter,
		Certificate: filepath.Join(f.out, id.UID+".pem"), Key: filepath.Join(f.out, id.UID+".key"),
	}
	var p12 []byte
	if f.p12 != "" {
		if p12, err = pair.PKCS12(password); err != nil {
			return nil, usage(fmt.Errorf("%s: %w", f.p12Password, err))
		}
	}
	return made, made.write(pair, p12)
}

// password reads the one of the PKCS #12 file; without such a file it is empty.
func (f *issueFlags) password() (string, error) {
	switch {
	case f.p12 == "" && f.p12Password == "":
		return "", nil
	case f.p12 == "" || f.p12Password == "":
		return "", usage(errors.New("--p12 and --p12-password-file go together"))
	}
	text, err := readKeyFile(f.p12Password)
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	password := strings.TrimSuffix(string(line), "\r")
	if password == "" {
		return "", usage(fmt.Errorf("%s: the first line is empty: no password", f.p12Password))
	}
	return password, nil
}

// userOf reads the user; what he leaves out the CA says.
func userOf(ca *usercert.CA, word string) (saslext.Identity, error) {
	if strings.Contains(word, "@") {
		return saslext.ParseIdentity(word)
	}
	domain := ca.Domain()
	if domain.IsZero() {
		return saslext.Identity{}, fmt.Errorf("this CA names no domain of its own: write %s@ and the domain", word)
	}
	return saslext.NewIdentity(word, domain.String())
}

func readCA(folder string, warnings io.Writer) (*usercert.CA, error) {
	hint := `"dancemta usercert ca" makes ca.pem and ca.key`
	certFile, keyFile := filepath.Join(folder, caCertFile), filepath.Join(folder, caKeyFile)
	certs, err := readKeyFile(certFile)
	if err != nil {
		return nil, unavailable(err, hint)
	}
	key, err := readKeyFile(keyFile)
	if err != nil {
		return nil, unavailable(err, hint)
	}
	ca, err := usercert.ParseCA(certs, key)
	if err != nil {
		return nil, unavailable(fmt.Errorf("%s and %s: %w", certFile, keyFile, err), hint)
	}
	if info, err := os.Stat(keyFile); err == nil && info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(warnings, "warning: %s: others may read this key (mode %04o); 0600 is safe\n", keyFile, info.Mode().Perm())
	}
	return ca, nil
}

func endAfter(days int) (time.Time, error) {
	if days < 1 || days > maxDays {
		return time.Time{}, usage(fmt.Errorf("--days %d: it is from 1 to %d", days, maxDays))
	}
	return time.Now().AddDate(0, 0, days), nil
}

// needsFlags is cobra's rule with our exit code.
func needsFlags(c *cobra.Command, names ...string) error {
	for _, n := range names {
		if c.Flags().Lookup(n).Value.String() == "" {
			return usage(fmt.Errorf("%q needs --%s", c.CommandPath(), n), fmt.Sprintf("%q shows how", c.CommandPath()+" --help"))
		}
	}
	return nil
}

// madeFiles says what was made; it is the form of --json.
type madeFiles struct {
	What        string    `json:"made"`
	Domain      string    `json:"domain,omitempty"`
	Identity    string    `json:"identity,omitempty"`
	Certificate string    `json:"certificate"`
	Key         string    `json:"key"`
	PKCS12      string    `json:"pkcs12,omitempty"`
	NotAfter    time.Time `json:"not_after"`
	Record      string    `json:"record,omitempty"`
}

// write writes all files or none.
func (m *madeFiles) write(pair *usercert.Pair, p12 []byte) error {
	key, err := pair.KeyPEM()
	if err != nil {
		return err
	}
	files := []newfile.File{
		{Path: m.Key, Data: key, Mode: newfile.Secret},
		{Path: m.Certificate, Data: pair.CertPEM(), Mode: newfile.Public},
	}
	if p12 != nil {
		files = append(files, newfile.File{Path: m.PKCS12, Data: p12, Mode: newfile.Secret})
	}
	err = newfile.Write(files...)
	if errors.Is(err, fs.ErrExist) {
		return unavailable(err, "nothing is overwritten: name another folder, or move the old files away")
	}
	if err != nil {
		return unavailable(err)
	}
	return nil
}

func (m *madeFiles) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(m)
	}
	var b strings.Builder
	if m.What == "CA" {
		fmt.Fprintf(&b, "the CA of the users of %s, valid until %s\n", m.Domain, m.NotAfter.UTC().Format(time.DateOnly))
		fmt.Fprintf(&b, "  %s  its certificate\n  %s  its key: who has it can be any of these users\n", m.Certificate, m.Key)
		fmt.Fprintf(&b, "publish in the signed zone:\n%s\n", m.Record)
	} else {
		fmt.Fprintf(&b, "the certificate of %s, valid until %s\n", m.Identity, m.NotAfter.UTC().Format(time.DateOnly))
		fmt.Fprintf(&b, "  %s  the certificate, and the CA behind it\n  %s  its key\n", m.Certificate, m.Key)
		if m.PKCS12 != "" {
			fmt.Fprintf(&b, "  %s  all of it, for mail programs\n", m.PKCS12)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
