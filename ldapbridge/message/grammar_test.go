package message

import (
	"errors"
	"testing"
)

// requests are well-formed, of each kind.
var requests = map[string]string{
	"search": `63 3d 04 07 64 63 3d 74 65 73 74 0a 01 02 0a 01 00 02 01 00 02 01 00 01 01 00
		a3 0b 04 03 75 69 64 04 04 72 69 63 6b
		30 16 04 04 6d 61 69 6c 04 02 63 6e 04 0a 31 2e 32 2e 33 2e 34 2e 35 36`,
	"search, no attributes":   "63 16 04 00 0a 01 02 0a 01 00 02 01 00 02 01 00 01 01 00 87 01 61 30 00",
	"and":                     searchFor("a0 06 87 01 61 87 01 62"),
	"and of none":             searchFor("a0 00"),
	"or":                      searchFor("a1 08 87 01 61 a2 03 87 01 62"),
	"not":                     searchFor("a2 03 87 01 61"),
	"greater":                 searchFor("a5 06 04 01 61 04 01 62"),
	"less":                    searchFor("a6 06 04 01 61 04 01 62"),
	"approx":                  searchFor("a8 06 04 01 61 04 01 62"),
	"substrings":              searchFor("a4 0e 04 01 61 30 09 80 01 61 81 01 62 82 01 63"),
	"substrings, final":       searchFor("a4 08 04 01 61 30 03 82 01 63"),
	"extensible":              searchFor("a9 06 82 01 61 83 01 62"),
	"extensible, all of it":   searchFor("a9 0c 81 01 31 82 01 61 83 01 62 84 01 ff"),
	"extensible, as go-ldap":  searchFor("a9 09 82 01 61 83 01 62 84 01 01"),
	"modify, a value":         "66 14 04 01 78 30 0f 30 0d 0a 01 02 30 08 04 01 61 31 03 04 01 62",
	"modify, no value":        "66 11 04 01 78 30 0c 30 0a 0a 01 01 30 05 04 01 61 31 00",
	"add":                     "68 0f 04 01 78 30 0a 30 08 04 01 61 31 03 04 01 62",
	"delete":                  "4a 01 78",
	"modify DN":               "6c 09 04 01 78 04 01 79 01 01 ff",
	"modify DN, new superior": "6c 0c 04 01 78 04 01 79 01 01 00 80 01 7a",
	"compare":                 "6e 0b 04 01 78 30 06 04 01 61 04 01 62",
	"extended":                "77 05 80 03 31 2e 32",
	"extended, a value":       "77 07 80 03 31 2e 32 81 00",
}

func searchFor(filter string) string {
	const head, tail = "04 00 0a 01 02 0a 01 00 02 01 00 02 01 00 01 01 00 ", " 30 00"
	octets := len(head)/3 + (len(filter)+1)/3 + len(tail)/3
	const hex = "0123456789abcdef"
	return "63 " + string([]byte{hex[octets>>4], hex[octets&15]}) + " " + head + filter + tail
}

func TestCheckRequest(t *testing.T) {
	for name, text := range requests {
		op := octets(t, text)
		if err := CheckRequest(op); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := (&unbounded{b: op}).request(); n != len(op) {
			t.Errorf("%s: a server that looks at no end reads %d of %d octets", name, n, len(op))
		}
		if op[0]&constructed == 0 {
			continue
		}
		// One element more than there may be, which stands between the operation and its
		// controls for a server that looks at no end.
		for _, more := range []string{"04 00", "30 00", "a0 00", "87 00", "a1 02 04 00"} {
			longer := append(append([]byte{op[0], op[1] + byte(len(octets(t, more)))}, op[2:]...), octets(t, more)...)
			if err := CheckRequest(longer); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s and % x: %v", name, octets(t, more), err)
			}
		}
	}
}

func TestCheckRequestRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                           "",
		"a bind":                            "60 07 02 01 03 04 00 80 00",
		"a reply":                           "65 07 0a 01 00 04 00 04 00",
		"octets behind":                     "4a 01 78 00",
		"not of nothing":                    searchFor("a2 00"),
		"not of nothing, within or":         searchFor("a1 05 87 01 61 a2 00"),
		"not of two":                        searchFor("a2 06 87 01 61 87 01 62"),
		"an unknown filter":                 searchFor("aa 03 87 01 61"),
		"an unknown filter, primitive":      searchFor("80 01 61"),
		"a presence that is constructed":    searchFor("a7 03 04 01 61"),
		"an assertion without a value":      searchFor("a3 03 04 01 61"),
		"an assertion with two":             searchFor("a3 09 04 01 61 04 01 62 04 01 63"),
		"an assertion that is constructed":  searchFor("a3 08 04 01 61 24 03 04 01 62"),
		"substrings without their sequence": searchFor("a4 03 04 01 61"),
		"substrings of none":                searchFor("a4 05 04 01 61 30 00"),
		"substrings, initial behind any":    searchFor("a4 0b 04 01 61 30 06 81 01 61 80 01 62"),
		"substrings, another tag":           searchFor("a4 08 04 01 61 30 03 83 01 61"),
		"extensible without a value":        searchFor("a9 03 82 01 61"),
		"extensible, the order":             searchFor("a9 09 82 01 61 81 01 31 83 01 62"),
		"extensible, twice a value":         searchFor("a9 09 82 01 61 83 01 62 83 01 62"),
		"extensible, no boolean":            searchFor("a9 0a 82 01 61 83 01 62 84 02 00 ff"),
		"a search without attributes":       "63 14 04 00 0a 01 02 0a 01 00 02 01 00 02 01 00 01 01 00 87 01 61",
		"attributes that are no strings":    "63 18 04 00 0a 01 02 0a 01 00 02 01 00 02 01 00 01 01 00 87 01 61 30 02 30 00",
		"a scope that is negative":          "63 16 04 00 0a 01 ff 0a 01 00 02 01 00 02 01 00 01 01 00 87 01 61 30 00",
		"a modify without changes":          "66 03 04 01 78",
		"a change without an attribute":     "66 0a 04 01 78 30 05 30 03 0a 01 02",
		"a change without values":           "66 0f 04 01 78 30 0a 30 08 0a 01 02 30 03 04 01 61",
		"a change and more":                 "66 13 04 01 78 30 0e 30 0c 0a 01 01 30 05 04 01 61 31 00 04 00",
		"an add without attributes":         "68 03 04 01 78",
		"an add, no values":                 "68 0a 04 01 78 30 05 30 03 04 01 61",
		"a delete that is constructed":      "6a 03 04 01 78",
		"a modify DN without its boolean":   "6c 06 04 01 78 04 01 79",
		"a modify DN, another superior":     "6c 0c 04 01 78 04 01 79 01 01 00 81 01 7a",
		"a compare without an assertion":    "6e 03 04 01 78",
		"an extended one without a name":    "77 00",
		"an extended one, a value first":    "77 07 81 00 80 03 31 2e 32",
	} {
		if err := CheckRequest(octets(t, text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	deep := octets(t, "87 01 61")
	for range defaultDepth {
		deep = append(appendHead(nil, filterNot, len(deep)), deep...)
	}
	s := Search{Filter: deep, Attributes: AttributeSelection()}
	if err := CheckRequest(s.AppendOp(nil)); !errors.Is(err, ErrTooDeep) {
		t.Errorf("too deep: %v", err)
	}
}

// unbounded reads a request as liblber and slapd of OpenLDAP do: one element after the
// other, by what is due, and never by where a parent ends. Where it ends, slapd begins
// to look for controls.
type unbounded struct {
	b   []byte
	pos int
}

func (u *unbounded) peek() byte {
	if u.pos >= len(u.b) {
		return 0
	}
	return u.b[u.pos]
}

// skip goes into an element.
func (u *unbounded) skip() (size int) {
	if u.pos > len(u.b) {
		return 0
	}
	_, head, size, err := header(u.b[u.pos:])
	if err != nil {
		u.pos = len(u.b) + 1 // a mistake: slapd closes the connection
		return 0
	}
	u.pos += head
	return size
}

func (u *unbounded) value() { u.pos += u.skip() }

func (u *unbounded) each(f func()) {
	size := u.skip()
	for end := u.pos + size; u.pos < end && u.pos <= len(u.b); {
		f()
	}
}

func (u *unbounded) attribute() {
	u.skip()
	u.value()
	u.each(u.value)
}

func (u *unbounded) filter() {
	switch u.peek() {
	case filterAnd, filterOr:
		u.each(u.filter)
	case filterNot:
		u.skip()
		u.filter()
	case filterEqual, filterGreater, filterLess, filterApprox:
		u.skip()
		u.value()
		u.value()
	case filterSubstrings:
		u.skip()
		u.value()
		u.each(u.value)
	case filterExtensible:
		u.skip()
		for _, tag := range []byte{matchingRule, matchingType, matchingValue, matchingDN} {
			if u.peek() == tag {
				u.value()
			}
		}
	default:
		u.value()
	}
}

func (u *unbounded) request() int {
	kind := Op(u.peek())
	if kind == DeleteRequest {
		u.value()
		return u.pos
	}
	u.skip()
	u.value()
	switch kind {
	case SearchRequest:
		for range 5 {
			u.value()
		}
		u.filter()
		u.each(u.value)
	case ModifyRequest:
		u.each(func() {
			u.skip()
			u.value()
			u.attribute()
		})
	case AddRequest:
		u.each(u.attribute)
	case ModifyDNRequest:
		u.value()
		u.value()
		if u.peek() == tagNewSuperior {
			u.value()
		}
	case CompareRequest:
		u.skip()
		u.value()
		u.value()
	case ExtendedRequest:
		if u.peek() == tagRequestValue {
			u.value()
		}
	}
	return u.pos
}

// FuzzCheckRequest: where a checked request ends is the same to us and to a server that
// looks at no end, so it finds the controls that we put behind.
func FuzzCheckRequest(f *testing.F) {
	for _, text := range requests {
		f.Add(octets(f, text))
	}
	f.Add(octets(f, searchFor("a1 05 87 01 61 a2 00")))
	f.Fuzz(func(t *testing.T, op []byte) {
		if CheckRequest(op) != nil {
			return
		}
		all := append(append([]byte{}, op...), AppendControls(nil, Control{OID: OIDProxiedAuth, Critical: true, HasValue: true})...)
		if n := (&unbounded{b: all}).request(); n != len(op) {
			t.Fatalf("% x: %d octets, and the other reader sees %d", op, len(op), n)
		}
	})
}

func BenchmarkCheckRequest(b *testing.B) {
	op := octets(b, requests["search"])
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckRequest(op); err != nil {
			b.Fatal(err)
		}
	}
}
