package dnssec

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// maxInFlight questions on one connection: unbound takes up 32 of each at once,
	// and leaves further ones behind those that wait for some dead zone.
	maxInFlight = 32
	// maxPipes to one server: with maxInFlight on each, places for defaultLookups.
	maxPipes = 8
	// idleTime that a connection is kept without a question. RFC 7766 6.2.3
	// wants seconds.
	idleTime = 10 * time.Second
	// maxGivenUp questions whose replies may still come: beyond that, the server
	// has lost them.
	maxGivenUp = 64
	// redials of one question when the connection turns out to be closed:
	// servers close idle ones at any time. RFC 7766 6.2.4
	redials = 2
)

var (
	errGone    = errors.New("the connection was closed")
	errForeign = errors.New("replies to what nobody asked")
	errNothing = errors.New("no answer in time")
)

// stream asks one server over TCP or TLS. Questions share a connection, are sent
// without waiting for the replies before (RFC 7766 6.2.1.1), and are told apart by
// their ids. It is dialed when needed, a further one when it is full, and closed
// when idle.
type stream struct {
	dial    func(context.Context) (net.Conn, error)
	dialing chan struct{} // one place: whoever has it dials

	mu      sync.Mutex
	pipes   []*pipe // those that can be used, the first one first
	closed  bool
	readers sync.WaitGroup
}

func newStream(dial func(context.Context) (net.Conn, error)) *stream {
	return &stream{dial: dial, dialing: make(chan struct{}, 1)}
}

// ask sends a packed question, whose id is replaced, and returns the reply to it.
func (s *stream) ask(ctx context.Context, q question, packed []byte) (*reply, error) {
	for i := 0; ; i++ {
		p, fresh, err := s.connect(ctx)
		if err != nil {
			return nil, err
		}
		id, b, err := p.ask(ctx, packed)
		if err == nil {
			return parseReply(id, q, b)
		}
		if fresh || i == redials || !errors.Is(err, errGone) {
			return nil, err
		}
	}
}

// connect returns a connection; fresh when it was made for this question.
func (s *stream) connect(ctx context.Context) (p *pipe, fresh bool, err error) {
	if p, _ := s.choose(); p != nil && !p.full() {
		return p, false, nil
	}
	select {
	case s.dialing <- struct{}{}:
	case <-ctx.Done():
		return nil, false, errNothing
	}
	defer func() { <-s.dialing }()
	p, n := s.choose() // somebody may have dialed meanwhile
	if p != nil && (!p.full() || n == maxPipes) {
		return p, false, nil
	}
	if s.ended() {
		return nil, false, net.ErrClosed
	}
	conn, err := s.dial(ctx)
	if err != nil {
		if p != nil && p.usable() {
			return p, false, nil // servers may not want more of us
		}
		return nil, false, err
	}
	p = newPipe(conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return nil, false, net.ErrClosed
	}
	s.pipes = append(s.pipes, p)
	s.readers.Go(p.read)
	return p, true, nil
}

// choose returns the first connection that has a place, else the first one; nil
// when there is none. n is how many there are.
func (s *stream) choose() (p *pipe, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pipes = slices.DeleteFunc(s.pipes, func(p *pipe) bool { return !p.usable() })
	for _, p := range s.pipes {
		if !p.full() {
			return p, len(s.pipes)
		}
	}
	if len(s.pipes) == 0 {
		return nil, 0
	}
	return s.pipes[0], len(s.pipes)
}

func (s *stream) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// close ends the connections and waits for their readers; none is made any more.
func (s *stream) close() {
	s.mu.Lock()
	s.closed = true
	pipes := s.pipes
	s.mu.Unlock()
	for _, p := range pipes {
		p.fail(net.ErrClosed)
	}
	s.readers.Wait()
}

// pipe is one connection with the questions on it.
type pipe struct {
	conn    net.Conn
	places  chan struct{} // one for each question in flight
	gone    chan struct{} // closed when the connection can be used no more
	writing sync.Mutex

	mu      sync.Mutex
	why     error                  // set before gone is closed
	waiting map[uint16]chan []byte // by id; nil for one that was given up
	givenUp int
	foreign int
	got     int // replies so far
}

