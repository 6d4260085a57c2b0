package proxy

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"dancemta/internal/pattern"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The headers below are written by hand, octet by octet, and not by the library
// that reads them.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// tcp4 is 192.0.2.7:4444, who reached 198.51.100.1:25.
const tcp4 = "\xc0\x00\x02\x07\xc6\x33\x64\x01\x11\x5c\x00\x19"

// v2 is a header of version 2 with these fields.
func v2(command, family byte, addresses string, fields ...string) string {
	rest := addresses + strings.Join(fields, "")
	b := append([]byte(signature), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rest)))
	return string(b) + rest
}

func proxied(fields ...string) string { return v2(0x21, 0x11, tcp4, fields...) }

func field(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

// ssl is PP2_TYPE_SSL: client bits, verify, version.
func ssl(client byte, verify uint32, version string) string {
	v := string(binary.BigEndian.AppendUint32([]byte{client}, verify))
	if version != "" {
		v += field(0x21, version)
	}
	return field(0x20, v)
}

// good says that a verified certificate came on this connection, under TLS 1.3.
var good = ssl(3, 0, "TLSv1.3")

// withSum fills in the checksum of a header whose last field is an empty one.
func withSum(header string, wrong uint32) string {
	b := []byte(header)
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) + wrong
	binary.BigEndian.PutUint32(b[len(b)-4:], sum)
	return string(b)
}

var may = []pattern.Pattern{
	pattern.MustParse("_smtp-client.*.partner.test"), pattern.MustParse("*._device.partner.test"),
	pattern.MustParse("*@partner.test"), pattern.MustParse("*@xn--bcher-kva.test"),
}

const (
	mta  = "_smtp-client.mx.partner.test"
	rick = "rick@partner.test"
)

