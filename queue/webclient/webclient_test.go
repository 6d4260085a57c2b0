package webclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// addresses is what DNS knows of host.test.
type addresses struct{ v4, v6 []string }

func (a addresses) Lookup(_ context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer {
	all := a.v4
	if t == dnssec.TypeAAAA {
		all = a.v6
	}
	if name.String() != "host.test" || len(all) == 0 {
		return dnssec.Answer{State: dnssec.Insecure}
	}
	answer := dnssec.Answer{State: dnssec.Insecure}
	for _, s := range all {
		answer.Addrs = append(answer.Addrs, netip.MustParseAddr(s))
	}
	return answer
}

// scene is a real HTTPS host.
type scene struct {
	*httptest.Server
	ca   *lab.CA
	o    Options
	asks int
}

func (s *scene) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asks++
	switch r.URL.Path {
	case "/elsewhere":
		http.Redirect(w, r, "/", http.StatusFound)
	case "/long":
		w.Header().Set("X-Long", strings.Repeat("x", 2*maxHeader))
	}
	io.WriteString(w, "hello "+r.Host)
}

func newScene(t *testing.T) *scene {
	s := &scene{ca: lab.NewCA("hosts", lab.CAOptions{})}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.shows("host.test")
	s.StartTLS()
	t.Cleanup(s.Close)
	s.o = Options{Resolver: addresses{v4: []string{"127.0.0.1"}}, Permitted: func(netip.Addr) bool { return true }, Roots: x509.NewCertPool()}
	s.o.Roots.AddCert(s.ca.Certificate)
	return s
}

func (s *scene) shows(name string) {
	s.TLS = &tls.Config{Certificates: []tls.Certificate{s.ca.Issue(lab.LeafOptions{Names: []string{name}}).TLSCertificate()}}
}

func (s *scene) port() string { return s.URL[strings.LastIndexByte(s.URL, ':'):] }

func (s *scene) get(t *testing.T, url string) (status int, body string, err error) {
	t.Helper()
	c, err := New(s.o)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Do(request, func(r *http.Response) error {
		text, err := io.ReadAll(r.Body)
		status, body = r.StatusCode, string(text)
		return err
	})
	return status, body, err
}

func TestDo(t *testing.T) {
	for _, c := range []struct {
		name, path string
		set        func(*scene)
		status     int // 0: an error
		why        string
	}{
		{"good", "/", func(*scene) {}, 200, ""},
		{"a redirect is an answer", "/elsewhere", func(*scene) {}, 302, ""},
		{"long header", "/long", func(*scene) {}, 0, "exceeded"},
		{"private address", "/", func(s *scene) { s.o.Permitted = func(a netip.Addr) bool { return !a.IsLoopback() } }, 0, "no address that may be called"},
		{"no address", "/", func(s *scene) { s.o.Resolver = addresses{} }, 0, "no address that may be called"},
		{"the second address", "/", func(s *scene) { s.o.Resolver = addresses{v6: []string{"::2"}, v4: []string{"127.0.0.1"}} }, 200, ""},
		{"foreign roots", "/", func(s *scene) { s.o.Roots = x509.NewCertPool() }, 0, "unknown authority"},
		{"another time", "/", func(s *scene) { s.o.Now = func() time.Time { return time.Now().Add(100 * 365 * 24 * time.Hour) } }, 0, "expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			c.set(s)
			status, body, err := s.get(t, "https://host.test"+s.port()+c.path)
			switch {
			case c.status == 0:
				if err == nil || !strings.Contains(err.Error(), c.why) {
					t.Errorf("%d %q, %v; want %q", status, body, err, c.why)
				}
			case err != nil || status != c.status || s.asks != 1:
				t.Errorf("%d %q, %v, asked %d times; want %d", status, body, err, s.asks, c.status)
			}
		})
	}
}

func TestCertificateOfAnother(t *testing.T) {
	s := newScene(t)
	_, _, err := s.get(t, "https://other.test"+s.port()+"/")
	if !errors.Is(err, ErrAddress) {
		t.Errorf("%v, want ErrAddress", err)
	}
	s.o.Resolver = anyone{}
	_, _, err = s.get(t, "https://other.test"+s.port()+"/")
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("%v, want one of the certificate", err)
	}
}

// anyone has every name at 127.0.0.1.
type anyone struct{}

func (anyone) Lookup(_ context.Context, _ dnsname.Name, t dnssec.Type) dnssec.Answer {
	if t != dnssec.TypeA {
		return dnssec.Answer{State: dnssec.Insecure}
	}
	return dnssec.Answer{State: dnssec.Insecure, Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
}

func TestNotCalled(t *testing.T) {
	s := newScene(t)
	for _, url := range []string{
		"http://host.test" + s.port() + "/", "https:///", "https://host..test/", "https://[::1]" + s.port() + "/",
	} {
		if status, body, err := s.get(t, url); err == nil {
			t.Errorf("%s: %d %q", url, status, body)
		}
	}
	if s.asks != 0 {
		t.Errorf("asked %d times", s.asks)
	}
}

// TestDials: few addresses are tried, IPv6 first, and no port but the one asked for.
func TestDials(t *testing.T) {
	var dialed []string
	s := &scene{o: Options{
		Resolver:  addresses{v6: []string{"2001:db8::1", "2001:db8::2"}, v4: []string{"192.0.2.1", "198.51.100.1", "192.0.2.2", "192.0.2.3"}},
		Permitted: func(a netip.Addr) bool { return a != netip.MustParseAddr("198.51.100.1") },
		Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			if at, bounded := ctx.Deadline(); !bounded || time.Until(at) > dialTimeout {
				t.Errorf("%s is dialed until %v", address, at)
			}
			dialed = append(dialed, address)
			return nil, errors.New("refused")
		},
	}}
	if _, _, err := s.get(t, "https://HOST.test/"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
	if want := []string{"[2001:db8::1]:443", "[2001:db8::2]:443", "192.0.2.1:443", "192.0.2.2:443"}; !slices.Equal(dialed, want) {
		t.Errorf("dialed %v, want %v", dialed, want)
	}
}

// TestSilence: a host that says nothing holds nobody for more than a minute.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		go io.Copy(io.Discard, there)
		s := &scene{o: Options{
			Resolver: addresses{v4: []string{"192.0.2.1"}}, Permitted: netip.Addr.IsValid,
			Dial: func(context.Context, string, string) (net.Conn, error) { return here, nil },
		}}
		start := time.Now()
		_, _, err := s.get(t, "https://host.test/")
		if took := time.Since(start); err == nil || took > timeout {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestNew(t *testing.T) {
	for _, o := range []Options{{}, {Resolver: addresses{}}, {Permitted: netip.Addr.IsValid}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}
