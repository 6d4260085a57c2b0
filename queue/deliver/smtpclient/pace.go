package smtpclient

import (
	"net"
	"time"
)

// Each step of a session has its time, as RFC 5321 4.5.3.2 wants it. Steps in a row
// have less together: a server that answers each of them in its last moment would hold
// a place among the deliveries for an hour, and mail for others waits for that.
const (
	// openingTime is for all between the greeting and the first message: EHLO, STARTTLS,
	// TLS, EHLO again and a login. The RFC gives none of them a time.
	openingTime = 5 * time.Minute
	// furtherTime is for each recipient after the first: who looks each of them up, or
	// waits on purpose to annoy senders of junk, takes seconds.
	furtherTime = 15 * time.Second
	// leastRate, in octets per second, is what a body moves at on average after
	// freeTime: half of what the slowest link that mail is still sent over can do.
	leastRate = 2 << 10
	freeTime  = 5 * time.Minute
)

// deadline is when a step with this limit ends, and with it its phase.
func (c *Client) deadline(limit time.Duration) time.Time {
	end := time.Now().Add(limit)
	if !c.until.IsZero() && c.until.Before(end) {
		return c.until
	}
	return end
}

// several is the time for so many answers of a kind that has its limit.
func several(limit time.Duration, n int) time.Duration {
	return limit + time.Duration(max(n-1, 0))*furtherTime
}

// pace is how a body moves.
type pace struct {
	start  time.Time
	octets int64 // that have left, or are about to
}

func newPace() *pace { return &pace{start: time.Now()} }

// until is when so many more octets must have left.
func (p *pace) until(more int) time.Time {
	p.octets += int64(more)
	return p.start.Add(freeTime + time.Duration(p.octets)*(time.Second/leastRate))
}

// blockWriter gives each write its own time.
type blockWriter struct {
	conn  net.Conn
	limit time.Duration
	pace  *pace
}

func (b blockWriter) Write(p []byte) (int, error) {
	end := time.Now().Add(b.limit)
	if until := b.pace.until(len(p)); until.Before(end) {
		end = until
	}
	b.conn.SetWriteDeadline(end)
	return b.conn.Write(p)
}
