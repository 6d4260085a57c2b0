//go:build unix

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"os"
	"strconv"
	"strings"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"

	"dancemta/internal/lab"
)

const (
	manyEntries = 100_000
	manyBase    = "ou=many,ou=partner.test," + lab.DirectoryShared
	// What the bridge may grow by, whatever passes through it: its buffers, and what the
	// collector has not seen yet.
	streamMemory = 16 << 20
)

// manyLDIF is what slapd streams: in all about 40 MB on the wire.
func manyLDIF() string {
	var b strings.Builder
	fmt.Fprintf(&b, "dn: %s\nobjectClass: organizationalUnit\nou: many\n\n", manyBase)
	filler := strings.Repeat("x", 200)
	for i := range manyEntries {
		fmt.Fprintf(&b, "dn: cn=e%d,%s\nobjectClass: device\ncn: e%d\ndescription: %s\n\n", i, manyBase, i, filler)
	}
	return b.String()
}

// stream is what a search has brought so far.
type stream struct {
	entries int
	sum     hash.Hash // of the operations, in their order
	last    answered
}

// readStream takes up to this many answers to a search, or all.
func (s *stream) read(w *ldapWire, id int64, atMost int) {
	w.t.Helper()
	w.hurry()
	for range atMost {
		a := w.receive()
		if a.id != id {
			w.t.Fatalf("an answer to %d, and %d was asked", a.id, id)
		}
		s.sum.Write(a.op)
		if a.last() {
			s.last = a
			return
		}
		s.entries++
	}
}

// streamAll searches and reads everything.
func streamAll(w *ldapWire, op *ber.Packet, controls ...*ber.Packet) *stream {
	w.t.Helper()
	s := &stream{sum: sha256.New()}
	s.read(w, w.send(op, controls...), manyEntries+2)
	return s
}

// residentPeak is the most memory that a process ever had.
func residentPeak(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	_, rest, ok := strings.Cut(string(text), "VmHWM:")
	if !ok {
		t.Fatalf("no VmHWM in %s", text)
	}
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	must(t, err)
	return kib << 10
}

// TestOracleBridgeStreams: a search of 100,000 entries passes octet by octet, in bounded
// memory; who reads slowly slows himself alone; abandon, cancel and rebind end a search
// in its middle.
func TestOracleBridgeStreams(t *testing.T) {
	needSlapd(t)
	n := newInternet(t)
	s := newSlapd(t, n, manyLDIF())
	bridge := newBridge(t, n, "ldaps://"+s.LDAPS)
	all := asked{base: manyBase, scope: 1, filter: filterOf(t, "(objectClass=*)")}.op()
	rick := bridgedWire(t, n, bridge, n.Rick)
	rick.do(whoAmI())
	before := residentPeak(t, bridge.cmd.Process.Pid)

	got := streamAll(rick, all)
	want := streamAll(directWire(t, n, s), all, proxied("dn:"+dnOf(n.Rick)))
	if got.entries != manyEntries || want.entries != manyEntries || code(got.last) != 0 || !bytes.Equal(got.sum.Sum(nil), want.sum.Sum(nil)) {
		t.Errorf("the bridge: %d entries, result %d; slapd: %d, result %d", got.entries, code(got.last), want.entries, code(want.last))
	}

	slow, slowly := bridgedWire(t, n, bridge, n.Rick), &stream{sum: sha256.New()}
	id := slow.send(all)
	slowly.read(slow, id, 1)
	// The search of the slow one stands still as soon as all buffers are full, whenever
	// that is; others find that nothing has happened.
	other := bridgedWire(t, n, bridge, n.Namesake)
	for range 200 {
		if found := other.do(asked{base: "ou=other.test," + lab.DirectoryShared, scope: 1, filter: filterOf(t, "(cn=price list)")}.op()); len(found) != 2 {
			t.Fatalf("the other one finds %d", len(found))
		}
	}
	endInTheMiddle(t, n, bridge, all)
	slowly.read(slow, id, manyEntries+2)
	if slowly.entries != manyEntries || !bytes.Equal(slowly.sum.Sum(nil), want.sum.Sum(nil)) {
		t.Errorf("the slow one: %d entries, result %d", slowly.entries, code(slowly.last))
	}
	grown := residentPeak(t, bridge.cmd.Process.Pid) - before
	t.Logf("the bridge grew by %d KiB", grown>>10)
	if grown > streamMemory {
		t.Errorf("the bridge grew by %d octets", grown)
	}
}

// endInTheMiddle ends searches by abandon, cancel and bind, and goes on with the
// connection.
func endInTheMiddle(t *testing.T, n *lab.Internet, bridge *child, all *ber.Packet) {
	w := bridgedWire(t, n, bridge, n.Rick)
	read := &stream{sum: sha256.New()}

	id := w.send(all)
	read.read(w, id, 10)
	w.send(abandonOp(id))
	if _, a := until(w, id, w.send(whoAmI())); code(a) != 0 {
		t.Errorf("after an abandon: %d", code(a))
	}

	id = w.send(all)
	read.read(w, id, 10)
	// RFC 3909: the search answers canceled (118), and the cancel is a success.
	ended, a := until(w, id, w.send(cancelOp(id)))
	if code(a) != 0 || ended == nil || code(*ended) != 118 {
		t.Errorf("a cancel: %d, and the search %v", code(a), ended)
	}

	id = w.send(all)
	read.read(w, id, 10)
	// RFC 4511 4.2.1: what is outstanding is abandoned or done before the bind is.
	if _, a = until(w, id, w.send(saslBind())); code(a) != 0 {
		t.Errorf("a bind during a search: %d", code(a))
	}
	if found := w.do(asked{base: dnOf(n.Rick), filter: filterOf(t, "(uid=rick)")}.op()); len(found) != 2 {
		t.Errorf("after a rebind: %d answers", len(found))
	}
}

// until reads on to the answer to one request; up to there another one may still be
// answered, whose end is returned too.
func until(w *ldapWire, old, id int64) (ended *answered, a answered) {
	w.t.Helper()
	w.hurry()
	for {
		a := w.receive()
		switch {
		case a.id == id:
			return ended, a
		case a.id != old || ended != nil:
			w.t.Fatalf("an answer to %d", a.id)
		case a.last():
			ended = &a
		}
	}
}
