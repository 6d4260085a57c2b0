package daneclient_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// The name told in the application counts as one told by dane_clientid.
func TestMatch(t *testing.T) {
	ca := lab.NewCA("machines", lab.CAOptions{})
	chain := func(names ...string) []*x509.Certificate { return ca.Issue(lab.LeafOptions{Names: names}).Chain }
	own := selfSigned(device).Chain
	for _, test := range []struct {
		name    string
		told    string
		chain   []*x509.Certificate
		want    daneclient.Reason
		queries int
	}{
		{"its own key", device, own, 0, 1},
		{"of its CA", device, chain(device), 0, 1},
		{"another key", device, selfSigned(device).Chain, daneclient.NoMatch, 1},
		{"another name of the CA", device, chain("sensor8._device.example.org"), daneclient.NameMismatch, 1},
		{"no rule", "sensor8._device.example.org", chain("sensor8._device.example.org"), daneclient.NotAllowed, 0},
		{"a user's name", "_user.example.org", chain("example.org"), daneclient.ForbiddenName, 0},
		{"a server's name", "_443._tcp.www.example.org", chain("_443._tcp.www.example.org"), daneclient.ForbiddenName, 0},
		{"no name", "", own, daneclient.BadClientName, 0},
		{"no chain", device, nil, daneclient.NoCertificate, 0},
	} {
		dns := &answers{}
		dns.set(device, secure(publish(t, 3, 1, 1, own[0]), publish(t, 2, 0, 1, ca.Certificate)))
		name, _ := dnsname.ParseOwner(test.told)
		got, err := verifier(t, daneclient.Options{Resolver: dns}).Match(t.Context(), name, test.chain,
			allow(device, "_user.example.org", "_443._tcp.www.example.org", ""))
		if reasonOf(t, err) != test.want || dns.count() != test.queries {
			t.Errorf("%s: %v, %d queries; want %v, %d", test.name, err, dns.count(), test.want, test.queries)
		}
		if err == nil && (got.Name != name || got.Source != daneclient.SourceApplication) {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
	if _, err := verifier(t, daneclient.Options{Resolver: &answers{}}).Match(t.Context(), dnsname.MustParse(device), own, nil); reasonOf(t, err) != daneclient.NotAllowed {
		t.Errorf("nobody said who is allowed: %v", err)
	}
}

// crowd counts those who ask at once, and answers when all of them do.
type crowd struct {
	want int64
	in   atomic.Int64
	all  chan struct{}
}

func (s *crowd) Lookup(ctx context.Context, _ dnsname.Name, _ dnssec.Type) dnssec.Answer {
	if s.in.Add(1) == s.want {
		close(s.all)
	}
	select {
	case <-s.all:
		return secure()
	case <-ctx.Done():
		return dnssec.Answer{Reason: "too few at once"}
	}
}

// Who comes by Match has no address, and is not counted as one peer.
func TestMatchIsNotOnePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 5
		dns := &crowd{want: n, all: make(chan struct{})}
		v := verifier(t, daneclient.Options{Resolver: dns, PerPeer: 1})
		chain := selfSigned(device).Chain
		done := make(chan error, n)
		for i := range n {
			go func() {
				_, err := v.Match(t.Context(), dnsname.MustParse(fmt.Sprintf("x._device.example%d.org", i)), chain, anyName)
				done <- err
			}()
		}
		for range n {
			if err := <-done; reasonOf(t, err) != daneclient.NoRecord {
				t.Error(err)
			}
		}
	})
}