func newPipe(conn net.Conn) *pipe {
	p := &pipe{
		conn: conn, places: make(chan struct{}, maxInFlight),
		gone: make(chan struct{}), waiting: map[uint16]chan []byte{},
	}
	p.idle()
	return p
}

func (p *pipe) usable() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// full reports whether a question would have to wait for a place.
func (p *pipe) full() bool { return len(p.places) == cap(p.places) }

// ask sends one question under a free id and waits for what comes with it.
func (p *pipe) ask(ctx context.Context, packed []byte) (id uint16, b []byte, err error) {
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	case <-p.gone:
		return 0, nil, p.cause()
	case <-ctx.Done():
		return 0, nil, errNothing
	}
	reply := make(chan []byte, 1)
	id, before := p.enter(reply)
	if err := p.write(ctx, id, packed); err != nil {
		p.fail(err)
		return 0, nil, p.cause()
	}
	select {
	case b := <-reply:
		return id, b, nil
	case <-p.gone:
		return 0, nil, p.cause()
	case <-ctx.Done():
		p.leave(id, before)
		return 0, nil, errNothing
	}
}

// enter takes an id that no other question on the connection has, and says how
// many replies there were before.
func (p *pipe) enter(reply chan []byte) (id uint16, got int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		var random [2]byte
		rand.Read(random[:]) // never fails; it ends the program instead
		id = binary.BigEndian.Uint16(random[:])
		if _, taken := p.waiting[id]; !taken {
			break
		}
	}
	p.waiting[id] = reply
	p.conn.SetReadDeadline(time.Time{}) // no longer idle
	return id, p.got
}

// leave gives a question up. A connection on which nothing has come since it was
// sent is dead; on another one the reply may still come, so the id stays taken.
func (p *pipe) leave(id uint16, before int) {
	p.mu.Lock()
	dead := p.got == before
	if _, ok := p.waiting[id]; ok {
		p.waiting[id] = nil
		p.givenUp++
	}
	dead = dead || p.givenUp > maxGivenUp
	p.idle()
	p.mu.Unlock()
	if dead {
		p.fail(errNothing)
	}
}

// idle bounds how long the reader waits when nobody else does. The caller holds
// the lock, or is alone.
func (p *pipe) idle() {
	if len(p.waiting) == p.givenUp {
		p.conn.SetReadDeadline(time.Now().Add(idleTime))
	}
}

// write sends one message behind its length. RFC 7766 8: in one piece.
func (p *pipe) write(ctx context.Context, id uint16, packed []byte) error {
	b := make([]byte, 0, 2+len(packed))
	b = binary.BigEndian.AppendUint16(b, uint16(len(packed)))
	b = binary.BigEndian.AppendUint16(b, id)
	b = append(b, packed[2:]...)
	p.writing.Lock()
	defer p.writing.Unlock()
	deadline, _ := ctx.Deadline() // there is one for each question
	p.conn.SetWriteDeadline(deadline)
	_, err := p.conn.Write(b)
	return err
}

// read hands out replies until the connection ends.
func (p *pipe) read() {
	for {
		b, err := readMessage(p.conn)
		if err == nil {
			err = p.deliver(b)
		}
		if err != nil {
			p.fail(err)
			return
		}
	}
}

func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(length[:])) // at most 64 KiB
	_, err := io.ReadFull(r, b)
	return b, err
}

// deliver gives a reply to whom it belongs by its id; whether it answers the
// question, he sees himself.
func (p *pipe) deliver(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var reply chan []byte
	known := false
	var id uint16
	if len(b) >= headerSize {
		id = binary.BigEndian.Uint16(b)
		reply, known = p.waiting[id]
	}
	if !known {
		if p.foreign++; p.foreign > maxForeign {
			return errForeign
		}
		return nil
	}
	delete(p.waiting, id)
	p.got++
	if reply == nil {
		p.givenUp--
	} else {
		reply <- b // it has room for one, and gets one
	}
	p.idle()
	return nil
}

// fail ends the connection; all that wait on it are told.
func (p *pipe) fail(err error) {
	p.mu.Lock()
	if p.why == nil {
		p.why = err
		close(p.gone)
	}
	p.mu.Unlock()
	p.conn.Close()
}

func (p *pipe) cause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Errorf("%w: %w", errGone, p.why)
}
