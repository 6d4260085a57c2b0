package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// refusing fails everything for one domain and notes what the others get.
func refusing(w *world, domain string, got *[]queue.Job, bodies *[]string) func(context.Context, queue.Job) []queue.Outcome {
	return func(_ context.Context, job queue.Job) []queue.Outcome {
		if job.Destination == domain {
			return all(job, queue.Failed, "550 5.1.1 no such\r\nBcc: eve@evil.test user")
		}
		*got = append(*got, job)
		*bodies = append(*bodies, read(w.t, job))
		return all(job, queue.Delivered, "250 ok")
	}
}

// TestBounce: the failure of two recipients is one message to the sender, from
// nobody.
func TestBounce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var jobs []queue.Job
		var bodies []string
		w.deliver = refusing(w, "remote.test", &jobs, &bodies)
		w.run()
		id := w.accept("morty@remote.test", "summer@remote.test")
		w.pass(time.Minute)
		w.equal("list", w.list(), "")
		if len(jobs) != 1 {
			t.Fatalf("%d bounces", len(jobs))
		}
		b := jobs[0].Envelope
		w.equal("sender", b.Sender.IsNull(), true)
		w.equal("recipients", b.Recipients, "[rick@partner.test]")
		w.equal("session", b.Session, "S1")
		w.equal("8-bit", b.EightBit, false)
		w.equal("another id", b.ID.Valid() && b.ID != id, true)
		m, err := mail.ReadMessage(strings.NewReader(bodies[0]))
		if err != nil {
			t.Fatal(err)
		}
		for k, want := range map[string]string{
			"From": "Mail Delivery System <MAILER-DAEMON@mx.example.test>", "To": "<rick@partner.test>", "Auto-Submitted": "auto-replied",
			"Message-Id": "<" + string(b.ID) + "@mx.example.test>", "Bcc": "",
		} {
			w.equal(k, m.Header.Get(k), want)
		}
		for _, want := range []string{
			"Final-Recipient: rfc822; morty@remote.test\r\nAction: failed\r\nStatus: 5.0.0\r\nRemote-MTA: dns; mx.remote.test\r\n",
			"Final-Recipient: rfc822; summer@remote.test", "Received-From-MTA: dns; portal.partner.test", "The queue id was " + string(id), original,
		} {
			if !strings.Contains(bodies[0], want) {
				t.Errorf("the bounce lacks %q:\n%s", want, bodies[0])
			}
		}
		w.equal("bounced", w.lines("bounced"), fmt.Sprintf("[queue_id=%s bounce_id=%s sender=rick@partner.test rcpts=2]", id, b.ID))
	})
}

// TestBounceOriginal: what goes back of the message.
func TestBounceOriginal(t *testing.T) {
	for _, c := range []struct {
		name, body, has, lacks string
	}{
		{"whole", original, "Content-Type: message/rfc822", ""},
		{"too big", original + strings.Repeat("it is longer\r\n", 6000), "text/rfc822-headers", "Wubba"},
		{"8-bit", original + "Gr\xc3\xbc\xc3\x9fe\r\n", "text/rfc822-headers", "Wubba"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				var jobs []queue.Job
				var bodies []string
				w.deliver = refusing(w, "remote.test", &jobs, &bodies)
				w.run()
				w.acceptFrom("rick@partner.test", c.body, "morty@remote.test")
				w.pass(time.Minute)
				w.equal("bounces", len(bodies), 1)
				if b := bodies[0]; !strings.Contains(b, c.has) || !strings.Contains(b, "Subject: portal") || c.lacks != "" && strings.Contains(b, c.lacks) {
					t.Errorf("want %q and the header, not %q:\n%.2000s", c.has, c.lacks, b)
				}
			})
		})
	}
}

// unreadable is a store whose bodies cannot be read.
type unreadable struct{ queue.Store }

