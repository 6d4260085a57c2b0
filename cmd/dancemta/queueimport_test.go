package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
	"dancemta/queue/archive"
	"dancemta/queue/boltstore"
)

// TestImportTimes: a message that arrived in the future, by the clock of who exported
// it, would never be too old, and one of a time that cannot be kept always.
func TestImportTimes(t *testing.T) {
	store, err := boltstore.Open(t.TempDir(), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	begin := time.Now()
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, begin)
	if err != nil {
		t.Fatal(err)
	}
	a := mailaddr.MustParse("morty@one.test")
	for _, arrived := range []time.Time{begin.AddDate(10, 0, 0), time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)} {
		saved := queue.Saved{
			Envelope: queue.Envelope{ID: queue.NewID(), Recipients: queue.To(a), Arrived: arrived},
			Size:     1, Units: []queue.SavedUnit{{Destination: "one.test", Next: arrived, Recipients: []queue.SavedRecipient{{Address: a}}}},
		}
		err = errors.Join(err, w.Add(saved, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }))
	}
	if err := errors.Join(err, w.Close(), (&desk{store: store}).imports(t.Context(), nil, &b, io.Discard)); err != nil {
		t.Fatal(err)
	}
	n := 0
	err = store.Each(func(s queue.Summary) error {
		n++
		if s.Arrived.Before(begin) || s.Arrived.After(time.Now()) {
			t.Errorf("arrived %v", s.Arrived)
		}
		return nil
	})
	if err != nil || n != 3 {
		t.Errorf("%d messages, %v", n, err)
	}
}
