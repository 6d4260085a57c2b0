package queue

// How many places of a group one sender may hold for each that is free.
const fairShare = 2

// holder is a sender, by his number in the store, with places of a group.
type holder struct {
	group  int
	sender uint64
}

// place is what a visit has taken.
type place struct {
	group  int
	sender uint64 // of the message for which it was made
	share  string // key of its Share
}

// fair is DueRequest.Fair: whether a sender may have a further place at a destination.
// One at a destination that answers is soon free again. At the others he may hold twice
// as many as are free, so that there is always one for somebody else: whoever writes to
// thousands of silent hosts waits for them himself.
func (ds *destinations) fair(name string, sender uint64) bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	group := ds.group(ds.by[name], ds.now())
	if group == proven {
		return true
	}
	mine := 0
	for g := group; g < groups; g++ {
		mine += ds.senders[holder{g, sender}] + ds.plan.senders[holder{g, sender}]
	}
	return mine < fairShare*(ds.bound(group)-ds.taken(group))
}

// bound is how many places a group may have, with those after it.
func (ds *destinations) bound(group int) int {
	switch group {
	case unproven:
		return max(1, ds.o.Concurrency-ds.o.Concurrency/provenShare)
	case troubled:
		return max(1, ds.o.Concurrency/troubledShare)
	}
	return ds.o.Concurrency
}

// taken is how many it has.
func (ds *destinations) taken(group int) (n int) {
	for g := group; g < groups; g++ {
		n += ds.places[g] + ds.plan.places[g]
	}
	return n
}

// room reports whether a further place may go to a group.
func (ds *destinations) room(group int) bool {
	for g := unproven; g <= group; g++ {
		if ds.taken(g) >= ds.bound(g) {
			return false
		}
	}
	return true
}

func (ds *destinations) takePlace(p place) {
	ds.places[p.group]++
	if p.group != proven {
		ds.senders[holder{p.group, p.sender}]++
	}
}

func (ds *destinations) givePlace(p place) {
	ds.places[p.group]--
	h := holder{p.group, p.sender}
	if ds.senders[h]--; ds.senders[h] <= 0 { // those of the proven are not counted
		delete(ds.senders, h)
	}
}