var cases = []struct {
	name, header string
	identity     string
	remote       string // "": the socket's
	err          error
}{
	{"version 1", "PROXY TCP4 192.0.2.7 198.51.100.1 4444 25\r\n", "", "192.0.2.7:4444", nil},
	{"version 1, IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 4444 25\r\n", "", "[2001:db8::7]:4444", nil},
	{"version 1, unknown", "PROXY UNKNOWN\r\n", "", "", nil},
	{"version 1, lone LF", "PROXY TCP4 192.0.2.7 198.51.100.1 4444 25\n", "", "", ErrHeader},
	{"version 1, port beyond", "PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n", "", "", ErrHeader},
	{"version 1, too long", "PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n", "", "", ErrHeader},
	{"none", "EHLO mx.partner.test\r\n", "", "", ErrHeader},
	{"nothing", "", "", "", ErrHeader},
	{"version 2", proxied(), "", "192.0.2.7:4444", nil},
	{"version 3", v2(0x31, 0x11, tcp4), "", "", ErrHeader},
	{"unknown command", v2(0x22, 0x11, tcp4), "", "", ErrHeader},
	{"LOCAL", v2(0x20, 0x00, ""), "", "", nil},
	{"LOCAL with addresses and an identity", v2(0x20, 0x11, tcp4, field(0xE0, mta), good), "", "", nil},
	{"UDP", v2(0x21, 0x12, tcp4), "", "", ErrTransport},
	{"a socket", v2(0x21, 0x31, strings.Repeat("\x00", 216)), "", "", ErrTransport},
	{"no family", v2(0x21, 0x00, ""), "", "", ErrHeader},
	{"addresses cut off", v2(0x21, 0x11, tcp4[:11]), "", "", ErrHeader},
	{"fields past the length", proxied("\xe0\x00\xff" + mta), "", "", ErrHeader},
	{"half a field", proxied("\xe0\x00"), "", "", ErrHeader},
	{"over 4 KiB", proxied(field(0x04, strings.Repeat("\x00", 5000))), "", "", ErrHeader},

	{"client", proxied(field(0xE0, mta), good), mta, "192.0.2.7:4444", nil},
	{"device", proxied(good, field(0xE0, "sensor7._device.partner.test")), "sensor7._device.partner.test", "192.0.2.7:4444", nil},
	{"user", proxied(good, field(0xE1, rick)), rick, "192.0.2.7:4444", nil},
	{"user of an IDN", proxied(good, field(0xE1, "rick@xn--bcher-kva.test")), "rick@xn--bcher-kva.test", "192.0.2.7:4444", nil},
	{"other fields", proxied(field(0x01, "smtp"), field(0x04, "\x00\x00"), field(0xE2, "x"), good, field(0xE1, rick)), rick, "192.0.2.7:4444", nil},
	{"the CN is nobody", proxied(field(0x20, "\x03\x00\x00\x00\x00"+field(0x21, "TLSv1.3")+field(0x22, mta))), "", "192.0.2.7:4444", nil},
	{"both", proxied(field(0xE0, mta), field(0xE1, rick), good), "", "", ErrIdentities},
	{"twice", proxied(field(0xE0, mta), field(0xE0, mta), good), "", "", ErrIdentities},
	{"no TLS", proxied(field(0xE0, mta)), "", "", ErrTLS},
	{"TLS told twice", proxied(field(0xE0, mta), good, good), "", "", ErrTLS},
	{"TLS malformed first", proxied(field(0xE0, mta), field(0x20, "\x03"), good), "", "", ErrTLS},
	{"verify is 1", proxied(field(0xE0, mta), ssl(3, 1, "TLSv1.3")), "", "", ErrTLS},
	{"verify is all ones", proxied(field(0xE0, mta), ssl(3, 0xffffffff, "TLSv1.3")), "", "", ErrTLS},
	{"TLS 1.2", proxied(field(0xE0, mta), ssl(3, 0, "TLSv1.2")), "", "", ErrTLS},
	{"a version like 1.3", proxied(field(0xE0, mta), ssl(3, 0, "TLSv1.30")), "", "", ErrTLS},
	{"no version", proxied(field(0xE0, mta), ssl(3, 0, "")), "", "", ErrTLS},
	{"the client did not use TLS", proxied(field(0xE0, mta), ssl(2, 0, "TLSv1.3")), "", "", ErrTLS},
	{"no certificate", proxied(field(0xE0, mta), ssl(1, 0, "TLSv1.3")), "", "", ErrTLS},
	{"a certificate of an earlier connection", proxied(field(0xE0, mta), ssl(5, 0, "TLSv1.3")), "", "", ErrTLS},
	{"upper case", proxied(field(0xE0, "_smtp-client.MX.partner.test"), good), "", "", ErrName},
	{"final dot", proxied(field(0xE0, mta+"."), good), "", "", ErrName},
	{"a host's name", proxied(field(0xE0, "mx.partner.test"), good), "", "", ErrName},
	{"a server's name", proxied(field(0xE0, "_25._tcp.mx.partner.test"), good), "", "", ErrName},
	{"users' name", proxied(field(0xE0, "_user.partner.test"), good), "", "", ErrName},
	{"empty name", proxied(field(0xE0, ""), good), "", "", ErrName},
	{"a user as a client", proxied(field(0xE0, rick), good), "", "", ErrName},
	{"a client as a user", proxied(field(0xE1, mta), good), "", "", ErrName},
	{"user in upper case", proxied(field(0xE1, "Rick@partner.test"), good), "", "", ErrName},
	{"user with U-labels", proxied(field(0xE1, "rick@bücher.test"), good), "", "", ErrName},
	{"no UTF-8", proxied(field(0xE1, "ri\xff@partner.test"), good), "", "", ErrName},
	{"CR and LF", proxied(field(0xE1, "x\r\nBcc:y@partner.test"), good), "", "", ErrName},
	{"not this proxy's", proxied(field(0xE0, "_smtp-client.mx.example.test"), good), "", "", ErrNotAllowed},
	{"no rule", proxied(field(0xE1, "mallory@partner.test"), good), "", "", ErrNotAllowed},

	{"checksum", withSum(proxied(good, field(0xE1, rick), field(0x04, "\x00"), field(0x03, "\x00\x00\x00\x00")), 0), rick, "192.0.2.7:4444", nil},
	{"wrong checksum", withSum(proxied(field(0x03, "\x00\x00\x00\x00")), 1), "", "", ErrChecksum},
	{"short checksum", proxied(field(0x03, "\x00")), "", "", ErrChecksum},
	{"two checksums", proxied(field(0x03, "\x00\x00\x00\x00"), field(0x03, "\x00\x00\x00\x00")), "", "", ErrChecksum},
}

