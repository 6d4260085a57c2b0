package boltstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// newPut makes the operation of Put, for tests of the committer.
func newPut(env queue.Envelope, due time.Time, c content) (*op, error) {
	in, err := newInsertion(env, due, c)
	if err != nil {
		return nil, err
	}
	return &op{put: true, bytes: in.bytes(), apply: in.apply}, nil
}

// all returns what a store saves, and the bodies.
func all(t testing.TB, s *Store) (saved []queue.Saved, bodies []string) {
	t.Helper()
	err := s.EachSaved(func(one queue.Saved) error {
		r, err := s.Body(one.Envelope.ID)
		if err != nil {
			return err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		saved, bodies = append(saved, one), append(bodies, string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return saved, bodies
}

// TestRestore: what is saved of the oldest fixture comes back the same, but never twice,
// nor when it has ended.
func TestRestore(t *testing.T) {
	from := openFixture(t, "v1")
	saved, bodies := all(t, from)
	saved[0].Units[0].Told = true // as no fixture of that age has it
	dir := t.TempDir()
	to := open(t, dir, Options{MaxBodyInline: 1000})
	for i, one := range saved {
		if err := to.Restore(context.Background(), one, strings.NewReader(bodies[i])); err != nil {
			t.Fatal(err)
		}
		if err := to.Restore(context.Background(), one, strings.NewReader(bodies[i])); !errors.Is(err, queue.ErrExists) {
			t.Errorf("%s came twice: %v", one.Envelope.ID, err)
		}
	}
	again, texts := all(t, to)
	if !reflect.DeepEqual(saved, again) || !reflect.DeepEqual(bodies, texts) {
		t.Errorf("got %+v\nwant %+v", again, saved)
	}
	if _, err := to.Edit(saved[0].Envelope.ID, queue.Edit{Action: queue.EditDelete}); err != nil {
		t.Fatal(err)
	}
	if err := to.Restore(context.Background(), saved[0], strings.NewReader(bodies[0])); !errors.Is(err, queue.ErrEnded) {
		t.Errorf("a message that has ended came again: %v", err)
	}
	short := saved[0]
	short.Envelope.ID = queue.NewID()
	if err := to.Restore(context.Background(), short, strings.NewReader("cut")); err == nil {
		t.Error("half a body was taken")
	}
	doubtful := saved[1]
	doubtful.Envelope.ID, doubtful.Doubt = queue.NewID(), "its state was lost"
	if err := to.Restore(context.Background(), doubtful, strings.NewReader(bodies[1])); err != nil {
		t.Fatal(err)
	}
	sum, err := to.Get(doubtful.Envelope.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range sum.Recipients {
		if r.State != queue.StateHeld && r.State != queue.StateDelivered && r.State != queue.StateFailed {
			t.Errorf("%s is %s, and it is not known whether it was delivered", r.Address, r.State)
		}
	}
	to.Close()
	expectSound(t, dir, true)
}

// openFixture opens a copy of a store that an older program has left.
func openFixture(t testing.TB, name string) *Store {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "testdata", "queues", name))); err != nil {
		t.Fatal(err)
	}
	return open(t, dir, Options{MaxBodyInline: 1000})
}

// TestFixtures: each version that ever was opens, for reading alone and for good, and
// holds what it held.
func TestFixtures(t *testing.T) {
	names, err := os.ReadDir(filepath.Join("..", "..", "testdata", "queues"))
	if err != nil || len(names) == 0 {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(name.Name(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name.Name())
			if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "testdata", "queues", name.Name()))); err != nil {
				t.Fatal(err)
			}
			before := readFile(filepath.Join(dir, fileName))
			r := open(t, dir, Options{ReadOnly: true})
			checkFixture(t, r)
			r.Close()
			if !bytes.Equal(before, readFile(filepath.Join(dir, fileName))) {
				t.Error("reading has changed the file")
			}
			for range 2 { // brought to this version, and as it is then
				s := open(t, dir, Options{MaxBodyInline: 1000})
				checkFixture(t, s)
				s.Close()
				expectSound(t, dir, true)
			}
			s := open(t, dir, Options{})
			jobs, _, err := s.Due(queue.DueRequest{Now: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), Max: 100,
				Next: func(queue.Envelope, int) time.Time { return time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC) }})
			if err != nil || len(jobs) != 8 {
				t.Errorf("%d units are due, error %v", len(jobs), err)
			}
		})
	}
}

