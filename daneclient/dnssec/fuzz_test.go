package dnssec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/lab"
)

// nameFrom makes a canonical name of any octets.
func nameFrom(b []byte) string {
	wire := []byte{}
	for len(b) > 0 && len(wire) < 200 {
		n := min(1+int(b[0]%7), len(b))
		wire = append(append(wire, byte(n)), b[:n]...)
		b = b[n:]
	}
	name, _, err := dns.UnpackDomainName(append(wire, 0), 0)
	if err != nil {
		return root
	}
	return canonical(name)
}

// slowCompare is RFC 4034 6.1 word by word.
func slowCompare(a, b string) int {
	octets := func(name string) (out []string) {
		buf := make([]byte, 256)
		n, err := dns.PackDomainName(name, buf, 0, nil, false)
		if err != nil {
			panic(err)
		}
		for w := buf[:n]; w[0] != 0; w = w[1+w[0]:] {
			out = append([]string{string(w[1 : 1+w[0]])}, out...)
		}
		return out
	}
	return slices.Compare(octets(a), octets(b))
}

// FuzzOrder holds the canonical order and what an NSEC covers to their laws.
func FuzzOrder(f *testing.F) {
	f.Add([]byte("aabbz"), []byte("\x00*\xff."), []byte("ab"))
	f.Add([]byte{}, []byte("a"), []byte("a\\b"))
	f.Fuzz(func(t *testing.T, x, y, z []byte) {
		a, b, c := nameFrom(x), nameFrom(y), nameFrom(z)
		ab, err := compareNames(a, b)
		if err != nil {
			t.Fatalf("%q %q: %v", a, b, err)
		}
		ba, _ := compareNames(b, a)
		if sign(ab) != -sign(ba) || (ab == 0) != (a == b) || sign(ab) != sign(slowCompare(a, b)) {
			t.Fatalf("%q %q: %d and %d, want %d", a, b, ab, ba, slowCompare(a, b))
		}
		if below(a, b) && ab >= 0 {
			t.Fatalf("%q is below %q and not after it", b, a)
		}
		n := nsec{owner: a, next: b}
		if n.spans(root, a) || b != root && n.spans(root, b) {
			t.Fatalf("%q to %q spans an end of itself", a, b)
		}
		if n.spans(root, c) && !(slowCompare(a, c) < 0 && (b == root || slowCompare(c, b) < 0)) {
			t.Fatalf("%q to %q spans %q", a, b, c)
		}
		if e := n.encloser(c); !within(e, c) || !within(e, a) && !within(e, b) {
			t.Fatalf("encloser of %q by %q to %q: %q", c, a, b, e)
		}
	})
}

// FuzzNSEC3 holds what an NSEC3 covers to its laws.
func FuzzNSEC3(f *testing.F) {
	f.Add([]byte("abc"), []byte("b"), []byte("c"))
	f.Fuzz(func(t *testing.T, x, y, z []byte) {
		var a, b, c hash
		copy(a[:], x)
		copy(b[:], y)
		copy(c[:], z)
		one, other := nsec3{owner: a, next: b}, nsec3{owner: b, next: a}
		if one.covers(a) || a != b && one.covers(b) {
			t.Fatalf("%x to %x covers an end of itself", a, b)
		}
		// The two make a chain: each hash is one of the ends or covered once.
		if a != b && c != a && c != b && one.covers(c) == other.covers(c) {
			t.Fatalf("%x to %x and back: %x", a, b, c)
		}
	})
}

// FuzzReply gives any octets to all that reads a reply: the parser, and the
// checks of every record in it. What is not signed by the lab's key is never
// proved, and nothing may panic.
func FuzzReply(f *testing.F) {
	w := lab.NewWorld(today)
	w.AddZone("test.", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{Salt: "ab"}}).Add("x"+tlsa, "*.w"+tlsa)
	for _, name := range []string{"x.test.", "nope.test.", "a.w.test.", "nope."} {
		q := new(dns.Msg)
		q.SetQuestion(name, dns.TypeTLSA)
		q.SetEdns0(1232, true)
		packed, err := w.Answer(q).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Add([]byte{})
	z := &zone{name: "test.", expires: today.Add(maxLife)}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerSize {
			b = append(b, make([]byte, headerSize)...)
		}
		for _, q := range []question{{"x.test.", dns.TypeTLSA}, {"nope.test.", dns.TypeTLSA}} {
			buf := slices.Clone(b)
			r, err := parseReply(uint16(b[0])<<8|uint16(b[1]), q, buf)
			said := allRecords(r)
			clear(buf) // which is used again for other replies
			if again := allRecords(r); again != said {
				t.Fatalf("%s changed with its buffer into %s", said, again)
			}
			if err != nil {
				if f := (*fault)(nil); !errors.Is(err, errNotOurs) && !errors.Is(err, errTruncated) && !errors.As(err, &f) {
					t.Fatalf("error of no kind: %v", err)
				}
				continue
			}
			judge(t, z, r, q)
		}
	})
}

