package dnssec

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"dancemta/internal/dnsname"
)

// server is one upstream and the ways to it.
type server struct {
	text    string // as configured
	addr    netip.AddrPort
	stream  *stream // by TCP, or by TLS where that is wanted
	tls     bool    // then nothing goes by any other way
	benched time.Time
}

// target is an upstream as it is configured.
type target struct {
	addr netip.AddrPort
	tls  bool
	name string             // in the server's certificate; "" when it is known by its key
	pin  *[sha256.Size]byte // of its key; nil: it is known by its name
}

const (
	tlsScheme = "tls://"
	pinPrefix = "sha256/" // RFC 7858 4.2, in the form of RFC 7469 2.4
)

var errUpstream = errors.New("want IP:port such as 127.0.0.1:53, tls://IP:port#name or tls://IP:port#sha256/BASE64")

// parseTarget reads "IP:port" (UDP and TCP), "tls://IP:port#name" (the
// certificate must be good for the name, RFC 8310 8.1) or
// "tls://IP:port#sha256/BASE64" (the server's key must have the digest,
// RFC 7858 4.2).
func parseTarget(text string) (t target, err error) {
	rest, isTLS := strings.CutPrefix(text, tlsScheme)
	addr, who, named := strings.Cut(rest, "#")
	if t.addr, err = netip.ParseAddrPort(addr); err != nil || t.addr.Port() == 0 || isTLS != named {
		return target{}, fmt.Errorf("upstream %q: %w", text, errUpstream)
	}
	t.tls = isTLS
	if !isTLS {
		return t, nil
	}
	if digest, pinned := strings.CutPrefix(who, pinPrefix); pinned {
		raw, err := base64.StdEncoding.DecodeString(digest)
		if err != nil || len(raw) != sha256.Size {
			return target{}, fmt.Errorf("upstream %q: the digest of a key is SHA-256, in base64", text)
		}
		t.pin = (*[sha256.Size]byte)(raw)
		return t, nil
	}
	name, err := dnsname.Parse(who)
	if _, isIP := netip.ParseAddr(who); isIP == nil {
		err = errUpstream
	}
	if err != nil {
		return target{}, fmt.Errorf("upstream %q: %w", text, err)
	}
	t.name = name.String()
	return t, nil
}

// newServer makes the ways to an upstream; nothing is dialed yet.
func newServer(text string, o Options) (*server, error) {
	t, err := parseTarget(text)
	if err != nil {
		return nil, err
	}
	address := t.addr.String()
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	if t.tls {
		d := &tls.Dialer{Config: t.config(o)}
		dial = func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	}
	return &server{text: text, addr: t.addr, tls: t.tls, stream: newStream(dial)}, nil
}

// config is strict: who does not prove to be the server is not asked, and there
// is no falling back to clear text. RFC 8310 5
func (t target) config(o Options) *tls.Config {
	c := &tls.Config{
		MinVersion:           tls.VersionTLS12,
		NextProtos:           []string{"dot"}, // RFC 7858 IANA: so that it is no other service's certificate
		ServerName:           t.name,
		RootCAs:              o.TLSRoots,
		Time:                 o.Now,
		GetClientCertificate: o.ClientCertificate,
	}
	if o.ClientCertificate != nil {
		c.MinVersion = tls.VersionTLS13 // below, it would go over the line in clear. client-auth 12
	}
	if t.pin != nil {
		c.InsecureSkipVerify = true // in its place:
		c.VerifyConnection = t.verifyPin
	}
	return c
}

// verifyPin compares the key that the handshake has proved. RFC 7858 4.2
func (t target) verifyPin(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	if got := sha256.Sum256(s.PeerCertificates[0].RawSubjectPublicKeyInfo); got != *t.pin {
		return fmt.Errorf("its key is %s%s, not the one that is pinned", pinPrefix, base64.StdEncoding.EncodeToString(got[:]))
	}
	return nil
}

// ask asks by UDP, and by TCP when the reply does not fit or is not to be had in
// peace; or by TLS and nothing else.
func (s *server) ask(ctx context.Context, q question, f flavour, timeout time.Duration) (*reply, error) {
	if s.tls {
		f.block = paddingBlock
	} else {
		r, err := s.byUDP(ctx, q, f, timeout)
		if !errors.Is(err, errTruncated) {
			return r, err
		}
	}
	_, packed, err := query(q, f)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return s.stream.ask(ctx, q, packed)
}

// byUDP asks once. Every query has its own socket, and with it a random port.
// RFC 5452 9.2
func (s *server) byUDP(ctx context.Context, q question, f flavour, timeout time.Duration) (*reply, error) {
	id, packed, err := query(q, f)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.addr)) // waits for nobody
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(timeout))
	// A context that ends wakes the reader; its deadline is among the ways.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(packed); err != nil {
		return nil, err
	}
	return readUDP(conn, id, q)
}
