package message

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// octets reads hex with spaces.
func octets(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(b []byte, l Limits) (Message, error) {
	return Read(bufio.NewReader(bytes.NewReader(b)), l)
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, in string
		limits   Limits
		want     error
		id       int32
		op       Op
	}{
		{name: "unbind", in: "30 05 02 01 05 42 00", id: 5, op: UnbindRequest},
		{name: "a length in more octets than it needs", in: "30 84 00 00 00 05 02 01 05 42 00", id: 5, op: UnbindRequest},
		{name: "the largest ID", in: "30 08 02 04 7f ff ff ff 42 00", id: 1<<31 - 1, op: UnbindRequest},
		{name: "an ID that is negative", in: "30 05 02 01 ff 42 00", want: ErrMalformed},
		{name: "an ID that is too large", in: "30 09 02 05 00 80 00 00 00 42 00", want: ErrMalformed},
		{name: "an ID in more octets than it needs", in: "30 06 02 02 00 05 42 00", want: ErrMalformed},
		{name: "an ID of no octets", in: "30 04 02 00 42 00", want: ErrMalformed},
		{name: "no sequence", in: "31 05 02 01 05 42 00", want: ErrMalformed},
		{name: "HTTP", in: "47 45 54 20 2f", want: ErrMalformed},
		{name: "indefinite length", in: "30 80 02 01 05 42 00 00 00", want: ErrMalformed},
		{name: "indefinite length within", in: "30 0b 02 01 05 63 80 04 00 00 00 00 00", want: ErrMalformed},
		{name: "a length of five octets", in: "30 85 00 00 00 00 05 02 01 05 42 00", want: ErrMalformed},
		{name: "no operation", in: "30 03 02 01 05", want: ErrMalformed},
		{name: "an element longer than its parent", in: "30 05 02 01 05 42 01", want: ErrMalformed},
		{name: "an inner element longer than its parent", in: "30 08 02 01 05 63 03 04 02 61", want: ErrMalformed},
		{name: "a tag of two octets", in: "30 06 02 01 05 7f 63 00", want: ErrMalformed},
		{name: "controls twice", in: "30 09 02 01 05 42 00 a0 00 a0 00", want: ErrMalformed},
		{name: "something else behind", in: "30 07 02 01 05 42 00 a1 00", id: 5, op: UnbindRequest},
		{name: "too big", in: "30 05 02 01 05 42 00", limits: Limits{Bytes: 4}, want: ErrTooBig},
		{name: "just not too big", in: "30 05 02 01 05 42 00", limits: Limits{Bytes: 5}, id: 5, op: UnbindRequest},
		{name: "2 GB that are only said", in: "30 84 7f ff ff ff 02", want: ErrTooBig},
		{name: "too many", in: "30 09 02 01 05 63 04 04 00 04 00", limits: Limits{Elements: 3}, want: ErrTooMany},
		{name: "just not too many", in: "30 09 02 01 05 63 04 04 00 04 00", limits: Limits{Elements: 4}, id: 5, op: SearchRequest},
		{name: "too deep", in: "30 09 02 01 05 63 04 30 02 30 00", limits: Limits{Depth: 3}, want: ErrTooDeep},
		{name: "just not too deep", in: "30 09 02 01 05 63 04 30 02 30 00", limits: Limits{Depth: 4}, id: 5, op: SearchRequest},
		{name: "the end before it", in: "", want: io.EOF},
		{name: "the end within its header", in: "30", want: io.ErrUnexpectedEOF},
		{name: "the end within it", in: "30 05 02 01", want: io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := read(octets(t, c.in), c.limits)
			if !errors.Is(err, c.want) || err == nil && (m.ID != c.id || m.Tag() != c.op) {
				t.Errorf("%d %#x %v, want %d %#x %v", m.ID, m.Op, err, c.id, byte(c.op), c.want)
			}
		})
	}
}

