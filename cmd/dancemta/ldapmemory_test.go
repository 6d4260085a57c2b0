package main

import (
	"net"
	"testing"

	"dancemta/config"
	"dancemta/internal/crowd"
)

// TestLDAPMemory: the bound of memory is one for clients of the bridge, too.
func TestLDAPMemory(t *testing.T) {
	peer := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1000}
	for bytes, want := range map[int64]crowd.Full{1: crowd.Overloaded, 1 << 40: 0} {
		place, full, _ := newLDAPCrowd(config.LDAP{}, config.Size{Bytes: bytes}).Enter(peer)
		if full != want || (place == nil) != (want != 0) {
			t.Errorf("%d octets: %v", bytes, full)
		}
	}
}
