package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// story is a message with what its sender asks, and the reports that come of it.
type story struct {
	mu     sync.Mutex
	jobs   []queue.Job // the reports
	bodies []string
}

// note takes a report; several may be delivered at once.
func (s *story) note(w *world, job queue.Job) []queue.Outcome {
	body := read(w.t, job)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs, s.bodies = append(s.jobs, job), append(s.bodies, body)
	return all(job, queue.Delivered, "250 ok")
}

// tell runs a message to one.test, whose outcomes are given, until after; what goes
// to other places is noted as a report.
func (s *story) tell(w *world, env queue.Envelope, out queue.Outcome, after time.Duration) {
	w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
		if job.Destination != "one.test" {
			return s.note(w, job)
		}
		outcomes := all(job, out.Result, out.Reply)
		for i := range outcomes {
			outcomes[i].Relayed, outcomes[i].Final, outcomes[i].Status = out.Relayed, out.Final, out.Status
		}
		return outcomes
	}
	w.run()
	env.ID = queue.NewID()
	if err := w.q.Accept(context.Background(), env, strings.NewReader(original)); err != nil {
		w.t.Fatal(err)
	}
	w.pass(after)
}

// actions lists what the reports say: action and recipient.
func (s *story) actions() (got []string) {
	for _, b := range s.bodies {
		for group := range strings.SplitSeq(b, "\r\n\r\n") {
			_, rcpt, found := strings.Cut(group, "Final-Recipient: rfc822; ")
			if !found {
				continue
			}
			rcpt, rest, _ := strings.Cut(rcpt, "\r\n")
			action, _, _ := strings.Cut(strings.TrimPrefix(rest, "Action: "), "\r\n")
			got = append(got, action+" "+rcpt)
		}
	}
	return got
}

func from(sender string, rcpts ...queue.Recipient) queue.Envelope {
	env := queue.Envelope{Recipients: rcpts}
	if sender != "" {
		env.Sender = mailaddr.MustParse(sender)
	}
	return env
}

func rcpt(address string, n queue.Notify) queue.Recipient {
	return queue.Recipient{Address: mailaddr.MustParse(address), Notify: n}
}

// TestNotify: who hears of what (RFC 3461 4.1, 5.2). Each message is tried for a
// whole day, so it is late where it is deferred.
func TestNotify(t *testing.T) {
	const any = queue.NotifySuccess | queue.NotifyFailure | queue.NotifyDelay
	failed := queue.Outcome{Result: queue.Failed, Reply: "550 no"}
	deferred := queue.Outcome{Result: queue.Deferred, Reply: "451 later"}
	handedOn := queue.Outcome{Result: queue.Delivered, Reply: "250 ok"}
	relayed := queue.Outcome{Result: queue.Delivered, Relayed: true, Reply: "250 ok"}
	kept := queue.Outcome{Result: queue.Delivered, Relayed: true, Final: true, Reply: "250 ok"}
	for _, c := range []struct {
		name   string
		notify queue.Notify
		out    queue.Outcome
		want   string
	}{
		{"failed, nothing said", 0, failed, "[failed a@one.test]"},
		{"failed, never", queue.NotifyNever, failed, "[]"},
		{"failed, failure", queue.NotifyFailure, failed, "[failed a@one.test]"},
		{"failed, success and delay", queue.NotifySuccess | queue.NotifyDelay, failed, "[]"},
		{"late, nothing said", 0, deferred, "[delayed a@one.test]"},
		{"late, never", queue.NotifyNever, deferred, "[]"},
		{"late, delay", queue.NotifyDelay, deferred, "[delayed a@one.test]"},
		{"late, success and failure", queue.NotifySuccess | queue.NotifyFailure, deferred, "[]"},
		{"relayed, nothing said", 0, relayed, "[]"},
		{"relayed, never", queue.NotifyNever, relayed, "[]"},
		{"relayed, success", queue.NotifySuccess, relayed, "[relayed a@one.test]"},
		{"relayed, failure", queue.NotifyFailure, relayed, "[]"},
		{"to a host that reports", any, handedOn, "[]"},
		{"to a mailbox, success", queue.NotifySuccess, kept, "[delivered a@one.test]"},
		{"to a mailbox, nothing said", 0, kept, "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(o *queue.Options) { o.DelayNotice = 4 * time.Hour }, func(w *world) {
				var s story
				s.tell(w, from("rick@partner.test", rcpt("a@one.test", c.notify)), c.out, 24*time.Hour)
				w.equal("reports", s.actions(), c.want)
				for _, j := range s.jobs {
					w.equal("sender", j.Envelope.Sender.IsNull(), true)
					w.equal("recipients", j.Envelope.Recipients, "[rick@partner.test]")
				}
			})
		})
	}
}

