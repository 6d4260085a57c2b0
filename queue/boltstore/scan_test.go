package boltstore

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// Records that are read without json.Unmarshal, and some that are not.
func scanSamples(t testing.TB) (sure, doubtful []string) {
	t.Helper()
	write := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	a, b := address{mailaddr.MustParse("rick@example.org")}, address{mailaddr.MustParse(`"a b"@[192.0.2.1]`)}
	sure = []string{
		write(messageRecord{Recipients: []address{a}}),
		write(messageRecord{
			Sender: a, Recipients: []address{b, a}, Identity: "sensor7._device.example.org", Session: "s1", EightBit: true, SMTPUTF8: true,
			RequireTLS: true, TLSOptional: true, Helo: "mx.test", Peer: "[::1]:25", Arrived: time.Now().UnixNano(),
			Size: 1 << 40, Spool: true, Sum: 1<<32 - 1, Open: 2,
		}),
		write(unitRecord{Recipients: []recipientRecord{{Address: a}}}),
		write(unitRecord{
			Attempt: 3, Passed: 4, Told: true, Lane: 1<<64 - 1, Next: 1<<63 - 1, Recipients: []recipientRecord{
				{Address: a}, {Address: b, Result: queue.Failed, Reply: "550 5.1.1 no, not here", TLS: "dane: TLS1.3", Held: true, GivenUp: true},
			},
		}),
	}
	doubtful = []string{
		write(messageRecord{Recipients: []address{a}, Asked: []askedRecord{{0, queue.NotifyNever, ""}}, EnvelopeID: "x", Return: queue.ReturnFull}),
		write(messageRecord{Recipients: []address{{mailaddr.MustParse("jürgen@example.org")}}, Helo: "<x>"}),
		write(unitRecord{Recipients: []recipientRecord{{Address: a, Reply: "say \"no\""}}}),
		write(unitRecord{Recipients: []recipientRecord{{Address: a, Reply: "<no>"}}}),
		`{"attempt":01,"next":1,"to":[]}`, `{"attempt":-1,"next":1,"to":[]}`, `{"attempt":1e2,"next":1,"to":[]}`, `{"next":18446744073709551616,"to":[]}`,
		`{"attempt":1,"attempt":2,"to":[]}`, `{"next":1,"attempt":2}`, `{"to":[],"more":1}`, `{"to":[{"a":"a@b.test"},]}`, `{"to":[,]}`, `{"to":null}`, `{"to":[]}`,
		`{"to":[{"a":"a@b.test"}]} `, `{"attempt":1`, `{,"attempt":1}`, `{"told":false}`, `{"to":[{"a":"nobody"}]}`, `{"to":[{"r":256}]}`, ``, `null`,
	}
	return sure, doubtful
}

func TestScan(t *testing.T) {
	sure, doubtful := scanSamples(t)
	for _, text := range sure {
		if checkScan(t, []byte(text)) == 0 {
			t.Errorf("%s: json.Unmarshal had to read it", text)
		}
	}
	for _, text := range doubtful {
		if checkScan(t, []byte(text)) != 0 {
			t.Errorf("%s: was read", text)
		}
	}
}

// checkScan compares what a scanner is sure of with json.Unmarshal.
func checkScan(t testing.TB, text []byte) (sure int) {
	t.Helper()
	for _, pair := range [][2]scanned{{new(messageRecord), new(messageRecord)}, {new(unitRecord), new(unitRecord)}} {
		got, want := pair[0], pair[1]
		if !got.scan(text) {
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: doubt left %+v", text, got)
			}
			continue
		}
		sure++
		if err := json.Unmarshal(text, want); err != nil {
			t.Fatalf("%s: %v, but it was read", text, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: got %+v, want %+v", text, got, want)
		}
	}
	return sure
}

func FuzzScan(f *testing.F) {
	sure, doubtful := scanSamples(f)
	for _, text := range append(sure, doubtful...) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { checkScan(t, text) })
}
