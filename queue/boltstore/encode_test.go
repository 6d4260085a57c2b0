package boltstore

import (
	"encoding/json"
	"reflect"
	"testing"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// checkEncode compares what a record writes of itself with json.Marshal.
func checkEncode(t testing.TB, r encoded) {
	t.Helper()
	got, err := encode(r)
	want, wantErr := json.Marshal(r)
	if string(got) != string(want) && wantErr == nil || (err == nil) != (wantErr == nil) {
		t.Errorf("got %s, %v; want %s, %v", got, err, want, wantErr)
	}
}

func TestEncode(t *testing.T) {
	a, b := address{mailaddr.MustParse("rick@example.org")}, address{mailaddr.MustParse(`"<jürgen> &\"x"@[IPv6:2001:db8::1]`)}
	for _, r := range []encoded{
		&messageRecord{}, &messageRecord{Recipients: []address{}}, &messageRecord{Sender: a, Recipients: []address{b, a}, Arrived: -1},
		&messageRecord{Recipients: []address{a}, Asked: []askedRecord{{0, queue.NotifyNever, ""}}},
		&messageRecord{Recipients: []address{a}, EnvelopeID: "x", Return: queue.ReturnFull},
		&messageRecord{
			Sender: b, Recipients: []address{a}, Identity: "sensor7._device.example.org", Session: "s1", EightBit: true, SMTPUTF8: true,
			RequireTLS: true, TLSOptional: true, Helo: "<mx>\x7f\u2028", Peer: "[::1]:25", Arrived: 1<<63 - 1, Size: 1 << 40, Spool: true, Sum: 1<<32 - 1, Open: 2,
		},
		&unitRecord{}, &unitRecord{Recipients: []recipientRecord{}},
		&unitRecord{Attempt: 3, Passed: 4, Told: true, Lane: 1<<64 - 1, Next: 1, Recipients: []recipientRecord{
			{Address: a}, {Address: b, Result: queue.Failed, Reply: "550 \"no\" <\xff>\t&", TLS: `dane \`, Held: true, GivenUp: true},
		}},
		&historyRecord{}, &historyRecord{Units: map[string]*unitRecord{}}, &historyRecord{Message: messageRecord{Recipients: []address{a}}, Units: map[string]*unitRecord{"x": nil}},
		&historyRecord{Message: messageRecord{Recipients: []address{a}}, Units: map[string]*unitRecord{}, Finished: 1},
		&historyRecord{
			Message: messageRecord{Recipients: []address{a, b}}, Finished: 7,
			Units: map[string]*unitRecord{"example.org": {Recipients: []recipientRecord{{Address: a}}}, "[IPv6:2001:db8::1]": {Recipients: []recipientRecord{{Address: b}}}, "<": {Recipients: []recipientRecord{}}},
		},
	} {
		checkEncode(t, r)
	}
}

// TestEncodeEveryField: a field that a record gains is not forgotten.
func TestEncodeEveryField(t *testing.T) {
	a := address{mailaddr.MustParse("rick@example.org")}
	for _, fresh := range []func() (encoded, any){
		func() (encoded, any) { r := &messageRecord{Recipients: []address{a}}; return r, r },
		func() (encoded, any) { r := &unitRecord{Recipients: []recipientRecord{{Address: a}}}; return r, r },
		func() (encoded, any) {
			r := &unitRecord{Recipients: []recipientRecord{{Address: a}}}
			return r, &r.Recipients[0]
		},
		func() (encoded, any) {
			r := &historyRecord{Message: messageRecord{Recipients: []address{a}}, Units: map[string]*unitRecord{}}
			return r, r
		},
	} {
		_, sample := fresh()
		for i := range reflect.TypeOf(sample).Elem().NumField() {
			r, into := fresh()
			switch f := reflect.ValueOf(into).Elem().Field(i); {
			case !f.CanSet():
			case f.Kind() == reflect.String:
				f.SetString("x")
			case f.Kind() == reflect.Bool:
				f.SetBool(true)
			case f.CanInt():
				f.SetInt(1)
			case f.CanUint():
				f.SetUint(1)
			case f.Kind() == reflect.Slice && f.Len() == 0:
				f.Set(reflect.MakeSlice(f.Type(), 1, 1))
			}
			checkEncode(t, r)
		}
	}
}

// FuzzEncode: whatever text a record holds, and what a scanner makes of it again.
func FuzzEncode(f *testing.F) {
	f.Add("550 <no>", "dane: TLS1.3", uint64(1), int64(2))
	f.Add("\xff\u2028\"\\", "", uint64(1<<63), int64(-1))
	f.Fuzz(func(t *testing.T, text, more string, n uint64, m int64) {
		a, err := mailaddr.FromUnquoted(text)
		if err != nil {
			a = mailaddr.MustParse("rick@example.org")
		}
		checkEncode(t, &messageRecord{Sender: address{a}, Recipients: []address{{a}}, Identity: text, Session: more, Helo: more, Peer: text, Arrived: m, Size: m, Sum: uint32(n), Open: int(m)})
		u := &unitRecord{Attempt: int(m), Passed: int(n), Lane: n, Next: m, Recipients: []recipientRecord{{Address: address{a}, Result: queue.Result(n), Reply: text, TLS: more}}}
		checkEncode(t, u)
		if value, err := encode(u); err == nil {
			checkScan(t, value)
		}
	})
}
