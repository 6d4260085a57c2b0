package queue

import (
	"math/rand/v2"
	"slices"
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

// horizon is longer than any wait.
func (o *Options) horizon() time.Duration {
	longest := slices.Max(o.Retry)
	return longest + longest/jitter + time.Hour
}

// next returns the time of the attempt after this one, not later than the
// expiry: the last attempt is made when the message's time is over.
func (q *Queue) next(env Envelope, attempt int) time.Time {
	now := q.clock.now()
	at := now.Add(q.o.wait(attempt))
	if end := q.o.expiry(env); end.After(now) && at.After(end) {
		return end
	}
	return at
}

// expired says whether a deferred recipient of env fails now.
func (q *Queue) expired(env Envelope) bool { return !q.clock.now().Before(q.o.expiry(env)) }

// expiry returns the instant from which a deferred recipient of env fails.
func (o *Options) expiry(env Envelope) time.Time {
	end := env.Arrived.Add(o.Expire)
	if env.Sender.IsNull() {
		end = env.Arrived.Add(o.BounceExpire)
	}
	return earliest(end, env.Expires)
}
