package maillog

import "log/slog"

// TLSReport: the report about TLS in sessions with a domain was taken by to, or
// was not, and err says why.
func TLSReport(l *slog.Logger, domain, day, to string, err error) {
	level, text := slog.LevelInfo, "TLS report sent"
	if err != nil {
		level, text = slog.LevelWarn, "TLS report not sent"
	}
	emit(l, level, text, slog.String("domain", domain), slog.String("day", day), slog.String("to", Clean(to)), slog.String("error", errText(err)))
}
