package lab

import (
	"bufio"
	"crypto/tls"
	"net"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// Tags of protocolOp, RFC 4511 4.2 and on.
const (
	opBind      = 0
	opUnbind    = 2
	opSearch    = 3
	opEntry     = 4
	opDone      = 5
	opModify    = 6
	opCompare   = 14
	opAbandon   = 16
	opExtended  = 23
	replyToThat = 1 // the tag of a reply is that behind the request's, but for a search's
)

// Result codes, RFC 4511 A.1, RFC 4370 4.
const (
	resultSuccess             = 0
	resultOperationsError     = 1
	resultProtocolError       = 2
	resultSizeLimitExceeded   = 4
	resultCompareFalse        = 5
	resultCompareTrue         = 6
	resultAuthMethodUnknown   = 7
	resultUnavailableCritical = 12
	resultSASLBindInProgress  = 14
	resultNoSuchAttribute     = 16
	resultNoSuchObject        = 32
	resultInappropriateAuth   = 48
	resultInvalidCredentials  = 49
	resultInsufficientAccess  = 50
	resultUnwillingToPerform  = 53
	resultAuthorizationDenied = 123
	resultNone                = -1 // nothing is answered
)

// Names on the wire, and bounds.
const (
	saslMechanism = "EXTERNAL"

	oidProxiedAuthorization = "2.16.840.1.113730.3.4.18"
	oidPagedResults         = "1.2.840.113556.1.4.319"
	oidStartTLS             = "1.3.6.1.4.1.1466.20037"
	oidWhoAmI               = "1.3.6.1.4.1.4203.1.11.3"

	protocolVersion  = int64(3)
	maxPagedSearches = 16 // of one connection; a forgotten one costs its position alone
)

// directoryConn is one session of a Directory.
type directoryConn struct {
	d       *Directory
	conn    net.Conn // the socket, or TLS over it
	r       *bufio.Reader
	tls     *tls.ConnectionState // nil in clear
	gateway bool                 // bound, by a certificate that may act for others
	cookies map[string]int       // where the paged searches of this connection go on
	ended   bool
}

// request is a message whose outer form was read.
type request struct {
	id       int64
	op       *ber.Packet
	controls map[string]*ber.Packet // by OID
	who      Principal              // whom the operation is done for
	done     Operation              // what becomes of it
}

// answer is what becomes of a request.
type answer struct {
	code       int
	diagnostic string
	rest       []*ber.Packet // behind the LDAPResult, in the same sequence
	controls   *ber.Packet
}

func refuse(code int, why string) answer { return answer{code: code, diagnostic: why} }

func (d *Directory) serve(conn net.Conn) {
	c := &directoryConn{d: d, conn: conn, cookies: map[string]int{}}
	if d.opts.TLS && !c.secure() {
		return
	}
	c.r = bufio.NewReader(c.conn)
	for !c.ended {
		p, err := ber.ReadPacket(c.r)
		if err != nil {
			return
		}
		r, ok := readRequest(p)
		if !ok {
			return // RFC 4511 5.3 lets us be short
		}
		c.serve(r)
	}
}

func (c *directoryConn) secure() bool {
	t := tls.Server(c.conn, c.d.tlsConfig())
	if t.Handshake() != nil {
		return false
	}
	state := t.ConnectionState()
	c.conn, c.tls = t, &state
	return true
}

// certified reports whether the peer showed a certificate, which TLS has verified.
func (c *directoryConn) certified() bool { return c.tls != nil && len(c.tls.VerifiedChains) > 0 }

// readRequest takes an LDAPMessage apart. RFC 4511 4.1.1
func readRequest(p *ber.Packet) (*request, bool) {
	if p.Tag != ber.TagSequence || len(p.Children) < 2 || len(p.Children) > 3 {
		return nil, false
	}
	id, ok := p.Children[0].Value.(int64)
	r := &request{id: id, op: p.Children[1], controls: map[string]*ber.Packet{}}
	if !ok || r.op.ClassType != ber.ClassApplication {
		return nil, false
	}
	if len(p.Children) == 3 {
		for _, control := range p.Children[2].Children {
			if len(control.Children) == 0 {
				return nil, false
			}
			r.controls[text(control.Children[0])] = control
		}
	}
	return r, true
}

// text is the content of a primitive.
func text(p *ber.Packet) string { return p.Data.String() }

// critical and value of a control. RFC 4511 4.1.11
func critical(control *ber.Packet) bool {
	for _, p := range control.Children[1:] {
		if is, ok := p.Value.(bool); ok {
			return is
		}
	}
	return false
}

func controlValue(control *ber.Packet) (value []byte, present bool) {
	last := control.Children[len(control.Children)-1]
	if len(control.Children) < 2 || last.Tag != ber.TagOctetString {
		return nil, false
	}
	return last.ByteValue, true
}

// serve answers one request, and writes down what became of it.
func (c *directoryConn) serve(r *request) {
	a := c.answer(r)
	r.done.Result = a.code
	c.d.mu.Lock()
	c.d.operations = append(c.d.operations, r.done)
	c.d.mu.Unlock()
	if a.code == resultNone {
		return
	}
	tag := r.op.Tag + replyToThat
	if r.op.Tag == opSearch {
		tag = opDone
	}
	c.send(r.id, result(tag, a), a.controls)
	if r.done.Name == "starttls" && a.code == resultSuccess {
		c.startTLS()
	}
}

func (c *directoryConn) answer(r *request) answer {
	switch r.op.Tag {
	case opBind:
		r.done.Name = "bind"
		return c.bind(r)
	case opUnbind:
		r.done.Name = "unbind"
		c.ended = true
		return answer{code: resultNone}
	case opAbandon:
		r.done.Name = "abandon" // requests are answered one after the other: it comes too late
		return answer{code: resultNone}
	case opExtended:
		if len(r.op.Children) > 0 && text(r.op.Children[0]) == oidStartTLS {
			return c.mayStartTLS(r)
		}
	case opSearch:
		if isRootDSE(r.op) {
			r.done.Name = "rootdse"
			return c.rootDSE(r)
		}
	}
	if refusal := c.authorize(r); refusal.code != resultSuccess {
		return refusal
	}
	switch r.op.Tag {
	case opSearch:
		return c.search(r)
	case opCompare:
		return c.compare(r)
	case opModify:
		return c.modify(r)
	case opExtended:
		return c.whoAmI(r)
	}
	return refuse(resultUnwillingToPerform, "not in the laboratory")
}

// bind is RFC 4513 5.2.3: the certificate is all that counts.
func (c *directoryConn) bind(r *request) answer {
	c.gateway = false // RFC 4513 4: whatever comes, the old rights are gone
	if len(r.op.Children) != 3 || r.op.Children[0].Value != protocolVersion {
		return refuse(resultProtocolError, "version 3 is spoken")
	}
	auth := r.op.Children[2]
	if auth.Tag != 3 || len(auth.Children) == 0 || text(auth.Children[0]) != saslMechanism {
		return refuse(resultAuthMethodUnknown, "EXTERNAL alone")
	}
	switch {
	case !c.certified():
		return refuse(resultInappropriateAuth, "no certificate")
	case len(auth.Children) == 1:
		return refuse(resultSASLBindInProgress, "credentials, be they empty") // as slapd does
	case text(auth.Children[1]) != "":
		return refuse(resultInvalidCredentials, "another identity")
	}
	c.gateway = true
	return answer{}
}

// authorize demands a gateway, and that it says whom it acts for: an operation
// without that would be done by the gateway's own rights.
func (c *directoryConn) authorize(r *request) answer {
	if !c.gateway {
		return refuse(resultInsufficientAccess, "bind first")
	}
	for oid, control := range r.controls {
		if oid != oidProxiedAuthorization && oid != oidPagedResults && critical(control) {
			return refuse(resultUnavailableCritical, "not in the laboratory")
		}
	}
	control := r.controls[oidProxiedAuthorization]
	if control == nil {
		return refuse(resultUnwillingToPerform, "proxied authorization is required")
	}
	value, present := controlValue(control)
	if !critical(control) || !present { // RFC 4370 3
		return refuse(resultProtocolError, "the control must be critical, with a value")
	}
	r.done.Proxied, r.done.Authzid = true, string(value)
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	var err error
	if r.who, err = c.d.tree.principal(string(value)); err != nil {
		return refuse(resultAuthorizationDenied, err.Error())
	}
	return answer{}
}

func (c *directoryConn) mayStartTLS(r *request) answer {
	r.done.Name = "starttls"
	if c.tls != nil {
		return refuse(resultOperationsError, "TLS already") // RFC 4511 4.14.2
	}
	if c.r.Buffered() > 0 { // injected in clear
		c.ended = true
		return answer{code: resultNone}
	}
	return answer{rest: []*ber.Packet{ber.NewString(ber.ClassContext, ber.TypePrimitive, 10, oidStartTLS, "")}}
}

func (c *directoryConn) startTLS() {
	if !c.secure() {
		c.ended = true
		return
	}
	c.gateway, c.r = false, bufio.NewReader(c.conn)
}

// whoAmI is RFC 4532.
func (c *directoryConn) whoAmI(r *request) answer {
	if len(r.op.Children) == 0 || text(r.op.Children[0]) != oidWhoAmI {
		return refuse(resultProtocolError, "no such operation")
	}
	r.done.Name = "whoami"
	who := ""
	if r.who.DN != "" {
		who = "dn:" + r.who.DN
	}
	return answer{rest: []*ber.Packet{ber.NewString(ber.ClassContext, ber.TypePrimitive, 11, who, "")}}
}

// send writes a message. Who has gone is noticed by the next read.
func (c *directoryConn) send(id int64, op, controls *ber.Packet) {
	m := ber.NewSequence("")
	m.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	m.AppendChild(op)
	if controls != nil {
		m.AppendChild(controls)
	}
	if _, err := c.conn.Write(m.Bytes()); err != nil {
		c.ended = true
	}
}

// result makes an LDAPResult, RFC 4511 4.1.9.
func result(tag ber.Tag, a answer) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(a.code), ""))
	p.AppendChild(octets(""))
	p.AppendChild(octets(a.diagnostic))
	for _, more := range a.rest {
		p.AppendChild(more)
	}
	return p
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}
