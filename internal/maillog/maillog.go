// Package maillog gives every event that an operator cares about one function,
// so that each kind of line has one form: a constant text, and the facts as
// attributes with the same keys everywhere (session, queue_id, peer, identity,
// reason, reply …). A log can then be searched by session id, which also ends
// every refusal that a peer reads, and by queue id.
//
// Start with Session: what the lines of one SMTP session have in common. The
// events of a session are in session.go, those of a message on its way out in
// delivery.go. Text that came from a peer is cut and cleaned here, once.
package maillog

import (
	"context"
	"log/slog"

	"dancemta/internal/foreign"
)

// maxText bounds each piece of foreign text in a line: a reply of a far server
// may have 64 KiB, a log line must not.
const maxText = 512

// Clean makes foreign text safe for one line, of at most 512 octets.
func Clean(s string) string { return foreign.ASCII(s, maxText) }

// emit writes one line; a nil logger writes none. Attributes without a value
// are left out, so that a line shows what is known.
func emit(l *slog.Logger, level slog.Level, text string, attrs ...slog.Attr) {
	if l == nil {
		return
	}
	kept := attrs[:0]
	for _, a := range attrs {
		if a.Value.Kind() != slog.KindString || a.Value.String() != "" {
			kept = append(kept, a)
		}
	}
	l.LogAttrs(context.Background(), level, text, kept...)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return Clean(err.Error())
}
