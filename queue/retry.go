package queue

import (
	"math/rand/v2"
	"time"
)

// jitter spreads each wait over ± one eighth, so that what failed together
// does not come back together.
const jitter = 8

// DefaultRetry returns the waits between attempts: two tries and more in the
// first hour, then hourly (RFC 5321 4.5.4.1).
func DefaultRetry() []time.Duration {
	return []time.Duration{5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, time.Hour}
}

// wait returns how long after attempt n (from 1) the next one follows.
func (o *Options) wait(attempt int) time.Duration {
	d := o.Retry[min(max(attempt, 1), len(o.Retry))-1]
	return d - d/jitter + rand.N(2*(d/jitter)+1)
}

// next returns the time of the attempt after this one, not later than the
// expiry: the last attempt is made when the message's time is over.
func (o *Options) next(env Envelope, attempt int) time.Time {
	now := o.Now()
	at := now.Add(o.wait(attempt))
	if end := o.expiry(env); end.After(now) && at.After(end) {
		return end
	}
	return at
}

// expiry returns the instant from which a deferred recipient of env fails.
func (o *Options) expiry(env Envelope) time.Time {
	if env.Sender.IsNull() {
		return env.Arrived.Add(o.BounceExpire)
	}
	return env.Arrived.Add(o.Expire)
}
