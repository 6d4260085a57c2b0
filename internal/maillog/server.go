package maillog

import (
	"log/slog"
	"strings"
)

// Listening: a port is open. Its connections wait until Ready.
func Listening(l *slog.Logger, listener, address string) {
	emit(l, slog.LevelInfo, "listening", slog.String("listener", listener), slog.String("address", address))
}

// Ready: everything runs. clientNames are the sources that the build knows.
func Ready(l *slog.Logger, version, clientNames string) {
	emit(l, slog.LevelInfo, "ready", slog.String("version", version), slog.String("client_names", clientNames))
}

// Stopping: a signal came; sessions and deliveries may end.
func Stopping(l *slog.Logger) {
	emit(l, slog.LevelInfo, "stopping")
}

// Reloaded: SIGHUP has taken effect. The tables named by needRestart have
// changed in the file but not in the server.
func Reloaded(l *slog.Logger, needRestart []string) {
	emit(l, slog.LevelInfo, "configuration reloaded", slog.String("need_restart", strings.Join(needRestart, " ")))
}

// Level: the least weight of the lines that are written has changed.
func Level(l *slog.Logger, level, before string) {
	emit(l, slog.LevelInfo, "log level", slog.String("level", level), slog.String("before", before))
}

// ReloadRefused: the file has a mistake, and nothing has changed.
func ReloadRefused(l *slog.Logger, err error) {
	emit(l, slog.LevelError, "configuration not reloaded: the old one stays", slog.String("error", errText(err)))
}

// OwnRecords: the verdict of the live TLSA records on a certificate of our own has
// become worse. what is where it is used.
func OwnRecords(l *slog.Logger, what, owner, verdict, reason string) {
	emit(l, slog.LevelError, "own certificate", slog.String("what", what), slog.String("owner", owner),
		slog.String("verdict", verdict), slog.String("reason", Clean(reason)))
}

// Trouble: something that concerns the whole server, with what it means.
func Trouble(l *slog.Logger, what string, err error) {
	emit(l, slog.LevelError, "trouble", slog.String("what", what), slog.String("error", errText(err)))
}
