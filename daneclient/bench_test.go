package daneclient_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// BenchmarkMutualTLS compares whole handshakes of TLS 1.3 with a client
// certificate: judged by DANE with a warm verdict, and by a private pool of CAs.
// Same keys, in turns; the target is 0.95 of the pool's rate.
func BenchmarkMutualTLS(b *testing.B) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	pair := ca.Issue(lab.LeafOptions{Names: []string{"mx.example.org"}, EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}).TLSCertificate()
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	dns := &answers{}
	dns.set("_smtp-client.mx.example.org", secure(publish(b, 3, 1, 1, pair.Leaf)))
	v := verifier(b, daneclient.Options{Resolver: dns})
	for _, way := range []struct {
		name  string
		auth  tls.ClientAuthType
		judge func(tls.ConnectionState) error
	}{
		{"dane", tls.RequestClientCert, func(s tls.ConnectionState) error {
			cred, ok := daneclient.FromState(s, netip.Addr{})
			if !ok {
				return fmt.Errorf("no credential")
			}
			_, err := v.Client(b.Context(), cred, anyName)
			return err
		}},
		{"private-ca", tls.RequireAndVerifyClientCert, func(tls.ConnectionState) error { return nil }},
	} {
		b.Run(way.name, func(b *testing.B) {
			server := serverConfig(func(c *tls.Config) { c.ClientAuth, c.ClientCAs = way.auth, pool })
			if way.auth == tls.RequestClientCert {
				server.ClientCAs = nil
			}
			client := clientConfig(&pair, asIs)
			for b.Loop() {
				if err := way.judge(benchHandshake(b, server, client)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handshakes/s")
		})
	}
}

// benchHandshake shakes hands over an in-memory connection.
func benchHandshake(b *testing.B, server, client *tls.Config) tls.ConnectionState {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	done := make(chan error, 1)
	go func() { done <- tls.Client(far, client).Handshake() }()
	conn := tls.Server(near, server)
	if err := conn.Handshake(); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return conn.ConnectionState()
}

// BenchmarkKnownRecords judges chains of a CA (usage 2) whose records the resolver
// has in its cache: of a certificate that was proved before, whose verdict is over,
// and of one never seen, which costs a signature check.
func BenchmarkKnownRecords(b *testing.B) {
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	ca := lab.NewCA("many", lab.CAOptions{})
	n.World.Zone("partner.test.").Add("_smtp-client.many " + lab.TLSA(2, 0, 1, ca.Certificate))
	var creds []daneclient.Credential
	for range 64 {
		creds = append(creds, credential(ca.Issue(lab.LeafOptions{Names: []string{"many.partner.test"}}).Chain...))
	}
	for _, way := range []struct {
		name  string
		size  int // of the memory
		creds []daneclient.Credential
	}{{"seen-before", 100, creds[:1]}, {"new-certificate", 4, creds}} {
		b.Run(way.name, func(b *testing.B) {
			v := verifier(b, daneclient.Options{Resolver: benchResolver(b, n), CacheSize: way.size})
			for i := 0; b.Loop(); i++ {
				v.Forget()
				if _, err := v.Client(b.Context(), way.creds[i%len(way.creds)], anyName); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchResolver(b *testing.B, n *lab.Internet) *dnssec.Resolver {
	b.Helper()
	anchors, err := dnssec.ParseAnchors(n.World.Anchor())
	if err != nil {
		b.Fatal(err)
	}
	r, err := dnssec.New(dnssec.Options{Upstreams: []string{n.DNS.Addr()}, Anchors: anchors})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { r.Close() })
	return r
}

// BenchmarkCachedIdentities fills the cache with 100,000 proved identities.
func BenchmarkCachedIdentities(b *testing.B) {
	const identities = 100000
	leaf := lab.SelfSigned(lab.LeafOptions{Names: []string{"x.example.org"}}).Leaf()
	r := publish(b, 3, 1, 1, leaf)
	for b.Loop() {
		b.StopTimer()
		dns := everyName{record: r}
		free := daneclient.Rate{N: 10 * identities, Per: time.Second}
		v := verifier(b, daneclient.Options{Resolver: dns, CacheSize: identities, Rate: free, RatePerPeer: free, RatePerZone: free})
		cred := credential(leaf)
		cred.Named = true
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		before := m.HeapAlloc
		b.StartTimer()
		for i := range identities {
			cred.Name = dnsname.MustParse(fmt.Sprintf("d%d._device.example.org", i))
			if _, err := v.Client(b.Context(), cred, anyName); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc-before)/(1<<20), "MiB/100k")
		runtime.KeepAlive(v)
	}
}

// everyName has the same record at every name.
type everyName struct{ record dnssec.TLSA }

func (e everyName) Lookup(_ context.Context, _ dnsname.Name, _ dnssec.Type) dnssec.Answer {
	return secure(e.record)
}
