//go:build dane_clientid

package clientid

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

const otherType uint16 = 0xFFDD

// handshake lets the two ends meet, and returns what each of them got: the
// client learns of a late refusal with its first read (RFC 8446 4.6).
func handshake(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			done <- err
			return
		}
		defer raw.Close()
		raw.SetDeadline(time.Now().Add(10 * time.Second))
		conn := tls.Client(raw, client)
		_, err = conn.Read(make([]byte, 1))
		done <- err
	}()
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(10 * time.Second))
	conn := tls.Server(raw, server)
	serverErr = conn.Handshake()
	if serverErr == nil {
		conn.Write([]byte{1})
	}
	clientErr = <-done
	return conn.ConnectionState(), serverErr, clientErr
}

func configs(t *testing.T, finish func(context.Context, tls.ConnectionState) error) (server, client *tls.Config) {
	t.Helper()
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.example.test"}}).TLSCertificate()
	server = &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true}
	if err := Request(server, DefaultType, finish); err != nil {
		t.Fatal(err)
	}
	return server, &tls.Config{InsecureSkipVerify: true}
}

func present(c *tls.Config, cert tls.Certificate) {
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
}

func clientCertificate(t *testing.T, typ uint16, names ...string) tls.Certificate {
	t.Helper()
	cert := lab.SelfSigned(lab.LeafOptions{Names: []string{"a.test"}}).TLSCertificate()
	for _, n := range names {
		var err error
		if cert, err = Answer(cert, typ, dnsname.MustParse(n)); err != nil {
			t.Fatal(err)
		}
	}
	return cert
}

func TestNameArrives(t *testing.T) {
	var judged tls.ConnectionState
	server, client := configs(t, func(_ context.Context, s tls.ConnectionState) error {
		judged = s
		return nil
	})
	present(client, clientCertificate(t, DefaultType, "sensor7._device.partner.test"))
	state, err, clientErr := handshake(t, server.Clone(), client) // a clone asks, too
	if err != nil || clientErr != nil {
		t.Fatal(err, clientErr)
	}
	for _, s := range []tls.ConnectionState{judged, state} {
		data, sent := FromState(s, DefaultType)
		name, err := Parse(data)
		if !sent || err != nil || name.String() != "sensor7._device.partner.test" {
			t.Errorf("%q, %v, %v", data, sent, err)
		}
		if !s.HandshakeComplete || len(s.PeerCertificates) != 1 {
			t.Error("the judge did not see a finished handshake and its certificate")
		}
	}
	if _, sent := FromState(state, otherType); sent {
		t.Error("an answer of another type")
	}
}

// A certificate without the extension, and none at all, break nothing.
func TestNoName(t *testing.T) {
	server, client := configs(t, func(context.Context, tls.ConnectionState) error { return nil })
	for _, c := range []*tls.Config{client, client.Clone()} {
		state, err, clientErr := handshake(t, server, c)
		if _, sent := FromState(state, DefaultType); err != nil || clientErr != nil || sent {
			t.Error(err, clientErr, sent)
		}
		present(client, clientCertificate(t, DefaultType))
	}
}

// A server that did not ask is not told, and one that asks for another
// extension neither.
func TestAnswersOnlyWhenAsked(t *testing.T) {
	asked := make(chan bool, 1)
	for _, typ := range []uint16{0, otherType} {
		server, client := configs(t, nil)
		server.CertificateRequestExtensions = nil
		if typ != 0 {
			server.CertificateRequestExtensions = []tls.Extension{{Type: typ, Data: []byte{0}}}
		}
		cert := clientCertificate(t, DefaultType, "a.test")
		client.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked <- Asked(r, DefaultType)
			return &cert, nil
		}
		state, err, clientErr := handshake(t, server, client)
		if err != nil || clientErr != nil || len(state.PeerCertificateExtensions) != 0 {
			t.Error(err, clientErr, state.PeerCertificateExtensions)
		}
		if <-asked {
			t.Error("the client thinks that it was asked")
		}
	}
}

func TestAsked(t *testing.T) {
	for data, want := range map[string]bool{"\x00": true, "": true, "\x01": false, "\x00\x00": false} {
		r := &tls.CertificateRequestInfo{Extensions: []tls.Extension{{Type: DefaultType, Data: []byte(data)}}}
		if got := Asked(r, DefaultType); got != want {
			t.Errorf("%q: %v", data, got)
		}
	}
}

// Whether a name is told and what Asked says are the same, also for a request that
// is malformed.
func TestPresent(t *testing.T) {
	cert := clientCertificate(t, DefaultType)
	show, err := Present(cert, DefaultType, dnsname.MustParse("a.test"))
	if err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]bool{"\x00": true, "": true, "\x01a": false, "\x00\x00": false, "\x05": false} {
		server, client := configs(t, nil)
		server.CertificateRequestExtensions = []tls.Extension{{Type: DefaultType, Data: []byte(data)}}
		client.GetClientCertificate = show
		state, err, clientErr := handshake(t, server, client)
		if err != nil || clientErr != nil || len(state.PeerCertificates) != 1 {
			t.Errorf("%q: server %v, client %v", data, err, clientErr)
		}
		if _, told := FromState(state, DefaultType); told != want {
			t.Errorf("%q: told: %v", data, told)
		}
	}
}

