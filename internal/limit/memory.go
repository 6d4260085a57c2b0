package limit

import (
	"fmt"
	"runtime/metrics"
	"sync"
	"time"
)

// Memory says whether this process holds more memory than it may. It looks at most
// once in each memoryPause, so that asking costs next to nothing.
type Memory struct {
	bound uint64
	used  func() uint64
	now   func() time.Time

	mu   sync.Mutex
	last time.Time
	over uint64 // what was used, when it was over the bound; else 0
}

// memoryPause: a thousand connections, which is what may come within it, hold less
// than the share of the machine that is left beside any sensible bound.
const memoryPause = 100 * time.Millisecond

// NewMemory returns a bound of octets.
func NewMemory(bound uint64) *Memory {
	return &Memory{bound: bound, used: inUse, now: time.Now}
}

// Over says by how much the process is over its bound; "" when it is not.
func (m *Memory) Over() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.now(); now.Sub(m.last) >= memoryPause {
		m.last, m.over = now, 0
		if used := m.used(); used > m.bound {
			m.over = used
		}
	}
	if m.over == 0 {
		return ""
	}
	return fmt.Sprintf("%d MiB of memory in use, %d are allowed", m.over>>20, m.bound>>20)
}

// inUse is what the runtime has taken from the system and not given back.
func inUse() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}