func allowed(t Told) bool { return t.Identity() != "mallory@partner.test" }

func TestHeaders(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := bufio.NewReader(strings.NewReader(c.header + "EHLO x\r\n"))
			if c.name == "nothing" {
				in = bufio.NewReader(strings.NewReader(""))
			}
			told, err := read(in, may, allowed)
			if !errors.Is(err, c.err) || err != nil && c.err == nil {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err != nil {
				return
			}
			remote := ""
			if told.Remote.IsValid() {
				remote = told.Remote.String()
			}
			if told.Identity() != c.identity || remote != c.remote {
				t.Errorf("%q from %q, want %q from %q", told.Identity(), remote, c.identity, c.remote)
			}
			if rest, _ := io.ReadAll(in); string(rest) != "EHLO x\r\n" {
				t.Errorf("behind the header: %q", rest)
			}
		})
	}
}

// TestIdentitiesNotBelieved: without patterns the fields are passed over, whatever they hold.
func TestIdentitiesNotBelieved(t *testing.T) {
	in := bufio.NewReader(strings.NewReader(proxied(field(0xE0, mta), field(0xE1, rick))))
	told, err := read(in, nil, allowed)
	if err != nil || told.Identity() != "" || told.Remote.String() != "192.0.2.7:4444" {
		t.Errorf("%+v, %v", told, err)
	}
}

// TestNobodyAsked: without rules there is no identity.
func TestNobodyAsked(t *testing.T) {
	if _, err := read(bufio.NewReader(strings.NewReader(proxied(field(0xE0, mta), good))), may, nil); !errors.Is(err, ErrNotAllowed) {
		t.Error(err)
	}
}

// pipe is a connection whose proxy has an address.
type pipe struct {
	net.Conn
	from string
}

func (p pipe) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(p.from)) }

func introduced(t *testing.T, from string) (*Conn, net.Conn) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	l := &Listener{Allowed: allowed, Sources: []Source{
		{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Identities: may[:1]},
		{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.8/32"), netip.MustParsePrefix("2001:db8::/64")}, Identities: may[2:]},
	}}
	return &Conn{Conn: pipe{ours, from}, listener: l}, theirs
}

func TestSources(t *testing.T) {
	for _, c := range []struct {
		from, claim string
		err         error
	}{
		{"10.0.0.7:1", field(0xE0, mta), nil},
		{"10.0.0.7:1", field(0xE1, rick), ErrNotAllowed},
		{"10.0.0.8:1", field(0xE1, rick), nil}, // in both
		{"10.0.0.8:1", field(0xE0, mta), nil},
		{"[::ffff:10.0.0.7]:1", field(0xE0, mta), nil},
		{"[2001:db8::5]:1", field(0xE1, rick), nil},
		{"10.0.1.7:1", field(0xE0, mta), ErrStranger},
		{"192.0.2.7:1", field(0xE0, mta), ErrStranger},
	} {
		conn, proxy := introduced(t, c.from)
		go io.WriteString(proxy, proxied(c.claim, good))
		err := conn.Introduce(context.Background())
		if !errors.Is(err, c.err) || err != nil && c.err == nil {
			t.Errorf("%s, %q: %v, want %v", c.from, c.claim, err, c.err)
		}
		if err != nil && conn.RemoteAddr().String() == "192.0.2.7:4444" {
			t.Errorf("%s: an address of a header that is not believed", c.from)
		}
		proxy.Close()
		conn.Close()
	}
}

