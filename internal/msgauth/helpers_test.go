package msgauth

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/netip"
	"sync"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

// locked is zones for many goroutines. A look-up that hangs holds no lock.
type locked struct {
	mu sync.Mutex
	zones
}

func (l *locked) Lookup(ctx context.Context, name dnsname.Name, t Type) Answer {
	l.mu.Lock()
	hangs := len(l.records[name.String()+" TXT"]) > 0 && l.records[name.String()+" TXT"][0] == "hang"
	if hangs {
		l.mu.Unlock()
		<-ctx.Done()
		return Answer{}
	}
	defer l.mu.Unlock()
	return l.zones.Lookup(ctx, name, t)
}

func bigInt(b []byte) *big.Int { return new(big.Int).SetBytes(b) }

func base64PKCS1(k *rsa.PublicKey) string {
	return base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(k))
}

// quiet is zones that count nothing, so that many may ask.
type quiet struct{ zones }

func (q quiet) Lookup(ctx context.Context, name dnsname.Name, t Type) Answer {
	return q.zones.Lookup(ctx, name, t)
}

var (
	testPeer   = netip.MustParseAddr("192.0.2.7")
	testSender = mailaddr.MustParse("joe@football.example.com")
)