// TestCredit: a length that is only said costs no memory.
func TestCredit(t *testing.T) {
	const said = 16 << 20
	in := append(octets(t, "30 84 00 ff ff ff"), make([]byte, 100)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := read(in, Limits{Bytes: said}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > said/16 {
		t.Errorf("%d octets of memory", got)
	}
}

// TestEmptyElements: what costs a decoder the most is refused before one sees it.
func TestEmptyElements(t *testing.T) {
	inner := bytes.Repeat([]byte{0x04, 0}, 100_000)
	m := AppendMessage(nil, 1, append(appendHead(nil, byte(SearchRequest), len(inner)), inner...), nil)
	if _, err := read(m, Limits{}); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v", err)
	}
	if _, err := decode(m); !errors.Is(err, ErrTooMany) {
		t.Errorf("decode: %v", err)
	}
	deep := []byte{}
	for range 100 {
		deep = append(appendHead(nil, 0x30, len(deep)), deep...)
	}
	if _, err := decode(deep); !errors.Is(err, ErrTooDeep) {
		t.Errorf("decode: %v", err)
	}
}

// search is what ldapsearch sends for (uid=rick), base dc=test, two attributes.
const search = `30 42 02 01 02
	63 3d 04 07 64 63 3d 74 65 73 74 0a 01 02 0a 01 00 02 01 00 02 01 00 01 01 00
	a3 0b 04 03 75 69 64 04 04 72 69 63 6b
	30 16 04 04 6d 61 69 6c 04 02 63 6e 04 0a 31 2e 32 2e 33 2e 34 2e 35 36`

func TestRequests(t *testing.T) {
	m, err := read(octets(t, search), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSearch(m.Op)
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.AttributeList()
	if string(s.Base) != "dc=test" || s.Scope != ScopeSubtree || s.Deref != 0 || s.SizeLimit != 0 || s.TypesOnly ||
		!reflect.DeepEqual(list, []string{"mail", "cn", "1.2.3.4.56"}) || err != nil {
		t.Errorf("%+v %q %v", s, list, err)
	}
	if got := s.AppendOp(nil); !bytes.Equal(got, m.Op) {
		t.Errorf("written again: % x", got)
	}
	s.SizeLimit = 500
	if again, err := ParseSearch(s.AppendOp(nil)); err != nil || !reflect.DeepEqual(again, s) {
		t.Errorf("%+v %v", again, err)
	}
	if got := m.Append(nil); !bytes.Equal(got, octets(t, search)) {
		t.Errorf("passed on: % x", got)
	}
}

func TestBind(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     Bind
		bad      bool
	}{
		{"anonymous", "60 07 02 01 03 04 00 80 00", Bind{Version: 3, Name: []byte{}, IsSimple: true, Password: []byte{}}, false},
		{"simple", "60 0a 02 01 03 04 01 78 80 02 70 77", Bind{Version: 3, Name: []byte("x"), IsSimple: true, Password: []byte("pw")}, false},
		{"external, nothing there", "60 11 02 01 03 04 00 a3 0a 04 08 45 58 54 45 52 4e 41 4c", Bind{Version: 3, Name: []byte{}, IsSASL: true, Mechanism: "EXTERNAL"}, false},
		{"external, empty", "60 13 02 01 03 04 00 a3 0c 04 08 45 58 54 45 52 4e 41 4c 04 00", Bind{Version: 3, Name: []byte{}, IsSASL: true, Mechanism: "EXTERNAL", Credentials: []byte{}, HasCredentials: true}, false},
		{"another choice", "60 07 02 01 03 04 00 89 00", Bind{Version: 3, Name: []byte{}}, false},
		{"version 128", "60 08 02 02 00 80 04 00 80 00", Bind{Version: 128, Name: []byte{}, IsSimple: true, Password: []byte{}}, false},
		{"a version of nine octets", "60 0f 02 09 01 00 00 00 00 00 00 00 03 04 00 80 00", Bind{}, true},
		{"a constructed name", "60 0a 02 01 03 24 03 04 01 78 80 00", Bind{}, true},
		{"nothing but a version", "60 03 02 01 03", Bind{}, true},
		{"another operation", "63 07 02 01 03 04 00 80 00", Bind{}, true},
		{"octets behind", "60 07 02 01 03 04 00 80 00 00", Bind{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := ParseBind(octets(t, c.in))
			if c.bad {
				if !errors.Is(err, ErrMalformed) {
					t.Errorf("%+v %v", b, err)
				}
				return
			}
			if err != nil || fmt.Sprintf("%+v", b) != fmt.Sprintf("%+v", c.want) || b.HasCredentials != c.want.HasCredentials {
				t.Errorf("%+v %v, want %+v", b, err, c.want)
			}
		})
	}
	if got := AppendBindExternal(nil, 1); !bytes.Equal(got, octets(t, "30 18 02 01 01 60 13 02 01 03 04 00 a3 0c 04 08 45 58 54 45 52 4e 41 4c 04 00")) {
		t.Errorf("% x", got)
	}
}

func TestControls(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []Control
		bad      error
	}{
		{"none", "", nil, nil},
		{"an empty list", "a0 00", nil, nil},
		{"an OID alone", "a0 07 30 05 04 03 31 2e 32", []Control{{OID: "1.2"}}, nil},
		{"critical", "a0 0a 30 08 04 03 31 2e 32 01 01 ff", []Control{{OID: "1.2", Critical: true}}, nil},
		{"said not to be", "a0 0a 30 08 04 03 31 2e 32 01 01 00", []Control{{OID: "1.2"}}, nil},
		{"an empty value", "a0 09 30 07 04 03 31 2e 32 04 00", []Control{{OID: "1.2", Value: []byte{}, HasValue: true}}, nil},
		{"critical with a value", "a0 0d 30 0b 04 03 31 2e 32 01 01 ff 04 01 78", []Control{{OID: "1.2", Critical: true, Value: []byte("x"), HasValue: true}}, nil},
		{"TRUE as 1, which go-asn1-ber writes", "a0 0a 30 08 04 03 31 2e 32 01 01 01", []Control{{OID: "1.2", Critical: true}}, nil},
		{"a boolean of two octets", "a0 0b 30 09 04 03 31 2e 32 01 02 00 ff", nil, ErrMalformed},
		{"the value before", "a0 0c 30 0a 04 03 31 2e 32 04 00 01 01 ff", nil, ErrMalformed},
		{"twice", "a0 0e 30 05 04 03 31 2e 32 30 05 04 03 31 2e 32", nil, ErrMalformed},
		{"no OID", "a0 05 30 03 01 01 ff", nil, ErrMalformed},
		{"no sequence", "a0 05 04 03 31 2e 32", nil, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseControls(octets(t, c.in))
			if !errors.Is(err, c.bad) || err == nil && fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
				t.Errorf("%+v %v, want %+v %v", got, err, c.want, c.bad)
			}
		})
	}
	var many []Control
	for i := range maxControls + 1 {
		many = append(many, Control{OID: fmt.Sprintf("1.%d", i)})
	}
	if _, err := ParseControls(AppendControls(nil, many[:maxControls]...)); err != nil {
		t.Error(err)
	}
	if _, err := ParseControls(AppendControls(nil, many...)); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
	anonymous := AppendControls(nil, Control{OID: OIDProxiedAuth, Critical: true, HasValue: true})
	if want := octets(t, "a0 21 30 1f 04 18 32 2e 31 36 2e 38 34 30 2e 31 2e 31 31 33 37 33 30 2e 33 2e 34 2e 31 38 01 01 ff 04 00"); !bytes.Equal(anonymous, want) {
		t.Errorf("% x", anonymous)
	}
}

