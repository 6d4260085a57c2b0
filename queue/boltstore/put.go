package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"dancemta/queue"
)

// buffers hold bodies while they wait for their commit.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *bytes.Buffer {
	if v, ok := b.pool.Get().(*bytes.Buffer); ok {
		return v
	}
	return new(bytes.Buffer)
}

func (b *buffers) put(v *bytes.Buffer) {
	v.Reset()
	b.pool.Put(v)
}

// Put implements queue.Store. A body that proves to be large goes to the
// spool first; the commit of its envelope is what makes it a message.
func (s *Store) Put(ctx context.Context, env queue.Envelope, due time.Time, body io.Reader) error {
	return s.takeIn(ctx, env.ID, body, func(c content) (*insertion, error) { return newInsertion(env, due, c) })
}

// takeIn reads a body and makes it a message with the records that records gives.
func (s *Store) takeIn(ctx context.Context, id queue.ID, body io.Reader, records func(content) (*insertion, error)) error {
	if err := s.ready(); err != nil {
		return err
	}
	buf := s.buffers.get()
	defer s.buffers.put(buf)
	sum := crc32.New(castagnoli)
	size, spooled, err := s.readBody(ctx, id, buf, io.TeeReader(body, sum))
	if err != nil {
		return err
	}
	s.o.Step("body read")
	c := content{size: size, sum: sum.Sum32(), spooled: spooled}
	if !spooled {
		c.inline = buf.Bytes()
	}
	in, err := records(c)
	if err == nil {
		err = s.submit(&op{put: true, bytes: in.bytes(), apply: in.apply})
	}
	// After Broken the envelope may stand in the store all the same: then its
	// body must stay too. The next start sweeps it if not.
	if err != nil && spooled && !queue.IsKind(err, queue.Broken) {
		s.spool.remove(id)
	}
	return err
}

// ready refuses a message before its body is read.
func (s *Store) ready() error {
	if s.o.ReadOnly {
		return ErrReadOnly
	}
	if e := s.broken.Load(); e != nil {
		return e
	}
	return room(s.o.disk, s.dir, s.o.MinFree, s.o.MinInodes)
}

// Room says whether a store in dir would take mail, as far as the disk is concerned;
// *queue.Error of kind Full: not before somebody makes room. It changes nothing.
func Room(dir string, octets, inodes uint64) error { return room(osDisk{}, dir, octets, inodes) }

func room(d disk, dir string, want, inodes uint64) error {
	switch free, files, err := d.Free(dir); {
	case err != nil:
		return &queue.Error{Kind: queue.Broken, Err: err}
	case free < want:
		return &queue.Error{Kind: queue.Full, Err: fmt.Errorf("%s: %d octets free, %d wanted", dir, free, want)}
	case files < inodes:
		return &queue.Error{Kind: queue.Full, Err: fmt.Errorf("%s: %d inodes free, %d wanted", dir, files, inodes)}
	}
	return nil
}

// usualBody is what most bodies have less than: the memory for it grows with them. It
// is less than half of what bodies in the store may have.
const usualBody = 16 << 10

// readBody reads body into buf, or into a spool file when it is longer than
// MaxBodyInline; buf is then of no meaning. Errors of body come out untouched.
func (s *Store) readBody(ctx context.Context, id queue.ID, buf *bytes.Buffer, body io.Reader) (int64, bool, error) {
	defer s.leave(s.enter())
	src := &source{ctx: ctx, r: body}
	inline := int64(s.o.MaxBodyInline) + 1
	_, err := buf.ReadFrom(io.LimitReader(src, min(inline, usualBody)))
	if rest := inline - int64(buf.Len()); err == nil && buf.Len() >= usualBody && rest > 0 {
		buf.Grow(int(rest) + bytes.MinRead) // at once: doubled again it would be twice what a body may have
		_, err = buf.ReadFrom(io.LimitReader(src, rest))
	}
	if err != nil {
		return 0, false, err
	}
	if buf.Len() <= s.o.MaxBodyInline {
		return int64(buf.Len()), false, nil
	}
	n, err := s.spool.write(id, buf.Bytes(), src)
	if err == nil {
		return n, true, nil
	}
	if src.err != nil {
		return 0, false, src.err
	}
	return 0, false, s.spoolError(err)
}

