//go:build dane_clientid

package clientid

import (
	"context"
	"crypto/tls"
	"runtime"
	"slices"

	"dancemta/internal/dnsname"
)

// Supported says whether this build can speak the extension.
const Supported = true

// Mixed says of which two Go releases this build was mixed, "" when it was not.
func Mixed() string { return mixed(tls.OverlayVersion, runtime.Version()) }

// Request makes a server ask for the client's name. finish is called after the
// client's Finished was verified and before the handshake returns, for every
// client of TLS 1.3; its error ends the connection with the tls.AlertError in it.
// It must not use the connection.
func Request(c *tls.Config, typ uint16, finish func(context.Context, tls.ConnectionState) error) error {
	c.CertificateRequestExtensions = append(slices.Clone(c.CertificateRequestExtensions),
		tls.Extension{Type: typ, Data: marshal(dnsname.Name{})})
	c.FinishHandshake = finish
	return nil
}

// FromState returns what the client answered; false when it did not.
func FromState(s tls.ConnectionState, typ uint16) (data []byte, sent bool) {
	for _, e := range s.PeerCertificateExtensions {
		if e.Type == typ {
			return e.Data, true
		}
	}
	return nil, false
}

// Answer returns a certificate that carries a name. It goes with the certificate to
// whoever has an extension of this type in his request, of whatever form: Present
// looks at the form, too.
func Answer(cert tls.Certificate, typ uint16, name dnsname.Name) (tls.Certificate, error) {
	cert.Extensions = append(slices.Clone(cert.Extensions), tls.Extension{Type: typ, Data: marshal(name)})
	return cert, nil
}

// Asked reports whether a server's request asks for the client's name, in the
// form of client-auth 7 or in that of drafts before it, which is empty.
func Asked(r *tls.CertificateRequestInfo, typ uint16) bool {
	for _, e := range r.Extensions {
		if e.Type == typ {
			return len(e.Data) == 0 || len(e.Data) == 1 && e.Data[0] == 0
		}
	}
	return false
}