// checkFixture: what each fixture holds. The words are those of its making.
func checkFixture(t testing.TB, s *Store) {
	t.Helper()
	var got []string
	err := s.Each(func(sum queue.Summary) error {
		b, err := s.Body(sum.ID)
		if err != nil {
			return err
		}
		defer b.Close()
		text, err := io.ReadAll(b)
		if int64(len(text)) != sum.Size {
			t.Errorf("%s: body of %d octets, want %d", sum.ID, len(text), sum.Size)
		}
		for _, r := range sum.Recipients {
			got = append(got, strings.Join([]string{string(sum.ID[19:]), sum.Sender.String(), r.Address.String(), r.State, r.LastReply, r.Next.UTC().Format("15:04")}, " "))
		}
		return err
	})
	want := []string{
		"1 rick@partner.test alice@one.test deferred 451 4.7.1 try again later 14:00",
		"2 rick@partner.test a@one.test delivered 250 2.0.0 ok 00:00",
		"2 rick@partner.test b@one.test deferred 451 4.7.1 try again later 14:00",
		"2 rick@partner.test c@two.test failed 550 5.1.1 no such mailbox 00:00",
		"2 rick@partner.test d@[192.0.2.1] deferred  14:00",
		`2 rick@partner.test "e e"@three.test deferred  13:00`,
		"3  rick@partner.test queued  12:01",
		"4 maja@partner.test x@four.test queued  12:02",
		"4 maja@partner.test y@one.test queued  12:02",
		"5 maja@partner.test z@one.test queued  12:03",
	}
	if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("error %v, got\n%s", err, strings.Join(got, "\n"))
	}
	if suspended, err := s.Suspensions(); err != nil || len(suspended) > 1 {
		t.Errorf("%d suspensions, %v", len(suspended), err)
	} else if _, err := s.Finished("01KJN000000000000006"); len(suspended) == 1 && err != nil {
		t.Errorf("history: %v", err) // version 1 kept neither
	}
	sum, err := s.Get("01KJN000000000000002")
	if err != nil || sum.Identity != "*._device.partner.test" || sum.Session != "s-02" || sum.Recipients[3].Address != mailaddr.MustParse("d@[192.0.2.1]") {
		t.Errorf("%+v, %v", sum, err)
	}
}

// TestRestoreNeedsRoom: a body that would leave less on the disk than is to stay free
// is not read: nobody bounds it as the door does.
func TestRestoreNeedsRoom(t *testing.T) {
	s := open(t, t.TempDir(), Options{MinFree: 1000, disk: &freeDisk{free: func() uint64 { return 1000 + large - 1 }, files: 1 << 20}})
	a := mailaddr.MustParse("a@one.test")
	saved := queue.Saved{Envelope: mail("one.test"), Size: large, Units: []queue.SavedUnit{{
		Destination: "one.test", Recipients: []queue.SavedRecipient{{Address: a}}}}}
	saved.Envelope.Recipients = queue.To(a)
	read := 0
	body := readerFunc(func(p []byte) (int, error) { read += len(p); return len(p), nil })
	if err := s.Restore(t.Context(), saved, io.LimitReader(body, large)); !queue.IsKind(err, queue.Full) || read > 0 {
		t.Errorf("%v, %d octets were read", err, read)
	}
	saved.Size = large - 1
	if err := s.Restore(t.Context(), saved, strings.NewReader(strings.Repeat("x", large-1))); err != nil {
		t.Error(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
