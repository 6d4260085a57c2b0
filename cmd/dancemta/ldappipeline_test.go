//go:build unix

package main

import "testing"

// TestOracleBridgePipelines: requests of one client that are all outstanding at once
// have each the answers that slapd gives to it alone, in whatever order.
func TestOracleBridgePipelines(t *testing.T) {
	needSlapd(t)
	n := newInternet(t)
	s := newSlapd(t, n)
	bridge := newBridge(t, n, "ldaps://"+s.LDAPS)
	w, direct := bridgedWire(t, n, bridge, n.Rick), directWire(t, n, s)
	asked := map[int64]request{}
	var open int
	for range 2 { // fewer at once than may be outstanding
		for _, r := range readings(t) {
			if r.name == "a page" || r.name == "a page, its cookie forged" || r.name == "sorted" {
				continue // slapd keeps one such search for a connection
			}
			asked[w.send(r.op, r.controls...)] = r
			open++
		}
	}
	answers := map[int64][]answered{}
	for open > 0 {
		a := w.receive()
		answers[a.id] = append(answers[a.id], a)
		if a.last() {
			open--
		}
	}
	for id, r := range asked {
		want := direct.do(r.op, append(r.controls[:len(r.controls):len(r.controls)], proxied("dn:"+dnOf(n.Rick)))...)
		if !sameAnswers(answers[id], want) {
			t.Errorf("%s: %s, and slapd: %s", r.name, shown(answers[id]), shown(want))
		}
	}
	if len(answers) != len(asked) {
		t.Errorf("%d were asked, and %d answered", len(asked), len(answers))
	}
}
