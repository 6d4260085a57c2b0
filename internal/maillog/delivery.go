package maillog

import (
	"log/slog"
	"time"
)

// Try is an attempt for those recipients of a message that are at one destination.
type Try struct {
	QueueID     string
	Session     string // of the session that brought the message
	Identity    string
	Destination string
	Attempt     int // 1 for the first
	Rcpts       int
}

// Attempt: a delivery of a message to one destination begins.
func Attempt(l *slog.Logger, t Try) {
	emit(l, slog.LevelInfo, "attempt",
		slog.String("queue_id", t.QueueID),
		slog.String("session", t.Session),
		slog.String("identity", Clean(t.Identity)),
		slog.String("destination", Clean(t.Destination)),
		slog.Int("attempt", t.Attempt),
		slog.Int("rcpts", t.Rcpts))
}

// Delivery is the outcome for one recipient.
type Delivery struct {
	QueueID     string
	Session     string // of the session that brought the message
	Identity    string
	Rcpt        string
	Destination string
	Remote      string // the server that answered
	TLS         string // what was wanted, and what was there
	Status      string // "5.1.1"
	Reply       string // its words
	Next        time.Time
}

func (d Delivery) attrs(more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{
		slog.String("queue_id", d.QueueID),
		slog.String("session", d.Session),
		slog.String("identity", Clean(d.Identity)),
		slog.String("rcpt", Clean(d.Rcpt)),
		slog.String("destination", Clean(d.Destination)),
		slog.String("remote", Clean(d.Remote)),
		slog.String("tls", Clean(d.TLS)),
		slog.String("status", Clean(d.Status)),
		slog.String("reply", Clean(d.Reply)),
	}, more...)
}

// Delivered: the next hop has taken responsibility for this recipient.
func Delivered(l *slog.Logger, d Delivery) {
	emit(l, slog.LevelInfo, "delivered", d.attrs()...)
}

// Deferred: this recipient is tried again at d.Next.
func Deferred(l *slog.Logger, d Delivery) {
	emit(l, slog.LevelInfo, "deferred", d.attrs(slog.Time("next", d.Next))...)
}

// Failed: this recipient will not be tried again.
func Failed(l *slog.Logger, d Delivery) {
	emit(l, slog.LevelInfo, "failed", d.attrs()...)
}

// Bounced: the message bounceID tells the sender about the failed recipients of
// queueID.
func Bounced(l *slog.Logger, queueID, bounceID, sender string, rcpts int) {
	emit(l, slog.LevelInfo, "bounced",
		slog.String("queue_id", queueID),
		slog.String("bounce_id", bounceID),
		slog.String("sender", Clean(sender)),
		slog.Int("rcpts", rcpts))
}

// Report is a message of ours that tells a sender of mail that is late or has
// arrived.
type Report struct {
	QueueID, ReportID, Sender string
	Delayed, Arrived          int // recipients
}

// Reported: a report has been queued.
func Reported(l *slog.Logger, r Report) {
	attrs := []slog.Attr{slog.String("queue_id", r.QueueID), slog.String("report_id", r.ReportID), slog.String("sender", Clean(r.Sender))}
	if r.Delayed > 0 {
		attrs = append(attrs, slog.Int("delayed", r.Delayed))
	}
	if r.Arrived > 0 {
		attrs = append(attrs, slog.Int("arrived", r.Arrived))
	}
	emit(l, slog.LevelInfo, "reported", attrs...)
}

// DoubleBounce: a message with the null sender failed; nobody can be told but
// the reader of this line.
func DoubleBounce(l *slog.Logger, queueID string, rcpts int) {
	emit(l, slog.LevelWarn, "double bounce",
		slog.String("queue_id", queueID),
		slog.Int("rcpts", rcpts))
}

// Edited: an operator held, released, retried, deleted or bounced recipients of a
// message. reason is what he said.
func Edited(l *slog.Logger, queueID, action, reason string, rcpts int) {
	emit(l, slog.LevelInfo, "edited",
		slog.String("queue_id", queueID),
		slog.String("action", action),
		slog.String("reason", Clean(reason)),
		slog.Int("rcpts", rcpts))
}

// QueueFault: a fault of our own on a message's way out. The queue id is empty
// when the fault concerns no single message.
func QueueFault(l *slog.Logger, queueID, what string, err error) {
	emit(l, slog.LevelError, "fault in the queue",
		slog.String("queue_id", queueID),
		slog.String("what", what),
		slog.String("error", errText(err)))
}

// TLSFailed: a server offered TLS and could not do it; the message goes in clear.
func TLSFailed(l *slog.Logger, queueID, remote string, err error) {
	emit(l, slog.LevelWarn, "tls failed, trying in clear",
		slog.String("queue_id", queueID),
		slog.String("remote", Clean(remote)),
		slog.String("error", errText(err)))
}

// STSPolicy: a domain's MTA-STS policy was fetched.
func STSPolicy(l *slog.Logger, domain, mode, id string, expires time.Time) {
	emit(l, slog.LevelInfo, "mta-sts policy",
		slog.String("domain", domain),
		slog.String("mode", mode),
		slog.String("id", Clean(id)),
		slog.Time("expires", expires))
}

// STSFailed: a domain's MTA-STS policy could not be fetched, read or kept. One
// that is kept holds on.
func STSFailed(l *slog.Logger, domain string, err error) {
	emit(l, slog.LevelWarn, "mta-sts policy failed",
		slog.String("domain", domain),
		slog.String("error", errText(err)))
}
