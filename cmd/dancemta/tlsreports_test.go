package main

import (
	"bytes"
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"dancemta/config"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/internal/msgauth"
	"dancemta/queue/tlsrpt"
)

// oneRecord is a DNS in which only one TXT record is.
type oneRecord struct{ owner, text string }

func (r oneRecord) Lookup(_ context.Context, name dnsname.Name, _ dnssec.Type) dnssec.Answer {
	if name.String() == r.owner {
		return dnssec.Answer{State: dnssec.Secure, TXT: []string{r.text}}
	}
	return dnssec.Answer{State: dnssec.Secure, NXDomain: true}
}

// TestReportIsSigned: another program finds the signature of a report right, which
// nobody may read without. RFC 8460 3
func TestReportIsSigned(t *testing.T) {
	file, _ := newKeyFile(t, t.TempDir(), "example.test", "s", "ed25519")
	name := dnsname.MustParse
	signer, err := newSigner(&config.Config{DKIM: []config.DKIM{{Domain: name("example.test"), Selector: name("s"), Key: config.Path(file)}}})
	if err != nil {
		t.Fatal(err)
	}
	record, err := msgauth.Record(signer.Keys()[0].Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	var mails []tlsrpt.Mail
	synctest.Test(t, func(t *testing.T) {
		r, err := tlsrpt.New(tlsrpt.Options{
			Dir: t.TempDir(), Hostname: name("mx.example.test"), Organization: "Example", Contact: mailaddr.MustParse("tls@example.test"),
			Resolver:  oneRecord{"_smtp._tls.d.test", "v=TLSRPTv1; rua=mailto:tls@d.test"},
			Permitted: func(netip.Addr) bool { return false },
			Sign:      signer.Own,
			Submit:    func(_ context.Context, m tlsrpt.Mail) error { mails = append(mails, m); return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Counter().Add(tlsrpt.Session{Domain: name("d.test"), Policy: tlsrpt.Policy{Type: tlsrpt.NoPolicy, Domain: name("d.test")}})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Hour)
		defer cancel()
		r.Run(ctx)
	})
	if len(mails) != 1 {
		t.Fatalf("%d mails", len(mails))
	}
	verdicts, err := dkim.VerifyWithOptions(bytes.NewReader(mails[0].Body), &dkim.VerifyOptions{LookupTXT: func(string) ([]string, error) { return []string{record}, nil }})
	if err != nil || len(verdicts) != 1 || verdicts[0].Err != nil || verdicts[0].Domain != "example.test" {
		t.Errorf("%+v, %v\n%s", verdicts, err, mails[0].Body)
	}
}