// allRecords is the text of all that a reply holds.
func allRecords(r *reply) string {
	if r == nil {
		return ""
	}
	var text []string
	for _, set := range slices.Concat(slices.Collect(maps.Values(r.answer)), r.authority) {
		text = append(text, fmt.Sprint(set.rrs, set.sigs))
	}
	slices.Sort(text)
	return strings.Join(text, "\n") + r.extended
}

// judge runs a reply through what is done with it, under a zone without keys.
func judge(t *testing.T, z *zone, r *reply, q question) {
	l := &lookup{now: today}
	for _, set := range r.answer {
		if _, err := l.verify(z, set); err == nil {
			t.Fatalf("%s is proved by no key", set)
		}
		keysOf(set)
		signerOf(set)
		new(Answer).fill(set)
	}
	if _, err := l.judgeDenial(z, r, q); err == nil {
		t.Fatalf("%s is denied by no key", q)
	}
	d := &denials{zone: z, nsec3: hashed{apex: z.name, known: map[string]hash{}, spend: func(int) error { return nil }}}
	for _, set := range r.authority {
		d.add(set) // as if it had been proved
	}
	if d.nsec3.iterations <= maxIterations {
		d.judge(q.name, q.typ)
		d.judge(q.name, dns.TypeDS)
		expandedNSEC(z.name, d.nsec, q.name, z.name)
		d.nsec3.expanded(q.name, z.name)
	}
	r.negativeTTL()
	if dname := r.dnameAbove(q.name); dname != nil {
		rebuild(q, dname)
		if _, err := l.belowDNAME(z, q.name, r, dname); err == nil {
			t.Fatalf("%s is proved by no key", dname)
		}
	}
	refusal(r)
	denierOf(r, q.name)
}

// FuzzAnchors: what is read can be written and read again.
func FuzzAnchors(f *testing.F) {
	f.Add(builtin)
	f.Add(ksk2017 + " ;;state=2")
	f.Add(ianaXML)
	f.Add("$GENERATE 1-9 . IN DS $ 8 2 00")
	f.Fuzz(func(t *testing.T, text string) {
		anchors, err := ParseAnchors(text)
		if err != nil {
			return
		}
		var lines []string
		for _, a := range anchors {
			lines = append(lines, a.String())
		}
		again, err := ParseAnchors(strings.Join(lines, "\n"))
		if err != nil || len(again) != len(anchors) {
			t.Fatalf("%q: %v", lines, err)
		}
	})
}

// FuzzStream gives any octets to the reader of a connection on which three
// questions wait: each gets at most one message, which has its id, and the
// reader comes to its end.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 12, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 1, 7, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newPipe(octets{bytes.NewReader(b)})
		waits := map[uint16]chan []byte{}
		for id := range uint16(3) {
			waits[id] = make(chan []byte, 1)
			p.waiting[id] = waits[id]
		}
		p.waiting[3] = nil
		p.givenUp++
		p.read()
		if p.usable() || p.cause() == nil {
			t.Fatal("the reader has ended and the connection is kept")
		}
		for id, reply := range waits {
			_, waiting := p.waiting[id]
			if waiting == (len(reply) == 1) {
				t.Fatalf("%d waits: %v, with %d replies", id, waiting, len(reply))
			}
			if !waiting && binary.BigEndian.Uint16(<-reply) != id {
				t.Fatalf("%d has the reply of another", id)
			}
		}
	})
}

// octets is a connection on which something comes and nothing goes.
type octets struct{ *bytes.Reader }

func (octets) Write([]byte) (int, error)        { return 0, io.ErrClosedPipe }
func (octets) Close() error                     { return nil }
func (octets) LocalAddr() net.Addr              { return nil }
func (octets) RemoteAddr() net.Addr             { return nil }
func (octets) SetDeadline(time.Time) error      { return nil }
func (octets) SetReadDeadline(time.Time) error  { return nil }
func (octets) SetWriteDeadline(time.Time) error { return nil }

// FuzzUpstream: no text makes a server over TLS that is not known by name or key.
func FuzzUpstream(f *testing.F) {
	f.Add("127.0.0.1:53")
	f.Add("tls://[::1]:853#dns.test")
	f.Add("tls://127.0.0.1:853#sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseTarget(text)
		if err != nil {
			return
		}
		if u.tls != strings.HasPrefix(text, tlsScheme) || u.tls != (u.name != "" || u.pin != nil) || u.name != "" && u.pin != nil || !u.addr.IsValid() {
			t.Fatalf("%q: %+v", text, u)
		}
		if c := u.config(Options{}); c.InsecureSkipVerify != (c.VerifyConnection != nil) || u.tls && c.ServerName == "" && c.VerifyConnection == nil {
			t.Fatalf("%q: nobody is asked to prove anything", text)
		}
	})
}
