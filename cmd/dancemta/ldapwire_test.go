//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

const (
	wireTimeout = time.Minute // for a whole dialog: it is there to end a hanging test
	wireMessage = 1 << 20     // octets of one reply, at most
)

// Tags of protocolOp and of controls, RFC 4511 4.1.1 and on.
const (
	tagBindResponse  = 0x61
	tagEntry         = 0x64
	tagDone          = 0x65
	tagReference     = 0x73
	tagIntermediate  = 0x79
	tagExtendedReply = 0x78
	tagControls      = 0xa0
)

// ldapWire is a client of LDAP that says octets and hears octets, so that two servers'
// answers can be compared as such.
type ldapWire struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	next int64 // message ID
}

// answered is one LDAPMessage of a server, whole elements as they came.
type answered struct {
	id       int64
	op       []byte
	controls []byte // nil: none
}

// dialWire connects, by StartTLS unless implicit.
func dialWire(t *testing.T, address string, c *tls.Config, implicit bool) *ldapWire {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wireTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	w := &ldapWire{t: t, conn: conn}
	w.hurry()
	if !implicit {
		w.r = bufio.NewReader(conn)
		if a := w.do(extended("1.3.6.1.4.1.1466.20037", nil)); code(a[0]) != 0 {
			t.Fatalf("StartTLS: %d", code(a[0]))
		}
	}
	w.conn = tls.Client(conn, c)
	w.r = bufio.NewReader(w.conn)
	return w
}

// hurry gives the dialog another while.
func (w *ldapWire) hurry() { w.conn.SetDeadline(time.Now().Add(wireTimeout)) }

// send writes a request and returns its ID.
func (w *ldapWire) send(op *ber.Packet, controls ...*ber.Packet) int64 {
	w.t.Helper()
	w.next++
	m := ber.NewSequence("")
	m.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, w.next, ""))
	m.AppendChild(op)
	if len(controls) > 0 {
		all := ber.Encode(ber.ClassContext, ber.TypeConstructed, 0, nil, "")
		for _, c := range controls {
			all.AppendChild(c)
		}
		m.AppendChild(all)
	}
	_, err := w.conn.Write(m.Bytes())
	must(w.t, err)
	return w.next
}

// receive reads one message.
func (w *ldapWire) receive() answered {
	w.t.Helper()
	a, err := readAnswer(w.r)
	must(w.t, err)
	return a
}

// do sends a request and returns all of its answers; no other is outstanding.
func (w *ldapWire) do(op *ber.Packet, controls ...*ber.Packet) []answered {
	w.t.Helper()
	id := w.send(op, controls...)
	var all []answered
	for {
		a := w.receive()
		if a.id != id {
			w.t.Fatalf("an answer to %d, and %d was asked: % x", a.id, id, a.op)
		}
		all = append(all, a)
		if a.last() {
			return all
		}
	}
}

// bind is SASL EXTERNAL without credentials or with these.
func (w *ldapWire) bind(credentials ...string) int {
	w.t.Helper()
	all := w.do(saslBind(credentials...))
	return code(all[len(all)-1])
}

// last reports whether no more answers follow.
func (a answered) last() bool {
	return a.op[0] != tagEntry && a.op[0] != tagReference && a.op[0] != tagIntermediate
}

func readAnswer(r *bufio.Reader) (a answered, err error) {
	tag, body, err := readElement(r)
	if err != nil {
		return a, err
	}
	if tag != 0x30 {
		return a, fmt.Errorf("a message begins with %#x", tag)
	}
	id, rest, ok := cutElement(body)
	if !ok || id[0] != 0x02 {
		return a, errors.New("a message without an ID")
	}
	for _, b := range contents(id) {
		a.id = a.id<<8 | int64(b)
	}
	if a.op, rest, ok = cutElement(rest); !ok {
		return a, errors.New("a message without an operation")
	}
	if len(rest) > 0 {
		if a.controls, rest, ok = cutElement(rest); !ok || len(rest) > 0 || a.controls[0] != tagControls {
			return a, errors.New("a message with more than controls")
		}
	}
	return a, nil
}