func (s unreadable) Due(r queue.DueRequest) ([]queue.Job, time.Time, error) {
	jobs, next, err := s.Store.Due(r)
	for i := range jobs {
		if !jobs[i].Envelope.Sender.IsNull() {
			jobs[i].Open = func() (io.ReadCloser, error) { return nil, errors.New("the disk is ill") }
		}
	}
	return jobs, next, err
}

// TestBounceWithoutOriginal: a sender is told even if his message cannot be read.
func TestBounceWithoutOriginal(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.Store = unreadable{o.Store} }, func(w *world) {
		var jobs []queue.Job
		var bodies []string
		w.deliver = refusing(w, "remote.test", &jobs, &bodies)
		w.run()
		w.accept("morty@remote.test")
		w.pass(time.Minute)
		w.equal("bounces", len(bodies), 1)
		if strings.Contains(bodies[0], "message/rfc822") || !strings.Contains(bodies[0], "Final-Recipient: rfc822; morty@remote.test") {
			t.Errorf("the bounce is\n%s", bodies[0])
		}
	})
}

// TestBounceExpires: a bounce is tried for two days, and its end is told to the
// postmaster, once, if there is one.
func TestBounceExpires(t *testing.T) {
	for _, postmaster := range []string{"", "postmaster@example.test"} {
		t.Run("postmaster "+postmaster, func(t *testing.T) {
			inWorld(t, func(o *queue.Options) {
				if postmaster != "" {
					o.Postmaster = mailaddr.MustParse(postmaster)
				}
			}, func(w *world) {
				w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
					if job.Destination == "remote.test" {
						return all(job, queue.Failed, "550 no")
					}
					return all(job, queue.Deferred, "451 later")
				}
				w.run()
				w.accept("morty@remote.test")
				w.pass(48*time.Hour - time.Second)
				w.equal("double bounces so far", len(w.lines("double bounce")), 0)
				w.pass(2 * time.Second)
				w.equal("double bounces", len(w.lines("double bounce")), 1)
				tries := w.tried("partner.test")
				w.equal("last attempt", tries[len(tries)-1].at, 48*time.Hour)
				w.pass(60 * time.Hour)
				w.equal("list", w.list(), "")
				if postmaster == "" {
					w.equal("bounces", len(w.lines("bounced")), 1)
					return
				}
				// Neither does the postmaster take it: that is the end.
				w.equal("bounces", len(w.lines("bounced")), 2)
				w.equal("double bounces", len(w.lines("double bounce")), 2)
				tries = w.tried("example.test")
				w.equal("last attempt for the postmaster", tries[len(tries)-1].at, 96*time.Hour)
			})
		})
	}
}

// TestNullSender: nothing is ever sent to the null sender, whatever failed.
func TestNullSender(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.Postmaster = mailaddr.MustParse("postmaster@example.test") }, func(w *world) {
		var jobs []queue.Job
		var bodies []string
		w.deliver = refusing(w, "remote.test", &jobs, &bodies)
		w.run()
		w.acceptFrom("", original, "morty@remote.test")
		w.pass(time.Minute)
		w.equal("list", w.list(), "")
		w.equal("to the postmaster", len(jobs), 1)
		w.equal("recipients", jobs[0].Envelope.Recipients, "[postmaster@example.test]")
		w.equal("from nobody", jobs[0].Envelope.Sender.IsNull(), true)
		if !strings.Contains(bodies[0], "From: Mail Delivery System <postmaster@example.test>") ||
			!strings.Contains(bodies[0], "Subject: Undeliverable notification") {
			t.Errorf("the notice is\n%s", bodies[0])
		}
	})
}

// TestTwoServers: a bounce to an address that fails here too ends after two.
func TestTwoServers(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.Postmaster = mailaddr.MustParse("Postmaster@loop.test") }, func(w *world) {
		var n atomic.Int64
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			if n.Add(1) > 20 { // a loop must end the test too
				return all(job, queue.Delivered, "250 ok")
			}
			return all(job, queue.Failed, "554 5.4.6 loop")
		}
		w.run()
		w.acceptFrom("rick@loop.test", original, "morty@loop.test")
		w.pass(time.Hour)
		w.equal("list", w.list(), "")
		w.equal("attempts", len(w.tried("loop.test")), 3) // the message, its bounce, the notice
		w.acceptFrom("", original, "postmaster@loop.test")
		w.pass(time.Hour)
		w.equal("attempts", len(w.tried("loop.test")), 4)
	})
}

