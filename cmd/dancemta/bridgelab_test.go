//go:build unix

package main

import (
	"testing"
	"time"

	"dancemta/internal/lab"
)

// TestBridgeOutlivesTheDirectory: with the directory away a bound client hears that,
// and never that his credentials are bad; he goes on when it is back. Whatever the
// directory was asked named the user.
func TestBridgeOutlivesTheDirectory(t *testing.T) {
	n := newInternet(t)
	d, err := n.StartDirectory()
	must(t, err)
	t.Cleanup(d.Close)
	bridge := newBridge(t, n, "ldaps://"+d.Addr())
	rick, namesake := bridgedWire(t, n, bridge, n.Rick), bridgedWire(t, n, bridge, n.Namesake)
	look := time.NewTicker(counterpartLook)
	defer look.Stop()
	q := asked{base: lab.DirectorySuffix, scope: 2, filter: filterOf(t, "(objectClass=*)")}.op()
	for range 2 {
		for _, w := range []*ldapWire{rick, namesake} {
			if found := w.do(q); len(found) != 4 || code(found[3]) != 0 {
				t.Fatalf("%d answers, result %d", len(found), code(found[len(found)-1]))
			}
		}
		d.Stop()
		for _, w := range []*ldapWire{rick, namesake} {
			if got := code(w.do(q)[0]); got != 51 && got != 52 {
				t.Errorf("the directory is away: %d", got)
			}
			if got := w.bind(); got != 0 {
				t.Errorf("a bind, which needs no directory: %d", got)
			}
			if got := code(w.do(whoAmI())[0]); got != 0 {
				t.Errorf("who am I, which needs none: %d", got)
			}
		}
		must(t, d.Restart())
		for again := rick.do(q); code(again[len(again)-1]) != 0; again = rick.do(q) {
			if got := code(again[0]); got != 51 && got != 52 {
				t.Fatalf("the directory is back: %d", got)
			}
			<-look.C // the bridge leaves a server that failed alone for a while
		}
	}
	for _, o := range d.Operations() {
		switch {
		case o.Name == "bind" || o.Name == "unbind" || o.Name == "rootdse":
		case !o.Proxied || o.Authzid != "dn:"+dnOf(n.Rick) && o.Authzid != "dn:"+dnOf(n.Namesake):
			t.Errorf("%+v names no user", o)
		}
	}
}
