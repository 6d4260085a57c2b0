package daneclient_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
)

// application stands behind a proxy that ends TLS. The proxy takes any client
// certificate whose key its TLS has proved, and passes it on in the header fields
// of RFC 9440, in place of any that a client sent; only the proxy can reach the
// application. Both are what the verdict rests on: Match knows nothing of keys.
type application struct {
	verifier *daneclient.Verifier
	allowed  func(dnsname.Name) bool
}

// ServeHTTP takes the name from the body.
func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		ClientID string `json:"dane_clientid"`
		Reading  string `json:"reading"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&body); err != nil {
		http.Error(w, "a JSON object is needed", http.StatusBadRequest)
		return
	}
	name, err := dnsname.ParseOwner(body.ClientID)
	if err != nil {
		http.Error(w, "no name of a client", http.StatusBadRequest)
		return
	}
	chain, err := clientChain(r.Header)
	if err != nil {
		http.Error(w, "no certificate of a client", http.StatusForbidden)
		return
	}
	client, err := a.verifier.Match(r.Context(), name, chain, a.allowed) // asks DNS only about those who are allowed
	if e, ok := errors.AsType[*daneclient.Error](err); ok && !e.Temporary() {
		http.Error(w, "not admitted", http.StatusForbidden)
		return
	}
	if err != nil {
		http.Error(w, "try again later", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, "%s says %s", client.Name, body.Reading)
}

// clientChain reads Client-Cert and Client-Cert-Chain (RFC 9440 2): base64
// between colons, the chain as a list.
func clientChain(h http.Header) (chain []*x509.Certificate, err error) {
	items := h.Values("Client-Cert")
	for _, list := range h.Values("Client-Cert-Chain") {
		items = append(items, strings.Split(list, ",")...)
	}
	for _, item := range items {
		der, err := base64.StdEncoding.DecodeString(strings.Trim(strings.TrimSpace(item), ":"))
		if err != nil {
			return nil, err
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// The name comes in the body of a request, and the application looks up the
// records itself: nothing changes in the TLS of the proxy before it.
func Example_nameInApplication() {
	internet := newExampleInternet() // zones and keys on loopback
	defer internet.close()
	app := &application{internet.verifier, func(n dnsname.Name) bool { return n.Within(dnsname.MustParse("_device.partner.test")) }}

	for _, request := range []struct{ who, says string }{
		{"sensor7", "sensor7._device.partner.test"},
		{"thief", "sensor7._device.partner.test"},
		{"stranger", "sensor7._device.stranger.test"},
		{"sensor7", "sensor7._device..test"},
	} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(`{"dane_clientid": "`+request.says+`", "reading": "21.5 C"}`))
		der := internet.clients[request.who].Certificate[0]
		r.Header.Set("Client-Cert", ":"+base64.StdEncoding.EncodeToString(der)+":") // as the proxy does
		w := httptest.NewRecorder()
		app.ServeHTTP(w, r)
		fmt.Printf("%s as %s: %d %s\n", request.who, request.says, w.Code, strings.TrimSpace(w.Body.String()))
	}
	// Output:
	// sensor7 as sensor7._device.partner.test: 200 sensor7._device.partner.test says 21.5 C
	// thief as sensor7._device.partner.test: 403 not admitted
	// stranger as sensor7._device.stranger.test: 403 not admitted
	// sensor7 as sensor7._device..test: 400 no name of a client
}