// readElement reads a tag of one octet, a definite length and the contents.
func readElement(r *bufio.Reader) (tag byte, body []byte, err error) {
	head, err := r.Peek(2)
	if err != nil {
		return 0, nil, err
	}
	octets := 2
	if head[1] >= 0x80 {
		octets += int(head[1] & 0x7f)
	}
	if head, err = r.Peek(octets); err != nil {
		return 0, nil, err
	}
	size := lengthOf(head)
	if size > wireMessage {
		return 0, nil, fmt.Errorf("a message of %d octets", size)
	}
	tag = head[0]
	if _, err = r.Discard(octets); err != nil {
		return 0, nil, err
	}
	body = make([]byte, size)
	_, err = io.ReadFull(r, body)
	return tag, body, err
}

// lengthOf reads the length behind a tag; head holds both.
func lengthOf(head []byte) (n int) {
	if head[1] < 0x80 {
		return int(head[1])
	}
	for _, b := range head[2 : 2+int(head[1]&0x7f)] {
		n = n<<8 | int(b)
	}
	return n
}

// cutElement returns the first element whole, and what is behind it.
func cutElement(b []byte) (whole, rest []byte, ok bool) {
	if len(b) < 2 || b[1] >= 0x80 && len(b) < 2+int(b[1]&0x7f) {
		return nil, nil, false
	}
	n := headOf(b) + lengthOf(b)
	if n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

func headOf(element []byte) int {
	if element[1] < 0x80 {
		return 2
	}
	return 2 + int(element[1]&0x7f)
}

// contents of an element that cutElement has cut.
func contents(element []byte) []byte { return element[headOf(element):] }

// code is the result code of a last answer, RFC 4511 4.1.9; -1 when it has none.
func code(a answered) int {
	e, _, ok := cutElement(contents(a.op))
	if !ok || e[0] != 0x0a || len(contents(e)) != 1 {
		return -1
	}
	return int(contents(e)[0])
}

// text is the diagnostic message of a last answer.
func (a answered) text() string {
	_, rest, _ := cutElement(contents(a.op))
	_, rest, ok := cutElement(rest)
	if !ok {
		return ""
	}
	text, _, ok := cutElement(rest)
	if !ok {
		return ""
	}
	return string(contents(text))
}

// sameAnswers compares octet by octet all but message IDs.
func sameAnswers(a, b []answered) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i].op, b[i].op) || !bytes.Equal(a[i].controls, b[i].controls) {
			return false
		}
	}
	return true
}

// The requests of RFC 4511 that the tests make.

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func integer(tag ber.Tag, n int64) *ber.Packet {
	return ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, tag, n, "")
}

func sequence(of ...*ber.Packet) *ber.Packet { return with(ber.NewSequence(""), of...) }

func with(p *ber.Packet, of ...*ber.Packet) *ber.Packet {
	for _, child := range of {
		p.AppendChild(child)
	}
	return p
}

func protocolOp(tag ber.Tag, of ...*ber.Packet) *ber.Packet {
	return with(ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, ""), of...)
}

func saslBind(credentials ...string) *ber.Packet {
	sasl := with(ber.Encode(ber.ClassContext, ber.TypeConstructed, 3, nil, ""), octets("EXTERNAL"))
	for _, c := range credentials {
		sasl.AppendChild(octets(c))
	}
	return protocolOp(0, integer(ber.TagInteger, 3), octets(""), sasl)
}

func simpleBind(dn, password string) *ber.Packet {
	return protocolOp(0, integer(ber.TagInteger, 3), octets(dn), ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, password, ""))
}

func extended(oid string, value *ber.Packet) *ber.Packet {
	p := protocolOp(23, ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, oid, ""))
	if value != nil {
		p.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 1, string(value.Bytes()), ""))
	}
	return p
}