// TestNotifyOfSeveral: one report tells of those who asked for it alone.
func TestNotifyOfSeveral(t *testing.T) {
	var counted atomic.Int64
	count := func(action string) {
		if action == "failed" {
			counted.Add(1)
		}
	}
	inWorld(t, func(o *queue.Options) { o.OnReport = count }, func(w *world) {
		var s story
		s.tell(w, from("rick@partner.test", rcpt("a@one.test", 0), rcpt("b@one.test", queue.NotifyNever), rcpt("c@one.test", queue.NotifySuccess|queue.NotifyFailure)),
			queue.Outcome{Result: queue.Failed, Reply: "550 no"}, time.Minute)
		w.equal("reports", s.actions(), "[failed a@one.test failed c@one.test]")
		w.equal("failed lines", len(w.lines("failed")), 3)
		w.equal("counted", counted.Load(), 2)
		w.equal("bounced", strings.HasSuffix(fmt.Sprint(w.lines("bounced")), "rcpts=2]"), true)
	})
}

// TestNobodyToTell: the null sender hears of nothing; the postmaster hears of what
// failed, unless its sender wanted nobody to.
func TestNobodyToTell(t *testing.T) {
	failed := queue.Outcome{Result: queue.Failed, Reply: "550 no"}
	for _, c := range []struct {
		name   string
		notify queue.Notify
		out    queue.Outcome
		want   string
	}{
		{"failed", 0, failed, "[failed a@one.test]"},
		{"failed, never", queue.NotifyNever, failed, "[]"},
		{"late", queue.NotifyDelay, queue.Outcome{Result: queue.Deferred, Reply: "451 later"}, "[]"},
		{"relayed", queue.NotifySuccess, queue.Outcome{Result: queue.Delivered, Relayed: true}, "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(o *queue.Options) {
				o.DelayNotice, o.Postmaster = 4*time.Hour, mailaddr.MustParse("postmaster@example.test")
			}, func(w *world) {
				var s story
				s.tell(w, from("", rcpt("a@one.test", c.notify)), c.out, 24*time.Hour)
				w.equal("reports", s.actions(), c.want)
				for _, j := range s.jobs {
					w.equal("recipients", j.Envelope.Recipients, "[postmaster@example.test]")
				}
			})
		})
	}
}

// TestDelayToldOnce: at the first attempt after the time, never again, whatever
// restarts come between.
func TestDelayToldOnce(t *testing.T) {
	late := func(o *queue.Options) { o.DelayNotice = 4 * time.Hour }
	inWorld(t, late, func(w *world) {
		var s story
		env := from("rick@partner.test", rcpt("a@one.test", 0), rcpt("b@one.test", queue.NotifyNever))
		later := queue.Outcome{Result: queue.Deferred, Reply: "451 4.7.1 later", Status: "4.7.1"}
		s.tell(w, env, later, 4*time.Hour-time.Second)
		w.equal("reports before", len(s.jobs), 0)
		w.pass(2 * time.Hour)
		w.equal("reports", s.actions(), "[delayed a@one.test]")
		for _, want := range []string{"Status: 4.7.1\r\n", "Will-Retry-Until: ", "Subject: Delayed mail", "text/rfc822-headers"} {
			if !strings.Contains(s.bodies[0], want) {
				t.Errorf("the report lacks %q:\n%s", want, s.bodies[0])
			}
		}
		w.equal("reported", strings.HasSuffix(fmt.Sprint(w.lines("reported")), "sender=rick@partner.test delayed=1]"), true)
		w.close()
		w.open(late)
		w.run()
		w.pass(4 * 24 * time.Hour)
		w.equal("reports after a restart", s.actions(), "[delayed a@one.test]")
		w.pass(2 * 24 * time.Hour)
		w.equal("reports at the end", s.actions(), "[delayed a@one.test failed a@one.test]")
	})
}