func TestExtended(t *testing.T) {
	for _, value := range [][]byte{nil, {}, []byte("x")} {
		x, err := ParseExtended(ExtendedOp(OIDWhoAmI, value))
		if err != nil || x.OID != OIDWhoAmI || x.HasValue != (value != nil) || !bytes.Equal(x.Value, value) {
			t.Errorf("%q: %+v %v", value, x, err)
		}
	}
	if id, err := ParseCancel(CancelValue(70_000)); err != nil || id != 70_000 {
		t.Error(id, err)
	}
	if id, err := ParseAbandon(AbandonOp(129)); err != nil || id != 129 {
		t.Error(id, err)
	}
	if got := AbandonOp(129); !bytes.Equal(got, octets(t, "50 02 00 81")) {
		t.Errorf("% x", got)
	}
	if got := UnbindOp(); !bytes.Equal(got, octets(t, "42 00")) {
		t.Errorf("% x", got)
	}
	if name, ok := IsFilterPresent(FilterPresent("objectClass")); !ok || name != "objectClass" {
		t.Error(name, ok)
	}
	if _, ok := IsFilterPresent(octets(t, "a3 04 04 00 04 00")); ok {
		t.Error("an equality is no presence")
	}
	cookie, err := PagedCookie(octets(t, "30 08 02 01 0a 04 03 61 62 63"))
	if err != nil || string(cookie) != "abc" {
		t.Errorf("%q %v", cookie, err)
	}
}

func TestReplies(t *testing.T) {
	got := AppendResult(nil, 300, BindResponse, Result{Code: InvalidCredentials, Diagnostic: "no"})
	if want := octets(t, "30 0f 02 02 01 2c 61 09 0a 01 31 04 00 04 02 6e 6f"); !bytes.Equal(got, want) {
		t.Errorf("% x", got)
	}
	got = NoticeOfDisconnection(nil, Unavailable, "")
	m, err := read(got, Limits{})
	if err != nil || m.ID != 0 {
		t.Fatal(m, err)
	}
	if r, err := ParseResult(m.Op); err != nil || r.OID != OIDDisconnection || r.Code != Unavailable || r.Value != nil {
		t.Errorf("%+v %v", r, err)
	}
	m, err = read(AppendResult(nil, 1, ExtendedResponse, Result{Value: []byte{}}), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := ParseResult(m.Op); err != nil || r.Value == nil || r.OID != "" {
		t.Errorf("an empty value: %+v %v", r, err)
	}
	// With a referral, which is not read.
	if r, err := ParseResult(octets(t, "65 0d 0a 01 0a 04 00 04 00 a3 04 04 02 6c 3a")); err != nil || r.Code != 10 {
		t.Errorf("%+v %v", r, err)
	}
	entry := Entry{DN: "", Attributes: []Attribute{{Name: "a", Values: []string{"1", "2"}}, {Name: "b"}}}
	m, err = read(AppendEntry(nil, 2, entry.DN, entry.Attributes, false), Limits{})
	if want := octets(t, "64 18 04 00 30 14 30 0b 04 01 61 31 06 04 01 31 04 01 32 30 05 04 01 62 31 00"); err != nil || !bytes.Equal(m.Op, want) {
		t.Errorf("% x %v", m.Op, err)
	}
	if again, err := ParseEntry(m.Op); err != nil || !reflect.DeepEqual(again, entry) {
		t.Errorf("%+v %v", again, err)
	}
	m, _ = read(AppendEntry(nil, 2, "", entry.Attributes, true), Limits{})
	if again, err := ParseEntry(m.Op); err != nil || len(again.Attributes) != 2 || again.Attributes[0].Values != nil {
		t.Errorf("%+v %v", again, err)
	}
	if word := Code(4096).String(); word != "code 4096" || Busy.String() != "busy" {
		t.Error(word)
	}
}