// TestBounceOnce: a settlement that is done again brings no second bounce.
func TestBounceOnce(t *testing.T) {
	n := 0
	s := &faultyStore{settlement: func() error {
		if n++; n < 4 {
			return full
		}
		return nil
	}}
	inWorld(t, s.wrap, func(w *world) {
		var jobs []queue.Job
		var bodies []string
		w.deliver = refusing(w, "remote.test", &jobs, &bodies)
		w.run()
		w.accept("morty@remote.test")
		w.pass(time.Hour)
		w.equal("bounces", len(jobs), 1)
		w.equal("bounced lines", len(w.lines("bounced")), 1)
		w.equal("failed lines", len(w.lines("failed")), 1)
	})
}

func TestAccept(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.MaxMessageBytes = 100 }, func(w *world) {
		good := queue.Envelope{ID: queue.NewID(), Sender: mailaddr.MustParse("a@a.test"), Recipients: queue.To(mailaddr.MustParse("b@b.test"))}
		mine := errors.New("cut off")
		for _, c := range []struct {
			name string
			edit func(*queue.Envelope)
			body io.Reader
			want func(error) bool
		}{
			{"no id", func(e *queue.Envelope) { e.ID = "" }, strings.NewReader(""), isAny},
			{"bad id", func(e *queue.Envelope) { e.ID = "../../../etc/passwd.." }, strings.NewReader(""), isAny},
			{"no recipient", func(e *queue.Envelope) { e.Recipients = nil }, strings.NewReader(""), isAny},
			{"null recipient", func(e *queue.Envelope) { e.Recipients = append(e.Recipients, queue.Recipient{}) }, strings.NewReader(""), isAny},
			{"too big", func(*queue.Envelope) {}, bytes.NewReader(make([]byte, 101)), func(err error) bool { return queue.IsKind(err, queue.TooBig) }},
			{"cut off", func(*queue.Envelope) {}, io.MultiReader(strings.NewReader("x"), errReader{mine}), func(err error) bool { return err == mine }},
			{"just right", func(*queue.Envelope) {}, bytes.NewReader(make([]byte, 100)), func(err error) bool { return err == nil }},
		} {
			env := good
			env.ID = queue.NewID()
			c.edit(&env)
			if err := w.q.Accept(context.Background(), env, c.body); !c.want(err) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		w.equal("list", w.list(), "b@b.test queued 0; ")
		if err := w.store.Each(func(s queue.Summary) error {
			w.equal("arrived", s.Arrived.Equal(time.Now()), true)
			return nil
		}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
	})
}

func isAny(err error) bool { return err != nil }

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// TestBounceSigned: a bounce leaves with its signature; one that cannot be signed
// leaves all the same.
func TestBounceSigned(t *testing.T) {
	for _, c := range []struct {
		name string
		sign func([]byte) ([]byte, error)
		want string
	}{
		{"signed", func(m []byte) ([]byte, error) { return append([]byte("DKIM-Signature: v=1\r\n"), m...), nil }, "DKIM-Signature: v=1\r\n"},
		{"the key fails", func([]byte) ([]byte, error) { return nil, errors.New("the key is gone") }, "From: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(o *queue.Options) { o.Sign = c.sign }, func(w *world) {
				var jobs []queue.Job
				var bodies []string
				w.deliver = refusing(w, "remote.test", &jobs, &bodies)
				w.run()
				w.accept("morty@remote.test")
				w.pass(time.Minute)
				w.equal("bounces", len(bodies), 1)
				if !strings.HasPrefix(bodies[0], c.want) {
					t.Errorf("the bounce is\n%.300s", bodies[0])
				}
			})
		})
	}
}
