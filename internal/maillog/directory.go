package maillog

import "log/slog"

// DirectoryServer says that a directory server is left alone for a while because of
// err, or, without one, that it answers again.
func DirectoryServer(l *slog.Logger, server string, err error) {
	if err == nil {
		emit(l, slog.LevelInfo, "directory server answers again", slog.String("server", server))
		return
	}
	emit(l, slog.LevelWarn, "directory server does not answer", slog.String("server", server), slog.String("error", errText(err)))
}
