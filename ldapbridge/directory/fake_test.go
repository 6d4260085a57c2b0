package directory

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"go.uber.org/goleak"

	"dancemta/saslext"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// request is what the fake server was asked.
type request struct {
	op               string // "bind", "search", "starttls"
	dn, password     string // of a simple bind; dn: the base of a search
	mechanism        string // of a SASL bind
	filter           string
	attributes       []string
	most             int64
	secure           bool
	certificate      string // common name of the client's
	deref, timeLimit int64
}

// String is the form of the lists in the tests.
func (r request) String() string {
	switch {
	case r.op == "search":
		return "search " + r.dn + " " + r.filter
	case r.mechanism != "":
		return "bind " + r.mechanism + " " + r.certificate
	case r.op == "bind":
		return "bind " + r.dn + " " + r.password
	}
	return r.op
}

// fake is an LDAP server that answers as it is told. Its zero answer takes every bind
// and finds nothing.
type fake struct {
	t      *testing.T
	server Server
	tls    *tls.Config
	answer func(request) []*ber.Packet // protocolOps; nil: silence; for what is not told see usual

	mu        sync.Mutex
	got       []request
	open, all int // connections now, and ever
	most      int
	conns     map[net.Conn]bool
	stall     bool // no TLS: whoever begins it waits
}

func newFake(t *testing.T, answer func(request) []*ber.Packet) *fake {
	t.Helper()
	f := &fake{t: t, answer: answer, conns: map[net.Conn]bool{}}
	f.server = Server{Network: "unix", Address: filepath.Join(t.TempDir(), "ldapi")}
	f.listen()
	return f
}

// newFakeTLS has a port, with TLS at once or by StartTLS.
func newFakeTLS(t *testing.T, implicit bool, c *tls.Config, change ...func(*fake)) *fake {
	t.Helper()
	f := &fake{t: t, answer: usual, conns: map[net.Conn]bool{}, tls: c}
	f.server = Server{Network: "tcp", Address: "127.0.0.1:0", Implicit: implicit}
	for _, c := range change {
		c(f)
	}
	f.listen()
	return f
}

func (f *fake) listen() {
	l, err := net.Listen(f.server.Network, f.server.Address)
	if err != nil {
		f.t.Fatal(err)
	}
	f.server.Address = l.Addr().String()
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns[c] = true
			f.all, f.open = f.all+1, f.open+1
			f.most = max(f.most, f.open)
			f.mu.Unlock()
			wait.Go(func() { f.serve(c) })
		}
	})
	f.t.Cleanup(func() {
		l.Close()
		f.hangUp()
		wait.Wait()
	})
}

// hangUp closes all connections, as a restart does.
func (f *fake) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		c.Close()
	}
}

func (f *fake) serve(c net.Conn) {
	raw := c
	defer func() {
		raw.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.open--
		delete(f.conns, raw)
	}()
	if f.stall && f.server.Implicit {
		io.Copy(io.Discard, c)
		return
	}
	if f.tls != nil && f.server.Implicit {
		c = tls.Server(raw, f.tls)
	}
	for {
		p, err := ber.ReadPacket(c)
		if err != nil || len(p.Children) < 2 {
			return
		}
		r, ok := f.read(p.Children[1], c)
		if !ok {
			return
		}
		f.mu.Lock()
		f.got = append(f.got, r)
		f.mu.Unlock()
		for _, op := range f.answer(r) {
			message := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
			message.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, p.Children[0].Value, ""))
			message.AppendChild(op)
			if _, err := c.Write(message.Bytes()); err != nil {
				return
			}
		}
		if r.op == "starttls" && f.stall {
			io.Copy(io.Discard, c)
			return
		}
		if r.op == "starttls" {
			c = tls.Server(raw, f.tls)
		}
	}
}

