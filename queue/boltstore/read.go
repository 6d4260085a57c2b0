package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

// Messages described in one read transaction: short, since a reader that
// stays open keeps pages from being used again.
const eachPage = 256

func (s *Store) opener(id queue.ID) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return s.Body(id) }
}

// Body implements queue.Store. No transaction stays open between two reads.
func (s *Store) Body(id queue.ID) (io.ReadCloser, error) {
	var msg messageRecord
	err := s.view(func(tx *bolt.Tx) error { return getMessage(tx, id, &msg) })
	if err != nil {
		return nil, err
	}
	if !msg.Spool {
		return &bodyReader{s: s, id: id, left: msg.Size, want: msg.Sum}, nil
	}
	f, err := os.Open(s.spool.path(id))
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err // a bounce may repeat this, and our folders are nobody's business
		}
		return nil, fmt.Errorf("spool file %s: %w", id, err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != msg.Size {
		err = fmt.Errorf("spool file %s: %d octets, %d expected", id, info.Size(), msg.Size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func getMessage(tx *bolt.Tx, id queue.ID, into *messageRecord) error {
	value := tx.Bucket(bucketMessage).Get([]byte(id))
	if value == nil {
		return fmt.Errorf("%.40s: %w", id, queue.ErrNotFound)
	}
	return decode("message", []byte(id), value, into)
}

// bodyReader copies a chunk at a time out of the store.
type bodyReader struct {
	s     *Store
	id    queue.ID
	chunk int
	left  int64 // octets not yet read from the store
	sum   uint32
	want  uint32 // 0: not known
	buf   []byte
}

func (r *bodyReader) Read(p []byte) (int, error) {
	if len(r.buf) == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		if err := r.fetch(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

func (r *bodyReader) fetch() error {
	err := r.s.view(func(tx *bolt.Tx) error {
		v := tx.Bucket(bucketBody).Get(bodyKey(r.id, r.chunk))
		if len(v) == 0 || int64(len(v)) > r.left {
			return fmt.Errorf("body of %s: %w", r.id, queue.ErrNotFound)
		}
		r.buf = bytes.Clone(v)
		return nil
	})
	r.chunk++
	r.left -= int64(len(r.buf))
	r.sum = crc32.Update(r.sum, castagnoli, r.buf)
	if err == nil && r.left == 0 && r.want != 0 && r.sum != r.want {
		err = fmt.Errorf("body of %s: %w: its checksum is another", r.id, ErrDamaged)
	}
	return err
}

// Close implements io.Closer; there is nothing to give back.
func (r *bodyReader) Close() error { return nil }

// Get implements queue.Store.
func (s *Store) Get(id queue.ID) (sum queue.Summary, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		var msg messageRecord
		if err := getMessage(tx, id, &msg); err != nil {
			return err
		}
		sum, err = s.summarize(tx, id, &msg)
		return err
	})
	return sum, err
}

// Each implements queue.Store: page by page, so that neither memory nor a
// transaction grows with the queue.
func (s *Store) Each(f func(queue.Summary) error) error {
	var last []byte
	page := make([]queue.Summary, 0, eachPage)
	for {
		var err error
		page, err = s.page(last, page[:0])
		if err != nil || len(page) == 0 {
			return err
		}
		for _, sum := range page {
			if err := f(sum); err != nil {
				return err
			}
		}
		last = []byte(page[len(page)-1].ID)
	}
}

// page appends the messages that follow the id last.
func (s *Store) page(last []byte, page []queue.Summary) ([]queue.Summary, error) {
	err := s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketMessage).Cursor()
		k, v := c.Seek(last)
		if last != nil && bytes.Equal(k, last) {
			k, v = c.Next()
		}
		for ; k != nil && len(page) < eachPage; k, v = c.Next() {
			var msg messageRecord
			if err := decode("message", k, v, &msg); err != nil {
				return err
			}
			sum, err := s.summarize(tx, queue.ID(k), &msg)
			if err != nil {
				return err
			}
			page = append(page, sum)
		}
		return nil
	})
	return page, err
}

func (s *Store) summarize(tx *bolt.Tx, id queue.ID, msg *messageRecord) (queue.Summary, error) {
	units, err := unitsOf(tx, id, msg)
	if s.o.ReadOnly { // what is only read belongs to nobody who delivers, whatever the journal says
		for _, u := range units {
			u.leased = false
		}
	}
	return msg.summary(id, units), err
}

// unitsOf reads the units of a message, by destination.
func unitsOf(tx *bolt.Tx, id queue.ID, msg *messageRecord) (map[string]*unitRecord, error) {
	units := map[string]*unitRecord{}
	for _, a := range msg.Recipients {
		dest := queue.Destination(a.Address)
		if units[dest] != nil {
			continue
		}
		key, rec := unitKey(id, dest), new(unitRecord)
		if err := decode("unit", key, tx.Bucket(bucketUnit).Get(key), rec); err != nil {
			return units, err
		}
		// What is only read belongs to nobody who delivers.
		rec.leased = !tx.DB().IsReadOnly() && leased(tx, unit{id, dest})
		units[dest] = rec
	}
	return units, nil
}

// summary lists the recipients in the order of the envelope, those that have a unit.
func (r *messageRecord) summary(id queue.ID, units map[string]*unitRecord) queue.Summary {
	sum := queue.Summary{
		ID: id, Arrived: time.Unix(0, r.Arrived), Size: r.Size, Sender: r.Sender.Address,
		Identity: r.Identity, Session: r.Session,
	}
	sum.Recipients = make([]queue.RecipientSummary, 0, len(r.Recipients))
	for _, a := range r.Recipients {
		dest := queue.Destination(a.Address)
		if u := units[dest]; u != nil {
			sum.Recipients = append(sum.Recipients, u.summary(a, dest))
		}
	}
	return sum
}

func (u *unitRecord) summary(a address, dest string) queue.RecipientSummary {
	r := queue.RecipientSummary{Address: a.Address, Destination: dest, State: queue.StateQueued, Attempts: u.Attempt}
	if u.Next != 0 {
		r.Next = time.Unix(0, u.Next)
	}
	for _, rec := range u.Recipients {
		if rec.Address != a {
			continue
		}
		r.LastReply, r.LastTLS = rec.Reply, rec.TLS
		switch {
		case rec.Result.Final():
			r.State, r.Next = rec.Result.String(), time.Time{}
		case rec.GivenUp:
			r.State = queue.StateBouncing
		case rec.Held:
			r.State, r.HoldReason = queue.StateHeld, rec.Why
		case u.leased:
			r.State = queue.StateActive
		case u.class() == tried:
			r.State = rec.Result.String()
		}
		break
	}
	return r
}
