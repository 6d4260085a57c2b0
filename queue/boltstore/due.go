package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

const (
	// Mail that was never tried goes first, since that is when most mail leaves; but
	// so many-th turn belongs to the other, or a busy day would starve it.
	triedTurn = 4
	// A request passes by so many lines that may not be served now. The next one goes
	// on from there, a little later: a walk by all of a million would take a second.
	maxPassedBy = 1000
	passPause   = 50 * time.Millisecond
	// A request moves on so many units of destinations that are away: a transaction of
	// some ten milliseconds.
	maxMovedOn = 500
	// Senders in a line who are asked about, when the first is not to be served now.
	maxAsked = 16
	// Stamps of services differ, or equal ones would be served by their names. So
	// many of them fit into what a clock does not notice.
	maxAhead = int64(time.Millisecond)
)

// planner is what the committer's goroutine remembers of leases.
type planner struct {
	stamp int64           // of the last service
	turns int             // services, to give the tried their share
	from  [classes][]byte // where the next walk begins; nil: at the start
}

// next makes the stamp of a service at the time now.
func (p *planner) next(now int64) int64 {
	if p.stamp < now || p.stamp-now > maxAhead {
		p.stamp = now
	} else {
		p.stamp++
	}
	return p.stamp
}

// Due implements queue.Store.
func (s *Store) Due(r queue.DueRequest) (jobs []queue.Job, next time.Time, err error) {
	if s.o.ReadOnly {
		return nil, time.Time{}, ErrReadOnly
	}
	if e := s.broken.Load(); e != nil {
		return nil, time.Time{}, e
	}
	s.reclaim()
	w := newWalk(r)
	if some, next, err := s.look(w); err != nil || !some {
		return nil, next, err // no need of a transaction that writes
	}
	err = s.submit(&op{apply: func(t *txn) (err error) {
		*w = *newWalk(r)
		w.t, w.p = t, &t.leases.planner
		jobs, next, err = w.lease()
		return err
	}})
	if err != nil {
		return nil, time.Time{}, err
	}
	for i := range jobs {
		jobs[i].Open = s.opener(jobs[i].ID)
	}
	return jobs, next, nil
}

// look says whether there may be anything to lease; if not, when there will be.
func (s *Store) look(w *walk) (some bool, next time.Time, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		w.t = &txn{Tx: tx}
		if d := w.r.Destination; d != "" {
			_, some = w.waiting(d)
			return nil
		}
		for c := range class(classes) {
			k, _ := w.ready(c, nil)
			some = some || k != nil
		}
		if parked, _ := tx.Bucket(bucketParked).Cursor().First(); w.r.Resume && parked != nil {
			some = true
		}
		next = w.nextTime()
		return nil
	})
	if err != nil {
		return false, next, s.fail(err) // or mail would be taken that nobody delivers
	}
	return some, next, nil
}

// walk is one request for work. It looks at the lines whose turn has come, the
// earliest first.
type walk struct {
	r    queue.DueRequest
	t    *txn
	p    *planner
	now  int64 // units are due up to here
	turn int64 // and turns up to here: the stamps of those who were served just now
	far  int64 // what is later than this is due, too: no wait is so long, so the clock was wrong
	jobs []queue.Job

	at     [classes][]byte // the walk of each class stands before this key
	here   map[string]int  // leases by destination
	passed int
	moved  int
}

func newWalk(r queue.DueRequest) *walk {
	w := &walk{r: r, now: min(stamp(r.Now), math.MaxInt64-1), far: math.MaxInt64, here: map[string]int{}}
	if r.Horizon > 0 {
		w.far = stamp(r.Now.Add(r.Horizon))
	}
	w.turn = w.now + min(maxAhead, math.MaxInt64-1-w.now)
	return w
}

// ready returns the first line of a class at or behind the key from whose turn it is.
func (w *walk) ready(c class, from []byte) (key []byte, l line) {
	cursor := w.t.Bucket(bucketDue).Cursor()
	if from == nil {
		from = []byte{byte(c)}
	}
	k, _ := cursor.Seek(from)
	if w.isReady(k, c) {
		return k, first(splitDue(k))
	}
	if k, _ = cursor.Seek(line{class: c}.due(w.far + 1)); w.far < math.MaxInt64 && w.isReady(k, c) {
		return k, first(splitDue(k))
	}
	return nil, line{}
}

func first(l line, _ int64) line { return l }

func (w *walk) isReady(k []byte, c class) bool {
	if k == nil || k[0] != byte(c) {
		return false
	}
	_, turn := splitDue(k)
	return w.hasTurn(turn)
}

func (w *walk) hasTurn(turn int64) bool { return turn != 0 && (turn <= w.turn || turn > w.far) }

