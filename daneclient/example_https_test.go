package daneclient_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/internal/dnsname"
)

// clientHeader is where handlers find the name of the client. Whatever a client
// sends under it is thrown away.
const clientHeader = "Dane-Client-Id"

// admission lets in the clients that rules allow and DNS proves.
type admission struct {
	verifier *daneclient.Verifier
	sources  daneclient.Sources
	allowed  func(dnsname.Name) bool
	next     http.Handler
}

// ServeHTTP judges each request: the verdict is cached for as long as it holds,
// and a connection may outlive it.
func (a *admission) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Header.Del(clientHeader)
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	var cred daneclient.Credential
	ok := r.TLS != nil
	if ok {
		cred, ok = a.sources.Credential(*r.TLS, peer.Addr())
	}
	if !ok {
		http.Error(w, "a client certificate is needed", http.StatusForbidden)
		return
	}
	client, err := a.verifier.Client(r.Context(), cred, a.allowed)
	if e, ok := errors.AsType[*daneclient.Error](err); ok && !e.Temporary() {
		http.Error(w, "not admitted", http.StatusForbidden) // the reason is for the log only
		return
	}
	if err != nil {
		http.Error(w, "try again later", http.StatusServiceUnavailable)
		return
	}
	r.Header.Set(clientHeader, client.Name.String())
	a.next.ServeHTTP(w, r)
}

// admittingServer is an HTTPS server that admits clients by DANE.
func admittingServer(cert tls.Certificate, v *daneclient.Verifier, allowed func(dnsname.Name) bool, next http.Handler) (*http.Server, error) {
	sources := daneclient.Sources{Certificate: true}
	config := &tls.Config{
		Certificates:           []tls.Certificate{cert},
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequestClientCert, // any certificate will do; DNS says whose it is
		SessionTicketsDisabled: true,                  // a ticket would outlive the records
	}
	if clientid.Supported {
		sources.Extension = clientid.DefaultType
		if err := clientid.Request(config, sources.Extension, nil); err != nil {
			return nil, err
		}
	}
	return &http.Server{TLSConfig: config, Handler: &admission{v, sources, allowed, next}}, nil
}

// An HTTPS server admits clients by their TLSA records and hands the name to its
// handler; the client finds the server's records by the same package. Neither
// side knows a CA.
func Example_httpsServer() {
	internet := newExampleInternet() // zones and keys on loopback
	defer internet.close()

	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s", r.Header.Get(clientHeader))
	})
	allowed := func(n dnsname.Name) bool { return n.Within(dnsname.MustParse("_device.partner.test")) }
	server, err := admittingServer(internet.server, internet.verifier, allowed, handler)
	if err != nil {
		panic(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(internet.listener, "", "") }()
	defer func() { server.Close(); <-done }()

	for _, who := range []string{"sensor7", "thief", "stranger"} {
		cert := internet.clients[who]
		options := daneclient.DialOptions{ServerOptions: daneclient.ServerOptions{Resolver: internet.resolver, Certificate: &cert}}
		transport := &http.Transport{DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return daneclient.DialTLS(ctx, network, address, options)
		}}
		response, err := (&http.Client{Transport: transport}).Get("https://" + internet.address + "/")
		if err != nil {
			panic(err)
		}
		text, err := io.ReadAll(response.Body)
		if err != nil {
			panic(err)
		}
		response.Body.Close()
		transport.CloseIdleConnections()
		fmt.Printf("%s: %d %s\n", who, response.StatusCode, bytes.TrimSpace(text))
	}
	// Output:
	// sensor7: 200 hello sensor7._device.partner.test
	// thief: 403 not admitted
	// stranger: 403 not admitted
}
