package queue

// Share bounds the visits at once of several destinations together, as of those whose
// mail leaves by the same hosts. The zero value bounds nothing.
type Share struct {
	Key    string // destinations of one key share the visits
	Visits int    // at most so many; 0: no bound
}

// share asks for that of a destination.
func (ds *destinations) share(name string) Share {
	if ds.o.Share == nil {
		return Share{}
	}
	return ds.o.Share(name)
}

// shareFull reports whether a destination's share has no place left.
func (ds *destinations) shareFull(name string) bool {
	s := ds.share(name)
	return s.Key != "" && s.Visits > 0 && ds.shares[s.Key]+ds.plan.shares[s.Key] >= s.Visits
}

// join counts a visit under its key, which a reload may change: leaveShare is told the
// one that was counted. Both are called with the lock.
func (ds *destinations) join(name string) (key string) {
	if key = ds.share(name).Key; key != "" {
		ds.shares[key]++
	}
	return key
}

func (ds *destinations) leaveShare(key string) {
	if ds.shares[key]--; ds.shares[key] <= 0 {
		delete(ds.shares, key)
	}
}
