package daneclient_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == coldServerCommand {
		if err := serveCold(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// answers is a resolver made of literals. A name that stands nowhere fails, so
// that a lookup which nobody expected shows; all names asked for are kept.
type answers struct {
	mu    sync.Mutex
	known map[string]dnssec.Answer
	asked []string
}

func (a *answers) Lookup(_ context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, name.String())
	answer, ok := a.known[name.String()]
	if !ok || t != dnssec.TypeTLSA {
		return dnssec.Answer{Reason: "nobody expected this question"}
	}
	return answer
}

func (a *answers) set(name string, answer dnssec.Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = map[string]dnssec.Answer{}
	}
	a.known[name] = answer
}

func (a *answers) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// secure is a proved answer that lives five hours.
func secure(records ...dnssec.TLSA) dnssec.Answer {
	return dnssec.Answer{State: dnssec.Secure, TLSA: records, Expires: time.Now().Add(5 * time.Hour)}
}

func publish(t testing.TB, usage, selector, matching uint8, cert *x509.Certificate) dnssec.TLSA {
	t.Helper()
	r, err := tlsa.Make(usage, selector, matching, cert)
	if err != nil {
		t.Fatal(err)
	}
	return dnssec.TLSA(r)
}

func credential(chain ...*x509.Certificate) daneclient.Credential {
	return daneclient.Credential{Chain: chain, Version: 0x0304, Peer: netip.MustParseAddr("192.0.2.7")}
}

func selfSigned(names ...string) daneclient.Credential {
	return credential(lab.SelfSigned(lab.LeafOptions{Names: names}).Chain...)
}

func verifier(t testing.TB, o daneclient.Options) *daneclient.Verifier {
	t.Helper()
	v, err := daneclient.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// allow is an allow list.
func allow(owners ...string) func(dnsname.Name) bool {
	return func(n dnsname.Name) bool { return slices.Contains(owners, n.String()) }
}

var serverAuth = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}

func anyName(dnsname.Name) bool { return true }

// reasonOf returns the reason of an *Error; the zero Reason for none.
func reasonOf(t testing.TB, err error) daneclient.Reason {
	t.Helper()
	if err == nil {
		return 0
	}
	var e *daneclient.Error
	if !errors.As(err, &e) {
		t.Fatalf("no *Error: %v", err)
	}
	return e.Reason
}
