package limit

import (
	"testing"
	"time"
)

func TestMemory(t *testing.T) {
	now, used, looks := time.Unix(1000, 0), uint64(0), 0
	m := &Memory{bound: 100 << 20, now: func() time.Time { return now }, used: func() uint64 { looks++; return used }}
	const over = "101 MiB of memory in use, 100 are allowed"
	for i, step := range []struct {
		wait  time.Duration
		used  uint64
		want  string
		looks int
	}{
		{0, 100 << 20, "", 1},               // the bound itself is allowed
		{memoryPause - 1, 101 << 20, "", 1}, // not looked at yet
		{1, 101 << 20, over, 2},             //
		{memoryPause / 2, 1 << 20, over, 2}, // nor that it is better
		{memoryPause, 100<<20 + 1, "100 MiB of memory in use, 100 are allowed", 3},
		{memoryPause, 1 << 20, "", 4},
	} {
		now, used = now.Add(step.wait), step.used
		if got := m.Over(); got != step.want || looks != step.looks {
			t.Errorf("step %d: %q after %d looks, want %q after %d", i, got, looks, step.want, step.looks)
		}
	}
}

// The runtime knows the two words.
func TestMemoryInUse(t *testing.T) {
	if n := inUse(); n < 1<<20 || n > 1<<40 {
		t.Errorf("%d octets in use", n)
	}
	if NewMemory(1).Over() == "" || NewMemory(1<<50).Over() != "" {
		t.Error("one octet is enough, or a petabyte is not")
	}
}
