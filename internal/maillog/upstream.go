package maillog

import (
	"log/slog"
	"time"
)

// Upstream is a server behind the LDAP bridge, and where the way to it ended.
type Upstream struct {
	Server, Step string
	Advice       string        // what to do
	Again        time.Duration // until it is tried again
}

// UpstreamFailed: a directory server could not be reached, or not be proved, or did
// not take us. Clients get the next one, or hear that the directory is unavailable.
func UpstreamFailed(l *slog.Logger, u Upstream, err error) {
	emit(l, slog.LevelError, "directory server failed", slog.String("server", u.Server), slog.String("step", u.Step),
		slog.String("error", errText(err)), slog.String("advice", u.Advice), slog.Duration("again", u.Again))
}

// UpstreamLost: the connection to a directory server ended while a client had it.
func UpstreamLost(l *slog.Logger, server string, outstanding int, err error) {
	emit(l, slog.LevelWarn, "directory connection lost", slog.String("server", server),
		slog.Int("outstanding", outstanding), slog.String("error", errText(err)))
}
