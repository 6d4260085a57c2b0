package crowd

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// Set is the connections of one server. The zero value is not usable; see NewSet.
type Set[K comparable] struct {
	wait     sync.WaitGroup // one per open connection
	drained  chan struct{}  // closed by Drain
	mu       sync.Mutex
	draining bool
	ears     map[net.Listener]struct{}
	open     map[K]struct{}
}

// NewSet returns an empty set.
func NewSet[K comparable]() *Set[K] {
	return &Set[K]{drained: make(chan struct{}), ears: map[net.Listener]struct{}{}, open: map[K]struct{}{}}
}

// Serve hands connections from l to accept until Drain (nil) or until l is closed by
// someone else (its error). Other errors of l are told to failed and waited out. It
// closes l.
func (s *Set[K]) Serve(l net.Listener, accept func(net.Conn), failed func(error)) error {
	defer l.Close()
	if !s.listen(l) {
		return nil
	}
	defer s.unlisten(l)
	var pause time.Duration
	for {
		raw, err := l.Accept()
		if err == nil {
			pause = 0
			accept(raw)
			continue
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		if s.Draining() {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		failed(err)
		select { // out of file descriptors, most likely: let some connections end
		case <-s.drained:
			return nil
		case <-time.After(pause):
		}
	}
}

// Drain stops listening, calls interrupt for each connection, and waits until all
// have been removed. When ctx ends first, what is left is cut and ctx's error comes
// back once it has gone or cutGrace is over.
func (s *Set[K]) Drain(ctx context.Context, interrupt, cut func(K)) error {
	s.stopListening(interrupt)
	done := make(chan struct{})
	go func() {
		s.wait.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.Each(cut)
	select {
	case <-done:
	case <-time.After(cutGrace):
	}
	return ctx.Err()
}

const cutGrace = time.Second // a session that is still syncing a message must not hold up the exit for long

func (s *Set[K]) stopListening(interrupt func(K)) {
	s.mu.Lock()
	if !s.draining {
		s.draining = true
		close(s.drained)
	}
	for l := range s.ears {
		l.Close()
	}
	s.mu.Unlock()
	s.Each(interrupt)
}

// Each calls f for every open connection, without the lock.
func (s *Set[K]) Each(f func(K)) {
	s.mu.Lock()
	all := make([]K, 0, len(s.open))
	for k := range s.open {
		all = append(all, k)
	}
	s.mu.Unlock()
	for _, k := range all {
		f(k)
	}
}

func (s *Set[K]) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining {
		s.ears[l] = struct{}{}
	}
	return !s.draining
}

func (s *Set[K]) unlisten(l net.Listener) {
	s.mu.Lock()
	delete(s.ears, l)
	s.mu.Unlock()
}

// Add takes a connection in; false: the server drains already.
func (s *Set[K]) Add(k K) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.open[k] = struct{}{}
	s.wait.Add(1)
	return true
}

// Remove ends what Add began.
func (s *Set[K]) Remove(k K) {
	s.mu.Lock()
	delete(s.open, k)
	s.mu.Unlock()
	s.wait.Done()
}

// Len returns how many connections are open.
func (s *Set[K]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// Wait returns when no connection is open.
func (s *Set[K]) Wait() { s.wait.Wait() }

// Draining reports whether Drain was called.
func (s *Set[K]) Draining() bool {
	select {
	case <-s.drained:
		return true
	default:
		return false
	}
}
