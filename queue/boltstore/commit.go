package boltstore

import (
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

const (
	maxGroup      = 1000    // operations in one group: bounds the memory of its record
	maxGroupBytes = 4 << 20 // the same, for bodies
	// What an operation writes beside its bytes, to make the record of a group in one piece.
	usualChange = 1 << 10
	// So long after the last operation a checkpoint frees its memory, and makes the
	// next start short.
	idleCheckpoint = time.Second
)

// op is one operation that waits for its flush.
type op struct {
	put   bool // may be refused when the disk is full; the others make room
	bytes int  // about what it writes
	// apply makes the changes. It may be called again after a rollback. An
	// error means that it changed nothing, unless it is a *dirtyError.
	apply func(*txn) error
	done  chan error
}

// dirtyError says that an operation failed after its first change, so that
// the transaction must be made anew.
type dirtyError struct{ err error }

func (e *dirtyError) Error() string { return e.err.Error() }
func (e *dirtyError) Unwrap() error { return e.err }

// txn is what a group of operations does in the open transaction.
type txn struct {
	*bolt.Tx                              // to read from; changes go through put and delete
	message, unit, body, destination, due *bolt.Bucket

	o       *Options
	leases  *leases
	leased  []unit // taken in this transaction: given back when it fails
	settled []unit // to be freed when it has succeeded
	counts  tally
	changed bool
	changes int
	redo    []byte // the changes, after headSize octets
}

func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// submit hands o to the committer and waits for its flush, however long the
// disk takes: whoever went away earlier would not know what is true.
func (s *Store) submit(o *op) error {
	o.done = make(chan error, 1)
	s.mu.Lock()
	if s.closed || s.o.ReadOnly {
		s.mu.Unlock()
		if s.o.ReadOnly {
			return ErrReadOnly
		}
		return &queue.Error{Kind: queue.Broken, Err: errClosed}
	}
	s.pending = append(s.pending, o)
	s.mu.Unlock()
	s.poke()
	return <-o.done
}

// run is the committer: the one goroutine that writes. It ends after Close,
// when nothing is pending any more.
func (s *Store) run() {
	defer close(s.stopped)
	idle := time.NewTimer(idleCheckpoint)
	defer idle.Stop()
	trim := time.NewTimer(trimPause)
	defer trim.Stop()
	flush := time.Duration(0) // a recent group took so long
	for {
		select {
		case <-s.wake:
		case <-idle.C:
			s.tidy()
		case <-trim.C:
			if s.trim() {
				idle.Reset(idleCheckpoint)
			}
			trim.Reset(trimPause)
		}
		for {
			s.gather(min(flush, maxGather))
			group, closed := s.take()
			if len(group) == 0 {
				if closed {
					return
				}
				break
			}
			start := time.Now()
			s.commit(group)
			flush = (3*flush + time.Since(start)) / 4
			idle.Reset(idleCheckpoint)
		}
	}
}

// take removes the next group from the pending operations.
func (s *Store) take() (group []*op, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, bytes := 0, 0
	for n < len(s.pending) && n < maxGroup && bytes < maxGroupBytes {
		bytes += s.pending[n].bytes + usualChange
		n++
	}
	group = s.pending[:n:n]
	if s.pending = s.pending[n:]; len(s.pending) == 0 {
		s.pending = nil
	}
	return group, s.closed
}

// commit makes one record of the group and answers each operation. An
// operation that spoils the transaction is answered alone and the others are
// done again; when the disk is full, the puts give way. A record that is
// damaged breaks the store: what else is damaged, nobody knows.
func (s *Store) commit(group []*op) {
	again := false
	if err := s.inPlace(); err != nil {
		group = answerPuts(group, &queue.Error{Kind: queue.Broken, Err: err})
	}
	for len(group) > 0 {
		if e := s.broken.Load(); e != nil {
			answer(group, e)
			return
		}
		errs, err := s.try(group)
		var dirty *spoiled
		switch {
		case err == nil:
			for i, o := range group {
				o.done <- errs[i]
			}
			return
		case errors.Is(err, ErrDamaged):
			s.fail(err)
		case errors.As(err, &dirty):
			group[dirty.index].done <- dirty.err
			group = append(group[:dirty.index:dirty.index], group[dirty.index+1:]...)
		case isFull(err) && s.crowded && makesRoom(group) && !again:
			again = true // the journal has a reserve for it
		case isFull(err):
			group = s.answerFull(group, err)
		default:
			s.fail(err)
		}
	}
}

// spoiled says which operation of a group made it impossible.
type spoiled struct {
	index int
	err   error
}

func (e *spoiled) Error() string { return e.err.Error() }
func (e *spoiled) Unwrap() error { return e.err }

// try applies and makes durable. errs are the answers to the operations, valid when
// err is nil; after an error nothing has changed.
func (s *Store) try(group []*op) (errs []error, err error) {
	t := s.begin(group)
	errs, err = s.applyAll(t, group)
	if err == nil && t.changed {
		err = s.keep(t, makesRoom(group))
	}
	if err != nil {
		t.leases.release(t.leased)
		s.undo()
	} else {
		t.leases.release(t.settled)
		s.counts.Store(&t.counts)
		s.noteOldest()
	}
	s.active.Store(int64(len(t.leases.active)))
	return errs, err
}

// applyAll does the operations of a group in the open transaction. After an error it
// must be made anew.
func (s *Store) applyAll(t *txn, group []*op) (errs []error, err error) {
	s.table.Lock()
	defer s.table.Unlock()
	errs = make([]error, len(group))
	err = guarded(func() error {
		for i, o := range group {
			errs[i] = o.apply(t)
			var dirty *dirtyError
			if errors.As(errs[i], &dirty) {
				return &spoiled{i, dirty.err}
			}
		}
		if t.changed {
			return t.writeCounts()
		}
		return nil
	})
	return errs, err
}

func (s *Store) begin(group []*op) *txn {
	bytes := headSize
	for _, o := range group {
		bytes += o.bytes + usualChange
	}
	tx := s.table.tx
	return &txn{
		Tx: tx, o: &s.o, leases: &s.leases, message: tx.Bucket(bucketMessage), unit: tx.Bucket(bucketUnit),
		body: tx.Bucket(bucketBody), destination: tx.Bucket(bucketDestination), due: tx.Bucket(bucketDue),
		counts: *s.counts.Load(), redo: make([]byte, headSize, slots(bytes)),
	}
}

func makesRoom(group []*op) bool {
	return !slices.ContainsFunc(group, func(o *op) bool { return o.put })
}

// answerFull answers the puts of a group that found no room and returns the
// others; without a put, all are answered.
func (s *Store) answerFull(group []*op, err error) []*op {
	full := &queue.Error{Kind: queue.Full, Err: err}
	if makesRoom(group) {
		answer(group, full)
		return nil
	}
	return answerPuts(group, full)
}

// answerPuts answers the puts of a group and returns the others.
func answerPuts(group []*op, err error) (rest []*op) {
	for _, o := range group {
		if o.put {
			o.done <- err
		} else {
			rest = append(rest, o)
		}
	}
	return rest
}

func answer(group []*op, err error) {
	for _, o := range group {
		o.done <- err
	}
}

// fail ends all promises: after a failed flush nobody knows what is on the
// disk. Only opening the store anew tells.
func (s *Store) fail(err error) *queue.Error {
	e := &queue.Error{Kind: queue.Broken, Err: err}
	if s.broken.CompareAndSwap(nil, e) {
		s.o.Logger.Error("queue store is broken: no mail is accepted or delivered until a restart", "reason", err)
	}
	return s.broken.Load()
}