func (w *walk) isDue(at int64) bool { return at != 0 && (at <= w.now || at > w.far) }

// nextTime returns the earliest turn after now.
func (w *walk) nextTime() (next time.Time) {
	for c := range class(classes) {
		k, _ := w.t.Bucket(bucketDue).Cursor().Seek(line{class: c}.due(w.now + 1))
		if k == nil || k[0] != byte(c) {
			continue
		}
		if _, turn := splitDue(k); next.IsZero() || time.Unix(0, turn).Before(next) {
			next = time.Unix(0, turn)
		}
	}
	return next
}

// waiting returns the line of a destination whose turn it is.
func (w *walk) waiting(destination string) (l line, ok bool) {
	var found [classes]bool
	for c := range class(classes) {
		turn, _ := w.t.firstLane(line{destination, c})
		found[c] = w.hasTurn(turn)
	}
	c := fresh
	if !found[fresh] || found[tried] && w.p != nil && w.p.turns%triedTurn == 0 {
		c = tried
	}
	return line{destination, c}, found[c]
}

// lease is the walk.
func (w *walk) lease() ([]queue.Job, time.Time, error) {
	if w.r.Begin != nil {
		w.r.Begin()
	}
	err := w.run()
	if err != nil {
		return nil, time.Time{}, &dirtyError{err}
	}
	next := w.nextTime()
	switch {
	case w.moved >= maxMovedOn:
		next = w.r.Now
	case w.passed >= maxPassedBy && len(w.jobs) < w.r.Max:
		next = w.r.Now.Add(passPause)
	}
	return w.jobs, next, nil
}

func (w *walk) run() error {
	if d := w.r.Destination; d != "" {
		for len(w.jobs) < w.r.Max {
			l, ok := w.waiting(d)
			if !ok || w.suspended(d) || !w.allowed(d) {
				return nil
			}
			if early, err := w.early(l); early || err != nil {
				return err
			}
			_, from := w.t.firstLane(l)
			if err := w.serve(from); err != nil {
				return err
			}
		}
		return nil
	}
	if w.r.Resume {
		if err := w.t.unparkMatching(func(d string) bool { return !w.suspended(d) }); err != nil {
			return err
		}
	}
	w.at = w.p.from
	w.p.from = [classes][]byte{}
	for len(w.jobs) < w.r.Max {
		c := fresh
		if w.p.turns%triedTurn == 0 {
			c = tried
		}
		k, l := w.ready(c, w.at[c])
		if k == nil {
			if k, l = w.ready(1-c, w.at[1-c]); k == nil {
				return nil
			}
		}
		if w.passed >= maxPassedBy || w.moved >= maxMovedOn {
			w.p.from = w.at
			return nil
		}
		if err := w.step(bytes.Clone(k), l); err != nil {
			return err
		}
	}
	return nil
}

// step does what is to be done for a line whose turn it is.
func (w *walk) step(k []byte, l line) error {
	d := l.destination
	if early, err := w.early(l); early || err != nil {
		w.at[l.class] = append(k, 0)
		return err
	}
	if w.suspended(d) {
		return w.t.park(d)
	}
	if w.r.Away != nil {
		if reply, away := w.r.Away(d); away {
			return w.moveOn(l, reply)
		}
	}
	if w.allowed(d) {
		if from, ok := w.fair(l); ok {
			return w.serve(from)
		}
	}
	w.passed++
	w.at[l.class] = append(k, 0) // the next one
	return nil
}

// fair returns the first lane of a line whose sender may be served now.
func (w *walk) fair(l line) (from lane, ok bool) {
	prefix := l.key()
	c := w.t.Bucket(bucketLane).Cursor()
	n := 0
	for k, _ := c.Seek(prefix); n < maxAsked && bytes.HasPrefix(k, prefix) && len(k) == len(prefix)+2*timeLen; k, _ = c.Next() {
		turn, sender := binary.BigEndian.Uint64(k[len(prefix):]), binary.BigEndian.Uint64(k[len(prefix)+timeLen:])
		from = lane{l, sender}
		if at, _ := w.t.firstUnit(from); !w.hasTurn(int64(turn)) || !w.isDue(at) {
			return lane{}, false
		}
		if w.r.Fair == nil || w.r.Fair(l.destination, sender) {
			return from, true
		}
		n++
	}
	return lane{}, false
}

// early reports whether nobody in a line is due although it has its turn. It is only
// a moment too early, or the stamp of a service is from a clock that was wrong: then
// the line gets its right turn.
func (w *walk) early(l line) (early bool, err error) {
	first, at, _, err := w.t.head(l)
	if err != nil || w.isDue(at) {
		return false, err
	}
	if at > w.turn {
		err = w.t.refresh(first, w.now)
	}
	return true, err
}