func TestBehindTheHeader(t *testing.T) {
	conn, proxy := introduced(t, "10.0.0.7:1")
	go func() {
		io.WriteString(proxy, proxied()+"EHLO ")
		io.WriteString(proxy, "x\r\n")
		proxy.Close()
	}()
	if before := conn.RemoteAddr().String(); before != "10.0.0.7:1" {
		t.Errorf("before: %s", before)
	}
	if err := conn.Introduce(context.Background()); err != nil {
		t.Fatal(err)
	}
	if conn.RemoteAddr().String() != "192.0.2.7:4444" || conn.LocalAddr().String() != "198.51.100.1:25" {
		t.Errorf("addresses %v and %v", conn.RemoteAddr(), conn.LocalAddr())
	}
	if b, err := io.ReadAll(conn); err != nil || string(b) != "EHLO x\r\n" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestLate: a header has its time as a whole, however it trickles in.
func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, proxy := introduced(t, "10.0.0.7:1")
		began, written := time.Now(), make(chan struct{})
		go func() {
			defer close(written)
			for _, b := range []byte(proxied()) {
				if _, err := proxy.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		err := conn.Introduce(context.Background())
		if took := time.Since(began); err == nil || took != headerTime {
			t.Errorf("after %v: %v", took, err)
		}
		conn.Close()
		<-written
	})
}

// TestCut: the server's stop does not wait for a proxy.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _ := introduced(t, "10.0.0.7:1")
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		began := time.Now()
		if err := conn.Introduce(ctx); err == nil || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c.header))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		told, err := read(bufio.NewReader(strings.NewReader(string(b))), may, allowed)
		switch {
		case err != nil:
			return
		case told.Identity() == "":
			return
		case !told.Client.IsZero() && !told.User.IsZero():
			t.Errorf("two identities: %+v", told)
		case !strings.HasSuffix(told.Identity(), ".test"):
			t.Errorf("%q is in no pattern", told.Identity())
		case !strings.Contains(string(b), told.Identity()) || !strings.Contains(string(b), tls13):
			t.Errorf("%q was not said, or without TLS", told.Identity())
		}
	})
}

// whole is how many octets a header has, by its own words: -1 when they have no end.
func whole(b []byte) int {
	if strings.HasPrefix(string(b), signature) {
		if len(b) < 16 {
			return -1
		}
		return 16 + int(binary.BigEndian.Uint16(b[14:]))
	}
	return strings.Index(string(b), "\r\n") + 2
}

// FuzzIntroduce: what is behind the header is the client's, all of it and nothing else,
// in whatever pieces it comes; and only the listed proxy is heard.
func FuzzIntroduce(f *testing.F) {
	for i, c := range cases {
		f.Add([]byte(c.header+"EHLO x\r\n"), uint16(i), i%4 != 0)
	}
	f.Fuzz(func(t *testing.T, b []byte, piece uint16, listed bool) {
		from := "10.0.0.7:1"
		if !listed {
			from = "192.0.2.99:1"
		}
		l := &Listener{Allowed: allowed, Sources: []Source{{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Identities: may}}}
		conn := &Conn{Conn: &played{from: from, left: b, piece: int(piece%100) + 1}, listener: l}
		if err := conn.Introduce(context.Background()); err != nil {
			return
		}
		if !listed {
			t.Fatal("a stranger was heard")
		}
		rest, err := io.ReadAll(conn)
		if n := whole(b); err != nil || n < 0 || string(rest) != string(b[n:]) {
			t.Errorf("%q behind %q, %v", rest, b, err)
		}
	})
}

// played is a connection that brings octets in pieces.
type played struct {
	net.Conn
	from  string
	left  []byte
	piece int
}

func (p *played) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(p.from))
}
func (p *played) SetReadDeadline(time.Time) error { return nil }
func (p *played) Close() error                    { return nil }
func (p *played) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[:min(p.piece, len(p.left))])
	p.left = p.left[n:]
	return n, nil
}