// spoolError classes an error of the spool. Room may come back; a flush that
// failed is the end of all promises; the rest concerns this message alone.
func (s *Store) spoolError(err error) error {
	var sync *syncError
	switch {
	case errors.Is(err, queue.ErrExists):
		return err
	case errors.As(err, &sync):
		return s.fail(err)
	case noRoom(err):
		return &queue.Error{Kind: queue.Full, Err: err}
	}
	return &queue.Error{Kind: queue.Broken, Err: err}
}

// source is a reader that remembers its own error, so that it can be told from
// the disk's, and that ends with its context.
type source struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		s.err = err
		return 0, err
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// castagnoli: bbolt keeps no checksums of pages, and a disk that loses one must not
// change a message.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// content is the body of a message on its way into the store.
type content struct {
	size    int64
	sum     uint32
	spooled bool
	inline  []byte // unless spooled
}

// unitValue is a record, and how it is written.
type unitValue struct {
	rec   *unitRecord
	value []byte
}

// insertion is a message with all its records made, so that the committer has
// only to write them.
type insertion struct {
	id    queue.ID
	due   int64
	value []byte // messageRecord
	units map[string]unitValue
	// restored: it comes out of a backup, and is refused if it has ended here.
	restored bool
	content
}

func newInsertion(env queue.Envelope, due time.Time, c content) (*insertion, error) {
	if len(env.ID) != idLen {
		return nil, fmt.Errorf("queue id %.40q: not of %d octets", string(env.ID), idLen)
	}
	in := &insertion{id: env.ID, due: stamp(due), units: map[string]unitValue{}, content: c}
	byDest, sender := map[string]*unitRecord{}, laneOf(env)
	for _, r := range env.Recipients {
		d := queue.Destination(r.Address)
		if byDest[d] == nil {
			byDest[d] = &unitRecord{Next: in.due, Lane: sender}
		}
		byDest[d].Recipients = append(byDest[d].Recipients, recipientRecord{Address: address{r.Address}, Held: env.Hold != "", Why: env.Hold})
	}
	rec := newMessageRecord(env, c)
	rec.Open = len(byDest)
	var err error
	if in.value, err = encode(&rec); err != nil {
		return nil, err
	}
	for d, u := range byDest {
		value, err := encode(u)
		if err != nil {
			return nil, err
		}
		in.units[d] = unitValue{u, value}
	}
	return in, nil
}

// bytes is about what the message takes in the journal: each unit stands in the
// indexes, too.
func (in *insertion) bytes() int {
	n := len(in.inline) + len(in.value)
	for d, u := range in.units {
		n += len(u.value) + 3*(len(d)+idLen+timeLen+len(bucketDestination))
	}
	return n
}

// apply writes the message. It refuses a present id before its first change.
func (in *insertion) apply(t *txn) error {
	if err := known(t.Tx, in.id); errors.Is(err, queue.ErrExists) || in.restored && err != nil {
		return err
	}
	if err := in.write(t); err != nil {
		return &dirtyError{err}
	}
	return nil
}

func (in *insertion) write(t *txn) error {
	if err := t.put(bucketMessage, []byte(in.id), in.value); err != nil {
		return err
	}
	for i, rest := 0, in.inline; len(rest) > 0; i++ {
		n := min(len(rest), chunkSize)
		if err := t.put(bucketBody, bodyKey(in.id, i), rest[:n:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	for d, u := range in.units {
		if err := t.put(bucketUnit, unitKey(in.id, d), u.value); err != nil {
			return err
		}
		if err := t.enter(unit{in.id, d}, u.rec); err != nil {
			return err
		}
		if err := t.markGiveUp(unit{in.id, d}, false, u.rec.givenUp()); err != nil {
			return err
		}
		t.counts.add(u.rec, 1)
	}
	return nil
}
