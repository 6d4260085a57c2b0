package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"dancemta/config"
	"dancemta/internal/crowd"
	"dancemta/internal/limit"
	"dancemta/smtpd/wire"
)

// descriptorReserve is left for what is no session: deliveries (two each, with their
// DNS), resolvers, ports, the store and bodies that are read from files.
const descriptorReserve = 512

// newCrowd makes the bounds of all sessions together. What the system cannot carry
// is not promised: a session without a descriptor would be an accept that fails.
func newCrowd(c config.Limits, log *slog.Logger) *crowd.Crowd {
	o := crowd.Options{Connections: c.Connections, PerAddress: c.ConnectionsPerAddress, PerNetwork: c.ConnectionsPerNetwork, Handshakes: c.Handshakes}
	if n := descriptorPlaces(); n < o.Connections {
		log.Warn("fewer connections than configured: the limit of open files is low", slog.Int("connections", n))
		o.Connections = n
	}
	if bound := memoryBound(c.Memory); bound > 0 {
		o.Overload = limit.NewMemory(bound).Over
	}
	return crowd.New(o)
}

// wireLimits are those of one connection.
func wireLimits(c config.Limits) wire.Limits {
	return wire.Limits{Commands: c.Commands, Errors: c.Errors, Bytes: c.ConnectionBytes.Bytes,
		Connection: c.ConnectionTime.Duration, MinRate: c.DataRate}
}

// descriptorPlaces is how many sessions the system's limit of open files permits.
func descriptorPlaces() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1 << 30
	}
	return int(min(max(l.Cur, 2*descriptorReserve)-descriptorReserve, 1<<30))
}

// memoryBound is what was configured, else three quarters of what this machine or
// this control group has; 0 when nobody says how much that is.
func memoryBound(configured config.Size) uint64 {
	if configured.Bytes > 0 {
		return uint64(configured.Bytes)
	}
	n := machineMemory()
	if group := groupMemory("/sys/fs/cgroup", "/proc/self/cgroup"); group > 0 && (n == 0 || group < n) {
		n = group
	}
	return n / 4 * 3
}

func machineMemory() uint64 {
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) != nil {
		return 0
	}
	return uint64(info.Totalram) * uint64(info.Unit)
}

// groupMemory is the least memory.max from this process's control group up to the
// root of all; 0 when there is none.
func groupMemory(root, self string) (least uint64) {
	text, err := os.ReadFile(self)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for ; ; path = filepath.Dir(path) {
			word, err := os.ReadFile(filepath.Join(root, path, "memory.max"))
			if n, perr := strconv.ParseUint(strings.TrimSpace(string(word)), 10, 64); err == nil && perr == nil && (least == 0 || n < least) {
				least = n
			}
			if path == "/" || path == "." || path == "" {
				break
			}
		}
	}
	return least
}

// boundMemory lets the runtime collect garbage before it counts as use.
func boundMemory(c config.Limits) {
	if bound := memoryBound(c.Memory); bound > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(bound / 10 * 9))
	}
}

// crowd says whether the system carries as many sessions as are configured.
func (r *report) crowd(c config.Limits) {
	if n := descriptorPlaces(); n < c.Connections {
		r.warning("limits.connections is %d, and the limit of open files permits %d: raise LimitNOFILE or ulimit -n", c.Connections, n)
	}
	need := uint64(c.Connections) * wire.MemoryPerConnection
	if bound := memoryBound(c.Memory); bound > 0 && need > bound {
		r.warning("limits.connections is %d, which may take %d MiB; from %d MiB on new ones are refused (limits.memory)", c.Connections, need>>20, bound>>20)
	}
	for _, l := range []struct {
		key string
		n   int
	}{{"connections_per_address", c.ConnectionsPerAddress}, {"connections_per_network", c.ConnectionsPerNetwork}} {
		if l.n >= c.Connections {
			r.warning("limits.%s is %d: one peer may use up all %d connections", l.key, l.n, c.Connections)
		}
	}
	if c.ConnectionsPerAddress > c.ConnectionsPerNetwork {
		r.warning("%s", fmt.Sprintf("limits.connections_per_address is %d, and the network of the address may have %d only", c.ConnectionsPerAddress, c.ConnectionsPerNetwork))
	}
}
