//go:build !dane_clientid

package clientid

import (
	"context"
	"crypto/tls"

	"dancemta/internal/dnsname"
)

// Supported says whether this build can speak the extension.
const Supported = false

// Mixed finds nothing: crypto/tls is Go's own.
func Mixed() string { return "" }

// Request fails with ErrUnsupported: see the package's comment.
func Request(*tls.Config, uint16, func(context.Context, tls.ConnectionState) error) error {
	return ErrUnsupported
}

// FromState finds no answer: none was asked for.
func FromState(tls.ConnectionState, uint16) (data []byte, sent bool) { return nil, false }

// Answer fails with ErrUnsupported: see the package's comment.
func Answer(cert tls.Certificate, _ uint16, _ dnsname.Name) (tls.Certificate, error) {
	return cert, ErrUnsupported
}

// Asked knows of no request.
func Asked(*tls.CertificateRequestInfo, uint16) bool { return false }