// TestDelayNotTold: nobody asked for it, so the report is not tried again each hour.
func TestDelayNotTold(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var s story
		s.tell(w, from("rick@partner.test", rcpt("a@one.test", queue.NotifyDelay)), queue.Outcome{Result: queue.Deferred}, 4*24*time.Hour)
		w.equal("reports without a time for them", len(s.jobs), 0)
	})
}

// TestReportKeepsCare: what the message wanted holds for the report about it.
func TestReportKeepsCare(t *testing.T) {
	failed := queue.Outcome{Result: queue.Failed, Reply: "550 no"}
	plain := from("rick@partner.test", rcpt("a@one.test", 0))
	requireTLS := plain
	requireTLS.RequireTLS, requireTLS.Return = true, queue.ReturnFull
	headers := plain
	headers.Return, headers.EnvelopeID = queue.ReturnHeaders, "order 4711"
	full := plain
	full.Return = queue.ReturnFull
	orcpt := from("rick@partner.test", queue.Recipient{Address: mailaddr.MustParse("a@one.test"), Original: "rfc822;alias@two.test"})
	utf8 := from("größe@partner.test", rcpt("a@one.test", 0))
	utf8.SMTPUTF8 = true
	asciiSender := from("rick@partner.test", rcpt("ü@one.test", 0))
	asciiSender.SMTPUTF8 = true
	for _, c := range []struct {
		name             string
		env              queue.Envelope
		requireTLS, utf8 bool
		has, lacks       string
	}{
		{"nothing", plain, false, false, "Wubba", "Original-Envelope-Id"},
		{"REQUIRETLS", requireTLS, true, false, "text/rfc822-headers", "Wubba"}, // RFC 8689 5
		{"RET=HDRS", headers, false, false, "Original-Envelope-Id: order 4711\r\n", "Wubba"},
		{"RET=FULL", full, false, false, "Wubba", "text/rfc822-headers"},
		{"ORCPT", orcpt, false, false, "Original-Recipient: rfc822; alias@two.test\r\n", "utf-8"},
		{"a sender in UTF-8", utf8, false, true, "To: <größe@partner.test>", "quoted-printable"},
		{"a recipient in UTF-8", asciiSender, false, false, "Final-Recipient: utf-8; =C3=BC@one.test", "ü"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				var s story
				s.tell(w, c.env, failed, time.Minute)
				if len(s.jobs) != 1 {
					t.Fatalf("%d reports", len(s.jobs))
				}
				e := s.jobs[0].Envelope
				w.equal("REQUIRETLS", e.RequireTLS, c.requireTLS)
				w.equal("SMTPUTF8", fmt.Sprint(e.SMTPUTF8, e.EightBit), fmt.Sprint(c.utf8, c.utf8))
				if b := s.bodies[0]; !strings.Contains(b, c.has) || strings.Contains(b, c.lacks) {
					t.Errorf("want %q, not %q:\n%s", c.has, c.lacks, b)
				}
			})
		})
	}
}

// TestDelayToldWhileAway: mail that waits behind a destination in its back-off is
// hardly ever tried itself, and its senders hear of the delay all the same, once.
func TestDelayToldWhileAway(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.DelayNotice = 4 * time.Hour }, func(w *world) {
		const many = 20
		var s story
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			if job.Destination != "one.test" {
				return s.note(w, job)
			}
			return []queue.Outcome{{Recipient: job.Recipients[0].Address, Reply: "no host answers", Unreachable: true}}
		}
		w.run()
		for range many {
			env := from("rick@partner.test", rcpt("a@one.test", 0))
			env.ID = queue.NewID()
			if err := w.q.Accept(context.Background(), env, strings.NewReader(original)); err != nil {
				t.Fatal(err)
			}
		}
		w.pass(6 * time.Hour)
		w.equal("attempts are few", len(w.tried("one.test")) < many, true)
		w.equal("reports", len(s.jobs), many)
		told := map[string]bool{}
		for _, b := range s.bodies {
			_, id, _ := strings.Cut(b, "The queue id was ")
			told[id[:20]] = true
		}
		w.equal("messages told of", len(told), many)
		w.pass(3 * time.Hour)
		w.equal("reports later", len(s.jobs), many)
	})
}