func (f *fake) read(op *ber.Packet, c net.Conn) (r request, ok bool) {
	if t, ok := c.(*tls.Conn); ok {
		r.secure = true
		if peers := t.ConnectionState().PeerCertificates; len(peers) > 0 {
			r.certificate = peers[0].Subject.CommonName
		}
	}
	text := func(p *ber.Packet) string { return p.Data.String() }
	switch op.Tag {
	case ldap.ApplicationBindRequest:
		r.op, r.dn = "bind", text(op.Children[1])
		if auth := op.Children[2]; auth.Tag == 0 {
			r.password = text(auth)
		} else {
			r.mechanism = text(auth.Children[0])
		}
	case ldap.ApplicationSearchRequest:
		r.op, r.dn = "search", text(op.Children[0])
		r.deref, r.most, r.timeLimit = op.Children[2].Value.(int64), op.Children[3].Value.(int64), op.Children[4].Value.(int64)
		filter, err := ldap.DecompileFilter(op.Children[6])
		if err != nil {
			f.t.Error(err)
		}
		r.filter = filter
		for _, a := range op.Children[7].Children {
			r.attributes = append(r.attributes, text(a))
		}
	case ldap.ApplicationExtendedRequest:
		r.op = "starttls"
	default:
		return r, false // Unbind, for one
	}
	return r, true
}

// asked returns what was asked, and forgets it.
func (f *fake) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, r := range f.got {
		out = append(out, r.String())
	}
	f.got = nil
	return out
}

func (f *fake) connections() (ever, most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all, f.most
}

var responses = map[string]ber.Tag{"bind": ldap.ApplicationBindResponse, "search": ldap.ApplicationSearchResultDone, "starttls": ldap.ApplicationExtendedResponse}

// code ends an operation.
func code(op string, result int, matched ...string) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, responses[op], nil, "")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, result, ""))
	p.AppendChild(octets(strings.Join(matched, ",")))
	p.AppendChild(octets("said so"))
	return p
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

// entry is one result; values are "name=value".
func entry(dn string, values ...string) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultEntry, nil, "")
	p.AppendChild(octets(dn))
	list := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	for _, v := range values {
		name, value, _ := strings.Cut(v, "=")
		a := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
		a.AppendChild(octets(name))
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		for one := range strings.SplitSeq(value, "|") {
			set.AppendChild(octets(one))
		}
		a.AppendChild(set)
		list.AppendChild(a)
	}
	p.AppendChild(list)
	return p
}

func referral(to string) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultReference, nil, "")
	p.AppendChild(octets(to))
	return p
}

// usual takes every bind, and finds nothing.
func usual(r request) []*ber.Packet { return []*ber.Packet{code(r.op, 0)} }

// finding answers searches by these results, and takes every bind.
func finding(results ...*ber.Packet) func(request) []*ber.Packet {
	return func(r request) []*ber.Packet {
		if r.op != "search" {
			return usual(r)
		}
		return append(slices.Clone(results), code("search", 0))
	}
}

const rickDN = "uid=rick,ou=people,dc=example,dc=org"

// newDirectory asks the fakes, in their order.
func newDirectory(t *testing.T, o Options, fakes ...*fake) *Directory {
	t.Helper()
	for _, f := range fakes {
		o.Servers = append(o.Servers, f.server)
	}
	if o.Base == "" {
		o.Base = "ou=people,dc=example,dc=org"
	}
	if o.Filter == "" {
		o.Filter = "(mail={address})"
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second // nothing of the tests' is late but what they want late
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func user(t *testing.T, s string) saslext.Identity {
	t.Helper()
	id, err := saslext.ParseIdentity(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func password(t *testing.T, s string) saslext.Password {
	t.Helper()
	p, err := saslext.NewPassword(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// isTrouble demands an error that refuses nobody.
func isTrouble(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, saslext.ErrPassword) {
		t.Errorf("%s: %v, want trouble", what, err)
	}
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func show(e Entry) string { return fmt.Sprintf("%q %v %q", e.Groups, e.Addresses, e.Quota) }
