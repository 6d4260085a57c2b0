package queue_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

type noStore struct{ queue.Store }

func TestNew(t *testing.T) {
	d := deliverFunc(func(context.Context, queue.Job) []queue.Outcome { return nil })
	for _, c := range []struct {
		name string
		o    queue.Options
		ok   bool
	}{
		{"nothing", queue.Options{}, false},
		{"no deliverer", queue.Options{Store: noStore{}}, false},
		{"no store", queue.Options{Deliverer: d}, false},
		{"no wait", queue.Options{Store: noStore{}, Deliverer: d, Retry: []time.Duration{time.Minute, 0}}, false},
		{"enough", queue.Options{Store: noStore{}, Deliverer: d}, true},
	} {
		if _, err := queue.New(c.o); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestID(t *testing.T) {
	var ids []queue.ID
	seen := map[queue.ID]bool{}
	for range 1000 {
		id := queue.NewID()
		if !id.Valid() || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
		ids = append(ids, id[:9])
	}
	if !slices.IsSorted(ids) {
		t.Error("ids do not sort by time")
	}
	for s, ok := range map[string]bool{
		"1M86YVB5YGMFWKK7B83Y": true, "1m86yvb5ygmfwkk7b83y": true, "": false, "1M86YVB5YGMFWKK7B83": false,
		"1M86YVB5YGMFWKK7B83YY": false, "1M86YVB5YGMFWKK7B83I": false, "1M86YVB5YGMFWKK7B8/Y": false,
		"../../../../etc/passw": false, "1M86YVB5YGMFWKK7B8\r\n": false, strings.Repeat("ü", 10): false,
	} {
		if id, err := queue.ParseID(s); (err == nil) != ok || ok && id != "1M86YVB5YGMFWKK7B83Y" {
			t.Errorf("%q: %q, %v", s, id, err)
		}
	}
}

func TestDestination(t *testing.T) {
	for in, want := range map[string]string{
		"a@Example.Test": "example.test", "a@bücher.test": "xn--bcher-kva.test",
		"a@[192.0.2.1]": "[192.0.2.1]", "a@[IPv6:2001:DB8::1]": "[IPv6:2001:db8::1]", `"a@b"@c.test`: "c.test",
	} {
		if got := queue.Destination(mailaddr.MustParse(in)); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
