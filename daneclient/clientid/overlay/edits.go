package main

// goVersion stands in an edit for the Go that is patched.
const goVersion = "@GOVERSION@"

// edit replaces one text of a file of crypto/tls; old must stand there exactly
// once, so that a Go release with other code is noticed and not half patched.
type edit struct{ file, old, new string }

// edits is the whole patch. It is generic: crypto/tls learns to carry extensions
// that it does not know in CertificateRequest and in the client's Certificate
// (RFC 8446 4.3.2, 4.4.2), and to ask a function before it calls a handshake done.
// What the extensions mean is none of its business.
//
// What TLS itself demands is added too: a type twice in one block is
// illegal_parameter (RFC 8446 4.2), one in any entry of the client's Certificate
// that was not in the CertificateRequest is unsupported_extension.
var edits = []edit{
	// A program can tell whether its crypto/tls is of the Go that built the rest.
	{"common.go", `const (
	VersionTLS10 = 0x0301
`, `// OverlayVersion is the Go whose sources this package was patched from.
const OverlayVersion = "` + goVersion + `"

const (
	VersionTLS10 = 0x0301
`},

	// The API: three fields, one type and one hook.
	{"common.go", `	// ECHAccepted indicates if Encrypted Client Hello was offered by the client
`, `	// PeerCertificateExtensions are the extensions of the first entry of the
	// client's Certificate message that a server asked for by
	// Config.CertificateRequestExtensions, in TLS 1.3.
	PeerCertificateExtensions []Extension

	// ECHAccepted indicates if Encrypted Client Hello was offered by the client
`},
	{"common.go", `// CertificateRequestInfo contains information from a server's
`, `// Extension is a TLS extension that this package does not interpret.
type Extension struct {
	Type uint16
	Data []byte
}

// hasType reports whether an extension of a type is in the list.
func hasType(list []Extension, typ uint16) bool {
	for _, e := range list {
		if e.Type == typ {
			return true
		}
	}
	return false
}

// CertificateRequestInfo contains information from a server's
`},
	{"common.go", `	SignatureSchemes []SignatureScheme

	// Version is the TLS version that was negotiated for this connection.
	Version uint16

	// ctx is the context of the handshake that is in progress.
	ctx context.Context
}

// Context returns the context of the handshake that is in progress.
// This context is a child of the context passed to HandshakeContext,
// if any, and is canceled when the handshake concludes.
func (c *CertificateRequestInfo) Context()`, `	SignatureSchemes []SignatureScheme

	// Version is the TLS version that was negotiated for this connection.
	Version uint16

	// Extensions are those of the CertificateRequest that this package does
	// not interpret.
	Extensions []Extension

	// ctx is the context of the handshake that is in progress.
	ctx context.Context
}

// Context returns the context of the handshake that is in progress.
// This context is a child of the context passed to HandshakeContext,
// if any, and is canceled when the handshake concludes.
func (c *CertificateRequestInfo) Context()`},
	{"common.go", `	VerifyConnection func(ConnectionState) error

`, `	VerifyConnection func(ConnectionState) error

	// CertificateRequestExtensions are added to the CertificateRequest of a
	// TLS 1.3 server.
	CertificateRequestExtensions []Extension

	// FinishHandshake, if not nil, is called by a TLS 1.3 server after the
	// client's Finished was verified and before the handshake returns. An error
	// ends the connection with the AlertError in it, or with handshake_failure.
	// It must not call methods of the Conn.
	FinishHandshake func(context.Context, ConnectionState) error

`},
	{"common.go", `		VerifyConnection:                    c.VerifyConnection,
`, `		VerifyConnection:                    c.VerifyConnection,
		CertificateRequestExtensions:        c.CertificateRequestExtensions,
		FinishHandshake:                     c.FinishHandshake,
`},
	{"common.go", `	SignedCertificateTimestamps [][]byte
	// Leaf is the parsed form`, `	SignedCertificateTimestamps [][]byte
	// Extensions are sent by a TLS 1.3 client with the first entry of its
	// Certificate message, those whose type the CertificateRequest had.
	Extensions []Extension
	// Leaf is the parsed form`},

	// The connection keeps what it was sent.
	{"conn.go", `	peerSigAlg       SignatureScheme
`, `	peerSigAlg       SignatureScheme

	peerCertificateExtensions []Extension
`},
	{"conn.go", `	state.PeerCertificates = c.peerCertificates
`, `	state.PeerCertificates = c.peerCertificates
	state.PeerCertificateExtensions = c.peerCertificateExtensions
`},

	// The codecs.
	{"handshake_messages.go", `	supportedSignatureAlgorithmsCert []SignatureScheme
	certificateAuthorities           [][]byte
}

func (m *certificateRequestMsgTLS13) marshal()`, `	supportedSignatureAlgorithmsCert []SignatureScheme
	certificateAuthorities           [][]byte
	extensions                       []Extension
	duplicate                        bool
}

// typeSet notices an extension type that comes twice.
type typeSet map[uint16]bool

func (s typeSet) add(typ uint16) (duplicate bool) {
	duplicate = s[typ]
	s[typ] = true
	return duplicate
}

func marshalExtensions(b *cryptobyte.Builder, list []Extension) {
	for _, e := range list {
		b.AddUint16(e.Type)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.Data) })
	}
}

func (m *certificateRequestMsgTLS13) marshal()`},
	{"handshake_messages.go", `							b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
								b.AddBytes(ca)
							})
						}
					})
				})
			}
		})
	})

	return b.Bytes()
}

func (m *certificateRequestMsgTLS13) unmarshal(data []byte) bool {
`, `							b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
								b.AddBytes(ca)
							})
						}
					})
				})
			}
			marshalExtensions(b, m.extensions)
		})
	})

	return b.Bytes()
}

func (m *certificateRequestMsgTLS13) unmarshal(data []byte) bool {
`},
	{"handshake_messages.go", `		!s.ReadUint16LengthPrefixed(&extensions) ||
		!s.Empty() {
		return false
	}

	for !extensions.Empty() {
		var extension uint16
		var extData cryptobyte.String
		if !extensions.ReadUint16(&extension) ||
			!extensions.ReadUint16LengthPrefixed(&extData) {
			return false
		}

		switch extension {
		case extensionStatusRequest:
			m.ocspStapling = true
		case extensionSCT:
			m.scts = true
		case extensionSignatureAlgorithms:
`, `		!s.ReadUint16LengthPrefixed(&extensions) ||
		!s.Empty() {
		return false
	}

	seen := typeSet{}
	for !extensions.Empty() {
		var extension uint16
		var extData cryptobyte.String
		if !extensions.ReadUint16(&extension) ||
			!extensions.ReadUint16LengthPrefixed(&extData) {
			return false
		}
		m.duplicate = seen.add(extension) || m.duplicate

		switch extension {
		case extensionStatusRequest:
			m.ocspStapling = true
		case extensionSCT:
			m.scts = true
		case extensionSignatureAlgorithms:
`},
	{"handshake_messages.go", `				m.certificateAuthorities = append(m.certificateAuthorities, ca)
			}
		default:
			// Ignore unknown extensions.
			continue
		}

		if !extData.Empty() {
			return false
		}
	}

	return true
}

type certificateMsg struct {`, `				m.certificateAuthorities = append(m.certificateAuthorities, ca)
			}
		default:
			m.extensions = append(m.extensions, Extension{extension, bytes.Clone(extData)})
			continue
		}

		if !extData.Empty() {
			return false
		}
	}

	return true
}

type certificateMsg struct {`},
	{"handshake_messages.go", `	certificate  Certificate
	ocspStapling bool
	scts         bool
}
`, `	certificate  Certificate
	ocspStapling bool
	scts         bool
	blocks       extensionBlocks
}

// extensionBlocks is what the extensions of a Certificate message break.
type extensionBlocks struct {
	duplicate bool     // a type twice in one block
	later     []uint16 // types in entries after the first, which are not kept
}
`},
	{"handshake_messages.go", `					// This library only supports OCSP and SCT for leaf certificates.
					return
				}
`, `					// This library only supports OCSP and SCT for leaf certificates.
					return
				}
				marshalExtensions(b, certificate.Extensions)
`},
	{"handshake_messages.go", `		!unmarshalCertificate(&s, &m.certificate) ||
		!s.Empty() {
		return false
	}
`, `		!unmarshalCertificates(&s, &m.certificate, &m.blocks) ||
		!s.Empty() {
		return false
	}
`},
	{"handshake_messages.go", `func unmarshalCertificate(s *cryptobyte.String, certificate *Certificate) bool {
`, `func unmarshalCertificate(s *cryptobyte.String, certificate *Certificate) bool {
	return unmarshalCertificates(s, certificate, new(extensionBlocks))
}

// unmarshalCertificates also looks at the blocks of extensions.
func unmarshalCertificates(s *cryptobyte.String, certificate *Certificate, blocks *extensionBlocks) bool {
`},
	{"handshake_messages.go", `		certificate.Certificate = append(certificate.Certificate, cert)
		for !extensions.Empty() {
			var extension uint16
			var extData cryptobyte.String
			if !extensions.ReadUint16(&extension) ||
				!extensions.ReadUint16LengthPrefixed(&extData) {
				return false
			}
			if len(certificate.Certificate) > 1 {
`, `		certificate.Certificate = append(certificate.Certificate, cert)
		seen := typeSet{}
		for !extensions.Empty() {
			var extension uint16
			var extData cryptobyte.String
			if !extensions.ReadUint16(&extension) ||
				!extensions.ReadUint16LengthPrefixed(&extData) {
				return false
			}
			blocks.duplicate = seen.add(extension) || blocks.duplicate
			if len(certificate.Certificate) > 1 {
				if extension != extensionStatusRequest && extension != extensionSCT { // always asked for
					blocks.later = append(blocks.later, extension)
				}
`},
	{"handshake_messages.go", `					certificate.SignedCertificateTimestamps = append(
						certificate.SignedCertificateTimestamps, sct)
				}
			default:
				// Ignore unknown extensions.
				continue
			}
`, `					certificate.SignedCertificateTimestamps = append(
						certificate.SignedCertificateTimestamps, sct)
				}
			default:
				certificate.Extensions = append(certificate.Extensions, Extension{extension, bytes.Clone(extData)})
				continue
			}
`},

	// The client: shows what was asked, answers only what was asked.
	{"handshake_client_tls13.go", `	if ok {
		hs.certReq = certReq

`, `	if ok {
		if certReq.duplicate {
			c.sendAlert(alertIllegalParameter)
			return errors.New("tls: duplicate extension in certificate request")
		}
		hs.certReq = certReq

`},
	{"handshake_client_tls13.go", `		SignatureSchemes: hs.certReq.supportedSignatureAlgorithms,
		Version:          c.vers,
`, `		SignatureSchemes: hs.certReq.supportedSignatureAlgorithms,
		Version:          c.vers,
		Extensions:       hs.certReq.extensions,
`},
	{"handshake_client_tls13.go", `	certMsg.certificate = *cert
	certMsg.scts = hs.certReq.scts &&`, `	certMsg.certificate = *cert
	certMsg.certificate.Extensions = nil
	for _, e := range cert.Extensions {
		if hasType(hs.certReq.extensions, e.Type) {
			certMsg.certificate.Extensions = append(certMsg.certificate.Extensions, e)
		}
	}
	certMsg.scts = hs.certReq.scts &&`},

	// The server: asks, checks the answer, and asks the hook at the end.
	{"handshake_server_tls13.go", `			certReq.certificateAuthorities = c.config.ClientCAs.Subjects()
		}
`, `			certReq.certificateAuthorities = c.config.ClientCAs.Subjects()
		}
		certReq.extensions = c.config.CertificateRequestExtensions
`},
	{"handshake_server_tls13.go", `	certMsg.certificate = *hs.cert
`, `	certMsg.certificate = *hs.cert
	certMsg.certificate.Extensions = nil // only answers to a ClientHello could stand there
`},
	{"handshake_server_tls13.go", `		return unexpectedMessageError(certMsg, msg)
	}

	if err := c.processCertsFromClient(certMsg.certificate); err != nil {
`, `		return unexpectedMessageError(certMsg, msg)
	}
	if certMsg.blocks.duplicate {
		c.sendAlert(alertIllegalParameter)
		return errors.New("tls: duplicate extension in client certificate message")
	}
	types := certMsg.blocks.later
	for _, e := range certMsg.certificate.Extensions {
		types = append(types, e.Type)
	}
	for _, typ := range types {
		if !hasType(c.config.CertificateRequestExtensions, typ) {
			c.sendAlert(alertUnsupportedExtension)
			return errors.New("tls: client certificate message has an extension that was not requested")
		}
	}
	c.peerCertificateExtensions = certMsg.certificate.Extensions

	if err := c.processCertsFromClient(certMsg.certificate); err != nil {
`},
	{"handshake_server_tls13.go", `	if err := hs.readClientFinished(); err != nil {
		return err
	}

	c.isHandshakeComplete.Store(true)
`, `	if err := hs.readClientFinished(); err != nil {
		return err
	}
	if c.config.FinishHandshake != nil {
		state := c.connectionStateLocked()
		state.HandshakeComplete = true // the client's Finished was verified
		if err := c.config.FinishHandshake(hs.ctx, state); err != nil {
			code := AlertError(alertHandshakeFailure)
			errors.As(err, &code)
			c.sendAlert(alert(code))
			return err
		}
	}

	c.isHandshakeComplete.Store(true)
`},
}
