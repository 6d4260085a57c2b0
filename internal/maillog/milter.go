package maillog

import "log/slog"

// MilterFailed: a milter was away, late or broke its protocol, and mail passed all
// the same, since its setting says so.
func MilterFailed(l *slog.Logger, s Session, queueID, milter string, err error) {
	emit(l, slog.LevelWarn, "milter failed", s.attrs(
		slog.String("queue_id", queueID),
		slog.String("milter", milter),
		slog.String("action", "accept"),
		slog.String("error", errText(err)))...)
}

// Edits are what milters did to a message that they let through.
type Edits struct {
	QueueID        string
	Edited         bool
	Added, Removed int // recipients
	Hold           string
}

// MilterEdited: milters changed a message, or want it held.
func MilterEdited(l *slog.Logger, s Session, e Edits) {
	emit(l, slog.LevelInfo, "milter changed a message", s.attrs(
		slog.String("queue_id", e.QueueID),
		slog.Bool("edited", e.Edited),
		slog.Int("rcpts_added", e.Added),
		slog.Int("rcpts_removed", e.Removed),
		slog.String("hold", Clean(e.Hold)))...)
}

// Discarded: a message was accepted, and nobody gets it, because a milter wants so.
func Discarded(l *slog.Logger, s Session, queueID, milter, sender string) {
	emit(l, slog.LevelInfo, "discarded", s.attrs(
		slog.String("queue_id", queueID),
		slog.String("milter", milter),
		slog.String("sender", Clean(sender)))...)
}
