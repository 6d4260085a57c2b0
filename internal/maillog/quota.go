package maillog

import "log/slog"

// QuotaNotice: the postmaster is told by mail of so many accounts whose quotas are
// used up, or could not be told, and err says why.
func QuotaNotice(l *slog.Logger, queueID string, accounts int, err error) {
	level, text := slog.LevelInfo, "quota notice"
	if err != nil {
		level, text = slog.LevelWarn, "quota notice not sent"
	}
	emit(l, level, text, slog.String("queue_id", queueID), slog.Int("accounts", accounts), slog.String("error", errText(err)))
}
