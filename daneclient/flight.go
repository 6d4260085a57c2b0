package daneclient

import (
	"context"
	"sync"
)

// flights lets one caller find out what several ask at the same time. There is
// no goroutine behind it: the first caller works, the others wait for him.
type flights struct {
	mu      sync.Mutex
	running map[key]*flight
}

type flight struct {
	done    chan struct{} // closed when verdict and shared are set
	verdict verdict
	shared  bool // the verdict holds for those who waited, too
}

// do runs f for k, or waits for the caller who runs it. When f reports that its
// verdict is nobody else's business (the caller went away, or was refused for
// his own sake), one of those who waited runs it again. An error is ctx's.
func (fs *flights) do(ctx context.Context, k key, f func() (v verdict, shared bool)) (verdict, error) {
	for {
		own, other := fs.board(k)
		if own != nil {
			return fs.fly(k, own, f), nil
		}
		select {
		case <-other.done:
			if other.shared {
				return other.verdict, nil
			}
		case <-ctx.Done():
			return verdict{}, ctx.Err()
		}
	}
}

// board returns a flight of the caller's own, or the one under way.
func (fs *flights) board(k key) (own, other *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if other := fs.running[k]; other != nil {
		return nil, other
	}
	own = &flight{done: make(chan struct{})}
	fs.running[k] = own
	return own, nil
}

// fly runs f; those who wait are told even if it panics.
func (fs *flights) fly(k key, own *flight, f func() (verdict, bool)) verdict {
	defer func() {
		fs.mu.Lock()
		delete(fs.running, k)
		fs.mu.Unlock()
		close(own.done)
	}()
	own.verdict, own.shared = f()
	return own.verdict
}
