package dnssec

import (
	"errors"
	"syscall"
)

// noRoute reports whether it is this host that cannot reach addresses of the
// kind, as is usual of IPv6, rather than the server that does not answer.
func noRoute(err error) bool {
	for _, ours := range []error{syscall.ENETUNREACH, syscall.EAFNOSUPPORT, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, ours) {
			return true
		}
	}
	return false
}