func (w *walk) suspended(destination string) bool {
	return w.r.Suspended != nil && w.r.Suspended(destination)
}

// allowed reports whether a further unit of a destination may be leased.
func (w *walk) allowed(destination string) bool {
	return w.r.Limit == nil || w.here[destination] < w.r.Limit(destination)
}

// serve leases the first unit of a lane.
func (w *walk) serve(from lane) error {
	job, err := w.t.lease(from, w.r, w.p.next(stamp(w.r.Now)), false)
	if err != nil {
		return err
	}
	w.p.turns++
	w.here[from.destination]++
	if w.r.Leased != nil {
		w.r.Leased(from.destination, from.sender)
	}
	w.jobs = append(w.jobs, *job)
	return nil
}

// lease leases the first unit of a lane. away: not for an attempt.
func (t *txn) lease(from lane, r queue.DueRequest, served int64, away bool) (*queue.Job, error) {
	at, id := t.firstUnit(from)
	if at == 0 {
		return nil, fmt.Errorf("lines of %q: %w", from.destination, ErrDamaged)
	}
	u := unit{id, from.destination}
	rec, err := t.getUnit(u)
	if err != nil {
		return nil, err
	}
	job, err := t.job(u, rec)
	if err != nil {
		return nil, err
	}
	if err := t.delete(bucketDestination, from.place(at, id)); err != nil {
		return nil, err
	}
	t.counts.add(rec, -1)
	if job.Lane, job.Away = from.sender, away; away {
		rec.Passed++
	} else {
		rec.Attempt++
	}
	t.counts.add(rec, 1)
	job.Attempt, job.Tries = rec.Attempt, rec.Attempt+rec.Passed
	rec.Next = max(stamp(r.Next(job.Envelope, rec.Attempt+rec.Passed)), stamp(r.Now)+1)
	if err := t.putUnit(u, rec); err != nil {
		return nil, err
	}
	if err := t.lend(u); err != nil {
		return nil, err
	}
	return job, t.refresh(from, served)
}

// job makes the job of a unit.
func (t *txn) job(u unit, rec *unitRecord) (*queue.Job, error) {
	var msg messageRecord
	if err := decode("message", []byte(u.id), t.message.Get([]byte(u.id)), &msg); err != nil {
		return nil, err
	}
	job := &queue.Job{ID: u.id, Destination: u.destination, Envelope: msg.envelope(u.id), Size: msg.Size, Attempt: rec.Attempt, Told: rec.Told}
	for _, rcpt := range rec.Recipients {
		if rcpt.waits() {
			job.Recipients = append(job.Recipients, asked(job.Envelope, rcpt.Address.Address))
		}
	}
	return job, nil
}

// asked finds what the sender said of an address.
func asked(env queue.Envelope, a mailaddr.Address) queue.Recipient {
	for _, r := range env.Recipients {
		if r.Address == a {
			return r
		}
	}
	return queue.Recipient{Address: a}
}

// moveOn moves units of a line, whose destination is away, to their next times,
// without an attempt. One whose time is over is leased, so that its end can be told.
func (w *walk) moveOn(l line, reply string) error {
	for ; w.moved < maxMovedOn && len(w.jobs) < w.r.Max; w.moved++ {
		turn, from := w.t.firstLane(l)
		at, id := w.t.firstUnit(from)
		if turn == 0 || !w.isDue(at) {
			return nil
		}
		if err := w.moveUnit(from, unit{id, l.destination}, reply); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) moveUnit(from lane, u unit, reply string) error {
	rec, err := w.t.getUnit(u)
	if err != nil {
		return err
	}
	job, err := w.t.job(u, rec)
	if err != nil {
		return err
	}
	if w.r.Speak != nil && w.r.Speak(job.Envelope, job.Told) {
		job, err = w.t.lease(from, w.r, 0, true)
		if err == nil {
			w.jobs = append(w.jobs, *job)
		}
		return err
	}
	before := *rec
	rec.Passed++
	w.t.counts.add(&before, -1)
	w.t.counts.add(rec, 1)
	for i := range rec.Recipients {
		if rec.Recipients[i].waits() {
			rec.Recipients[i].Reply = reply
		}
	}
	rec.Next = max(stamp(w.r.Next(job.Envelope, rec.Attempt+rec.Passed)), stamp(w.r.Now)+1)
	return w.t.move(u, &before, rec)
}

func (t *txn) getUnit(u unit) (*unitRecord, error) {
	key := unitKey(u.id, u.destination)
	rec := new(unitRecord)
	return rec, decode("unit", key, t.unit.Get(key), rec)
}

func (t *txn) putUnit(u unit, rec *unitRecord) error {
	value, err := encode(rec)
	if err != nil {
		return err
	}
	return t.put(bucketUnit, unitKey(u.id, u.destination), value)
}
