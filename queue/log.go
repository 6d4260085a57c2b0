package queue

import "log/slog"

func (q *Queue) logQueued(env Envelope) {
	q.log.Info("queued", slog.String("session", env.Session), slog.String("queue_id", string(env.ID)),
		slog.String("identity", env.Identity), slog.String("sender", env.Sender.String()),
		slog.Int("recipients", len(env.Recipients)))
}
