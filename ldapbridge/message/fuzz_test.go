package message

import (
	"bytes"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// FuzzRead: what is taken is passed on as it came, and the library sees the same
// elements in it that the walk saw. Nothing panics.
func FuzzRead(f *testing.F) {
	f.Add(octets(f, search))
	f.Add(AppendBindExternal(nil, 1))
	f.Add(AppendExtended(nil, 2, OIDCancel, CancelValue(1)))
	f.Add(AppendResult(nil, 3, SearchDone, Result{Code: NoSuchObject, MatchedDN: "dc=test"}))
	f.Add(AppendEntry(nil, 4, "dc=test", []Attribute{{Name: "dc", Values: []string{"test"}}}, false))
	f.Add(AppendMessage(nil, 5, AbandonOp(4), AppendControls(nil, Control{OID: OIDProxiedAuth, Critical: true, HasValue: true})))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := read(b, Limits{})
		if err != nil {
			return
		}
		again, err := read(m.Append(nil), Limits{})
		if err != nil || again.ID != m.ID || !bytes.Equal(again.Op, m.Op) || !bytes.Equal(again.Controls, m.Controls) {
			t.Fatalf("% x was passed on as % x (%v)", b, m.Append(nil), err)
		}
		if p, err := ber.DecodePacketErr(m.Op); err == nil && tagOf(p) != byte(m.Tag()) {
			t.Fatalf("operation %#x, the library says %#x", byte(m.Tag()), tagOf(p))
		}
		controls, err := ParseControls(m.Controls)
		if err == nil {
			twice, err := ParseControls(AppendControls(nil, controls...))
			if err != nil || len(twice) != len(controls) {
				t.Fatalf("%+v became %+v (%v)", controls, twice, err)
			}
		}
		ParseBind(m.Op)
		ParseAbandon(m.Op)
		ParseResult(m.Op)
		ParseEntry(m.Op)
		if x, err := ParseExtended(m.Op); err == nil {
			ParseCancel(x.Value)
		}
		s, err := ParseSearch(m.Op)
		if err != nil {
			return
		}
		s.AttributeList()
		IsFilterPresent(s.Filter)
		op := s.AppendOp(nil)
		twice, err := ParseSearch(op)
		if err != nil || !bytes.Equal(twice.AppendOp(nil), op) {
			t.Fatalf("search % x became % x (%v)", m.Op, op, err)
		}
	})
}

// BenchmarkRequest is what a bridge does with each search: it is read, its controls
// are read, and it is written with one more.
func BenchmarkRequest(b *testing.B) {
	in := octets(b, search)
	b.ReportAllocs()
	for b.Loop() {
		m, err := read(in, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		list, err := ParseControls(m.Controls)
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, Control{OID: OIDProxiedAuth, Critical: true, Value: []byte("u:rick@partner.test"), HasValue: true})
		AppendMessage(nil, 7, m.Op, AppendControls(nil, list...))
	}
}
