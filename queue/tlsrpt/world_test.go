package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/internal/mailaddr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	name    = dnsname.MustParse
	address = netip.MustParseAddr
	noon    = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
)

// world is a reporter, what it is told and what it sends.
type world struct {
	t   testing.TB
	o   Options
	r   *Reporter
	now time.Time

	mu     sync.Mutex
	txt    map[string]dnssec.Answer // by name
	asked  []string
	mails  []Mail
	submit error
	log    bytes.Buffer
}

// newWorld makes a reporter whose reports are due an hour after the day's end.
func newWorld(t testing.TB, change ...func(*world)) *world {
	w := &world{t: t, now: noon, txt: map[string]dnssec.Answer{}}
	w.o = Options{
		Dir: t.TempDir(), Hostname: name("mx.sender.test"), Organization: "Sender Org", Contact: mailaddr.MustParse("tls@sender.test"),
		Resolver:  w,
		Permitted: func(netip.Addr) bool { return true },
		Sign:      func(m []byte) ([]byte, error) { return append([]byte("DKIM-Signature: signed\r\n"), m...), nil },
		Submit: func(_ context.Context, m Mail) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.submit == nil {
				w.mails = append(w.mails, m)
			}
			return w.submit
		},
		Delay:  func() time.Duration { return time.Hour },
		Now:    func() time.Time { return w.now },
		Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
	for _, f := range change {
		f(w)
	}
	w.start()
	return w
}

// start is what a start of the program does, perhaps after a crash of an earlier one.
func (w *world) start() {
	w.t.Helper()
	r, err := New(w.o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.r = r
}

func (w *world) Lookup(_ context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch t {
	case dnssec.TypeTXT:
		w.asked = append(w.asked, name.String())
		if a, ok := w.txt[name.String()]; ok {
			return a
		}
		return dnssec.Answer{State: dnssec.Secure, NXDomain: true}
	case dnssec.TypeA:
		return dnssec.Answer{State: dnssec.Insecure, Addrs: []netip.Addr{address("127.0.0.1")}}
	}
	return dnssec.Answer{State: dnssec.Insecure}
}

// wants publishes the record of a domain.
func (w *world) wants(domain, record string) {
	w.txt["_smtp._tls."+domain] = dnssec.Answer{State: dnssec.Insecure, TXT: []string{record}}
}

// at makes it t, and does what is due then.
func (w *world) at(t time.Time) {
	w.now = t
	w.r.plan()
	w.r.sendDue(w.t.Context())
}

func (w *world) midnight() time.Time { return time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC) }

func (w *world) equal(what string, got, want any) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: %v, want %v\n%s", what, got, want, w.log.String())
	}
}

func (w *world) add(domain string) {
	w.r.Counter().Add(Session{Domain: name(domain), Policy: Policy{Type: NoPolicy, Domain: name(domain)}, MX: name("mx." + domain)})
}

// post is what an HTTPS host got.
type post struct {
	header http.Header
	body   string // unpacked
}

// host is a real HTTPS server.
type host struct {
	*httptest.Server
	mu     sync.Mutex
	posts  []post
	status int
}

// newHost starts one whose certificate is good for a name; w trusts its CA and finds it.
func newHost(t *testing.T, w *world, certName string) *host {
	h := &host{status: http.StatusCreated}
	ca := lab.NewCA("the CA", lab.CAOptions{NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(72 * time.Hour)})
	h.Server = httptest.NewUnstartedServer(h)
	h.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	h.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(lab.LeafOptions{Names: []string{certName}, NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(72 * time.Hour)}).TLSCertificate()}}
	h.StartTLS()
	t.Cleanup(h.Close)
	w.o.Roots = x509.NewCertPool()
	w.o.Roots.AddCert(ca.Certificate)
	w.start()
	return h
}

func (h *host) port() string { return h.URL[strings.LastIndexByte(h.URL, ':')+1:] }

func (h *host) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	packed, err := gzip.NewReader(r.Body)
	var text []byte
	if err == nil {
		text, err = io.ReadAll(packed)
	}
	if err != nil || r.Method != http.MethodPost {
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.posts = append(h.posts, post{r.Header, string(text)})
	status := h.status
	if r.URL.Path == "/elsewhere" {
		status = http.StatusCreated
	}
	if status == http.StatusTemporaryRedirect {
		rw.Header().Set("Location", "/elsewhere")
	}
	rw.WriteHeader(status)
}

func (h *host) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.posts)
}

var errTest = errors.New("not now")