func whoAmI() *ber.Packet { return extended("1.3.6.1.4.1.4203.1.11.3", nil) }

// filterOf reads the form of RFC 4515.
func filterOf(t *testing.T, text string) *ber.Packet {
	t.Helper()
	p, err := ldap.CompileFilter(text)
	must(t, err)
	return p
}

// asked is a search.
type asked struct {
	base       string
	scope      int64 // 0 base, 1 one level, 2 subtree
	size       int64
	types      bool
	filter     *ber.Packet
	attributes []string
}

func (q asked) op() *ber.Packet {
	list := ber.NewSequence("")
	for _, a := range q.attributes {
		list.AppendChild(octets(a))
	}
	return protocolOp(3, octets(q.base), integer(ber.TagEnumerated, q.scope), integer(ber.TagEnumerated, 0),
		integer(ber.TagInteger, q.size), integer(ber.TagInteger, 0),
		ber.NewLDAPBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, q.types, ""), q.filter, list)
}

// assertion is an AttributeValueAssertion.
func assertion(name, value string) *ber.Packet { return sequence(octets(name), octets(value)) }

func compareOp(dn, name, value string) *ber.Packet {
	return protocolOp(14, octets(dn), assertion(name, value))
}

// Kinds of changes, RFC 4511 4.6.
const (
	addValues, deleteValues, replaceValues = 0, 1, 2
)

func modifyOp(dn string, kind int64, name string, values ...string) *ber.Packet {
	change := sequence(integer(ber.TagEnumerated, kind), attributeOf(name, values...))
	return protocolOp(6, octets(dn), sequence(change))
}

func attributeOf(name string, values ...string) *ber.Packet {
	set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
	for _, v := range values {
		set.AppendChild(octets(v))
	}
	return sequence(octets(name), set)
}

func deleteOp(dn string) *ber.Packet {
	return ber.NewString(ber.ClassApplication, ber.TypePrimitive, 10, dn, "")
}

func abandonOp(id int64) *ber.Packet {
	return ber.NewInteger(ber.ClassApplication, ber.TypePrimitive, 16, id, "")
}

// cancelOp is RFC 3909.
func cancelOp(id int64) *ber.Packet {
	return extended("1.3.6.1.1.8", sequence(integer(ber.TagInteger, id)))
}

// control is RFC 4511 4.1.11; a nil value is absent.
func control(oid string, critical bool, value []byte) *ber.Packet {
	p := sequence(octets(oid))
	if critical {
		p.AppendChild(ber.NewLDAPBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, true, ""))
	}
	if value != nil {
		p.AppendChild(octets(string(value)))
	}
	return p
}

// proxied is the control of RFC 4370 3.
func proxied(authzid string) *ber.Packet {
	return control("2.16.840.1.113730.3.4.18", true, []byte(authzid))
}

// paged is that of RFC 2696 2.
func paged(size int64, cookie []byte) *ber.Packet {
	return control("1.2.840.113556.1.4.319", true, sequence(integer(ber.TagInteger, size), octets(string(cookie))).Bytes())
}

// cookie is what a paged search goes on with; empty at its end.
func (a answered) cookie() []byte {
	for rest := contentsOrNil(a.controls); ; {
		one, more, ok := cutElement(rest)
		if !ok {
			return nil
		}
		p, err := ber.DecodePacketErr(one)
		if err == nil && len(p.Children) >= 2 && p.Children[0].Data.String() == "1.2.840.113556.1.4.319" {
			value, err := ber.DecodePacketErr(p.Children[len(p.Children)-1].Data.Bytes())
			if err == nil && len(value.Children) == 2 {
				return value.Children[1].Data.Bytes()
			}
		}
		rest = more
	}
}

func contentsOrNil(element []byte) []byte {
	if element == nil {
		return nil
	}
	return contents(element)
}
