package message

import (
	"errors"
	"testing"
)

func TestResultCode(t *testing.T) {
	for _, c := range []struct {
		op   []byte
		want Code
		err  error
	}{
		{[]byte{0x65, 7, 0x0a, 1, 0, 4, 0, 4, 0}, Success, nil},
		{[]byte{0x65, 7, 0x0a, 1, 123, 4, 0, 4, 0}, AuthorizationDenied, nil},
		{[]byte{0x78, 8, 0x0a, 2, 0x10, 0, 4, 0, 4, 0}, 4096, nil},
		{[]byte{0x65, 0}, 0, ErrMalformed},
		{[]byte{0x65, 3, 2, 1, 0}, 0, ErrMalformed},
		{[]byte{0x65, 3, 0x0a, 1, 0xff}, 0, ErrMalformed},
		{[]byte{0x65, 3, 0x0a, 2, 0}, 0, ErrMalformed},
		{[]byte{0x65}, 0, ErrMalformed},
		{nil, 0, ErrMalformed},
	} {
		if got, err := ResultCode(c.op); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%x: %v, %v", c.op, got, err)
		}
	}
}

func BenchmarkParseSearch(b *testing.B) {
	op := Search{Base: []byte("uid=rick,ou=partner.test,ou=people,dc=example,dc=test"), Filter: FilterPresent("objectClass"), Attributes: AttributeSelection("cn", "mail")}.AppendOp(nil)
	for b.Loop() {
		ParseSearch(op)
	}
}

func BenchmarkParseResult(b *testing.B) {
	op := []byte{0x65, 7, 0x0a, 1, 0, 4, 0, 4, 0}
	for b.Loop() {
		ParseResult(op)
	}
}

func BenchmarkAppendControls(b *testing.B) {
	for b.Loop() {
		AppendControls(nil, Control{OID: OIDProxiedAuth, Critical: true, HasValue: true, Value: []byte("dn:uid=rick,ou=partner.test,ou=people,dc=example,dc=test")})
	}
}
