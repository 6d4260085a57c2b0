package maillog

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func logger(b *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
}

func TestLines(t *testing.T) {
	s := Session{ID: "S1", Listener: "mx", Peer: "192.0.2.1:25"}
	for _, c := range []struct {
		name, want string
		write      func(*slog.Logger)
	}{
		{"rejected",
			`level=INFO msg=rejected session=S1 listener=mx peer=192.0.2.1:25 command=RCPT identity=a.test rule="any (line 3)" reason=no-rule reply="550 5.7.1" rcpt=x@y.test`,
			func(l *slog.Logger) {
				Rejected(l, s, Refusal{Command: "RCPT", Identity: "a.test", Rule: "any (line 3)", Reason: "no-rule", Reply: "550 5.7.1", Rcpt: "x@y.test"})
			}},
		{"client refused",
			`level=INFO msg="client not authenticated" session=S1 listener=mx peer=192.0.2.1:25 identity=a.test reason=no-match leaf_sha256=cd34 spki_sha256=ab12 would_match="a.test. 3600 IN TLSA 3 1 1 ab12" explain="dancemta explain client a.test"`,
			func(l *slog.Logger) {
				ClientRefused(l, s, Refusal{Identity: "a.test", Reason: "no-match"}, Shown{"cd34", "ab12", "a.test. 3600 IN TLSA 3 1 1 ab12", "dancemta explain client a.test"})
			}},
		{"login refused",
			`level=INFO msg="login refused" session=S1 listener=mx peer=192.0.2.1:25 reason=no-user reply="535 5.7.8" leaf_sha256=cd34 spki_sha256=ab12`,
			func(l *slog.Logger) {
				LoginRefused(l, s, Refusal{Reason: "no-user", Reply: "535 5.7.8"}, Shown{Leaf: "cd34", SPKI: "ab12"})
			}},
		{"queued",
			`level=INFO msg=queued session=S1 listener=mx peer=192.0.2.1:25 queue_id=Q1 sender=r@p.test rcpts=2 size=10`,
			func(l *slog.Logger) { Queued(l, s, Message{QueueID: "Q1", Sender: "r@p.test", Rcpts: 2, Size: 10}) }},
		{"delivered",
			`level=INFO msg=delivered queue_id=Q1 rcpt=x@y.test remote=mx.y.test status=2.0.0 reply="250 ok"`,
			func(l *slog.Logger) {
				Delivered(l, Delivery{QueueID: "Q1", Rcpt: "x@y.test", Remote: "mx.y.test", Status: "2.0.0", Reply: "250 ok"})
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			c.write(logger(&b))
			if got := strings.TrimSpace(b.String()); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			c.write(nil) // no logger, no panic
		})
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                  "plain",
		"a\r\nmsg=forged":        "a??msg=forged",
		"\x1b[31m":               "?[31m",
		"b\u00fccher":            "b?cher",
		strings.Repeat("x", 513): strings.Repeat("x", 509) + "...",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}
