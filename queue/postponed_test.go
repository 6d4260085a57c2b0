package queue

import (
	"reflect"
	"testing"

	"dancemta/internal/mailaddr"
)

// A failure that cannot be told is none yet.
func TestPostponed(t *testing.T) {
	a, b, c := mailaddr.MustParse("a@a.test"), mailaddr.MustParse("b@a.test"), mailaddr.MustParse("c@a.test")
	in := []Outcome{
		{Recipient: a, Result: Delivered, Reply: "250 ok", Status: "2.0.0"},
		{Recipient: b, Result: Failed, Reply: "550 no", Status: "5.1.1", RemoteMTA: "mx.a.test"},
		{Recipient: c, Reply: "451 later", Status: "4.0.0"},
	}
	want := []Outcome{
		in[0],
		{Recipient: b, Status: "4.0.0", Reply: "its report could not be written: 550 no", RemoteMTA: "mx.a.test"},
		in[2],
	}
	if got := postponed(in); !reflect.DeepEqual(got, want) || in[1].Result != Failed {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