// The refusal of the judge reaches the client as the alert that it names.
func TestAlerts(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("no"), "handshake failure"},
		{fmt.Errorf("no: %w", AlertHandshakeFailure), "handshake failure"},
		{fmt.Errorf("no: %w", AlertDecodeError), "error decoding message"},
	} {
		server, client := configs(t, func(context.Context, tls.ConnectionState) error { return c.err })
		present(client, clientCertificate(t, DefaultType, "a.test"))
		_, err, clientErr := handshake(t, server, client)
		if !errors.Is(err, c.err) || clientErr == nil || !strings.Contains(clientErr.Error(), c.want) {
			t.Errorf("%v: server %v, client %v; want %s", c.err, err, clientErr, c.want)
		}
	}
}

// A type twice is illegal_parameter, in either direction (RFC 8446 4.2).
func TestDuplicates(t *testing.T) {
	server, client := configs(t, func(context.Context, tls.ConnectionState) error { return nil })
	present(client, clientCertificate(t, DefaultType, "a.test", "b.test"))
	if _, err, clientErr := handshake(t, server, client); err == nil || clientErr == nil || !strings.Contains(clientErr.Error(), "illegal parameter") {
		t.Errorf("two answers: server %v, client %v", err, clientErr)
	}
	server.CertificateRequestExtensions = slices.Repeat(server.CertificateRequestExtensions, 2)
	if _, err, _ := handshake(t, server, client); err == nil || !strings.Contains(err.Error(), "illegal parameter") {
		t.Errorf("two requests: server %v", err)
	}
}

// Who shows somebody else's certificate is found out before the judge, who would
// let him be that other one.
func TestJudgeAfterProof(t *testing.T) {
	judged := false
	server, client := configs(t, func(context.Context, tls.ConnectionState) error {
		judged = true
		return nil
	})
	stolen, own := clientCertificate(t, DefaultType, "a.test"), clientCertificate(t, DefaultType)
	stolen.PrivateKey = own.PrivateKey
	present(client, stolen)
	if _, err, _ := handshake(t, server, client); err == nil || judged {
		t.Errorf("%v, judged: %v", err, judged)
	}
}

// Below TLS 1.3 there is no extension, and nobody is asked.
func TestTLS12(t *testing.T) {
	called := false
	server, client := configs(t, func(context.Context, tls.ConnectionState) error { called = true; return nil })
	client.MaxVersion = tls.VersionTLS12
	present(client, clientCertificate(t, DefaultType, "a.test"))
	state, err, clientErr := handshake(t, server, client)
	if _, sent := FromState(state, DefaultType); err != nil || clientErr != nil || sent || called {
		t.Error(err, clientErr, sent, called)
	}
}

// Whatever entry of the Certificate message an extension stands in, it must have
// been asked for (RFC 8446 4.2, 4.4.2), and only once in a block.
func TestEntries(t *testing.T) {
	der := lab.SelfSigned(lab.LeafOptions{Names: []string{"a.test"}}).TLSCertificate().Certificate[0]
	const asked, foreign = DefaultType, otherType
	for _, c := range []struct {
		name string
		list []byte
		want tls.AlertError // 0: the signature is waited for
	}{
		{"none", entry(der), 0},
		{"asked for", entry(der, asked), 0},
		{"asked for, and later again", append(entry(der, asked), entry(der, asked)...), 0},
		{"as crypto/tls asks for always", append(entry(der), entry(der, 5, 18)...), 0},
		{"foreign", entry(der, foreign), 110},
		{"foreign, later", append(entry(der, asked), entry(der, asked, foreign)...), 110},
		{"twice", entry(der, asked, asked), 47},
		{"twice, later", append(entry(der, asked), entry(der, asked, asked)...), 47},
		{"foreign and twice, without certificate", entry(nil, foreign, foreign), 47},
	} {
		if err := answerTo(t, c.list); !errors.Is(err, c.want) && (c.want != 0 || err != nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// entry is a CertificateEntry with extensions of no data.
func entry(der []byte, types ...uint16) []byte {
	e := append([]byte{0, byte(len(der) >> 8), byte(len(der))}, der...)
	e = binary.BigEndian.AppendUint16(e, uint16(4*len(types)))
	for _, typ := range types {
		e = append(binary.BigEndian.AppendUint16(e, typ), 0, 0)
	}
	return e
}

// answerTo gives a server a certificate_list, octet by octet as it stands here, by
// the API for QUIC: that one takes messages in clear.
func answerTo(t *testing.T, list []byte) error {
	server, client := configs(t, nil)
	server.MinVersion, client.MinVersion = tls.VersionTLS13, tls.VersionTLS13
	c := tls.QUICClient(&tls.QUICConfig{TLSConfig: client})
	s := tls.QUICServer(&tls.QUICConfig{TLSConfig: server})
	defer c.Close()
	defer s.Close()
	c.SetTransportParameters([]byte{})
	s.SetTransportParameters([]byte{})
	if err := errors.Join(c.Start(t.Context()), s.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	for e := c.NextEvent(); e.Kind != tls.QUICNoEvent; e = c.NextEvent() {
		if e.Kind == tls.QUICWriteData { // the ClientHello
			if err := s.HandleData(e.Level, e.Data); err != nil {
				t.Fatal(err)
			}
		}
	}
	message := append([]byte{0, 0, byte(len(list) >> 8), byte(len(list))}, list...)
	message = append([]byte{11, 0, byte(len(message) >> 8), byte(len(message))}, message...)
	return s.HandleData(tls.QUICEncryptionLevelHandshake, message)
}
