package quotamail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"dancemta/internal/mailaddr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a notifier in a bubble, and what it sends.
type scene struct {
	*Notifier
	t    *testing.T
	stop func()

	mu     sync.Mutex
	mails  []string
	at     []time.Time
	counts map[string]int
	fail   error
	log    bytes.Buffer
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, counts: map[string]int{}}
	n, err := New(Options{
		Hostname: "mx.example.test", Postmaster: mailaddr.MustParse("postmaster@example.test"),
		Submit: func(_ context.Context, m []byte) (string, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.fail != nil {
				return "", s.fail
			}
			s.mails, s.at = append(s.mails, string(m)), append(s.at, time.Now())
			return "ID", nil
		},
		Count: func(result string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.counts[result]++
		},
		Logger: slog.New(slog.NewTextHandler(&s.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Notifier = n
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { n.Run(ctx) })
	s.stop = func() { cancel(); wait.Wait() }
	return s
}

func (s *scene) fails(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *scene) used(account string, per time.Duration) {
	s.Note(Used{Account: account, Quota: "1/x messages of one identity", Rule: `"*@example.test" (line 7)`, Window: per})
}

// after lets time pass, and demands so many mails since the start.
func (s *scene) after(d time.Duration, mails int) {
	s.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mails) != mails {
		s.t.Fatalf("%d mails, want %d\n%s", len(s.mails), mails, strings.Join(s.mails, "\n"))
	}
}

func TestOncePerWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		defer s.stop()
		for range 1000 {
			s.used("user rick@example.test", 24*time.Hour)
		}
		s.after(gather-time.Second, 0)
		s.after(time.Second, 1)
		for range 23 {
			s.used("user rick@example.test", 24*time.Hour)
			s.after(time.Hour, 1)
		}
		s.after(time.Hour, 1)
		s.used("user rick@example.test", 24*time.Hour)
		s.after(gather, 2)
		if s.counts["queued"] != 2 || !strings.Contains(s.log.String(), "accounts=1") {
			t.Errorf("%v\n%s", s.counts, s.log.String())
		}
	})
}

// TestShortWindows: of a quota per minute an hour long nothing is news.
func TestShortWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		defer s.stop()
		for range 59 {
			s.used("user rick@example.test", time.Minute)
			time.Sleep(time.Minute)
		}
		s.after(0, 1)
		s.after(time.Minute, 1)
		s.used("user rick@example.test", time.Minute)
		s.after(gather, 2)
	})
}

// TestDigest: a crowd is one mail, and the next crowd waits its turn.
func TestDigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		defer s.stop()
		for i := range 3 * maxTold {
			s.used(fmt.Sprintf("user u%d@example.test", i), time.Hour)
		}
		s.after(gather, 1)
		if m := s.mails[0]; strings.Count(m, "\r\n  quota  ") != maxNamed || !strings.Contains(m, fmt.Sprintf("and %d more", 3*maxTold-maxNamed)) || len(m) > 64<<10 {
			t.Errorf("%d octets: %.300s", len(m), m)
		}
		if len(s.told) > maxTold {
			t.Errorf("%d accounts are remembered", len(s.told))
		}
		s.used("user late@example.test", time.Hour) // there is no place to remember it
		s.after(pause-time.Second, 1)
		s.after(gather, 2)
		if !strings.Contains(s.mails[1], "and 1 more") {
			t.Error(s.mails[1])
		}
		s.after(2*time.Hour, 2)
		s.used("user late@example.test", time.Hour)
		s.after(gather, 3) // which forgets those of the first mail
		if len(s.told) != 1 && len(s.told) != 0 {
			t.Errorf("%d accounts are remembered", len(s.told))
		}
	})
}

// TestNoMoreThan: at most one mail in each pause, whatever happens.
func TestNoMoreThan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		defer s.stop()
		for i := range 24 * 60 {
			s.used(fmt.Sprintf("user u%d@example.test", i), time.Hour)
			time.Sleep(time.Minute)
		}
		s.after(0, 96)
		for i := range s.at[1:] {
			if d := s.at[i+1].Sub(s.at[i]); d < pause-time.Second {
				t.Errorf("mail %d comes %v after the one before", i+1, d)
			}
		}
	})
}

func TestQueueIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.fails(errors.New("disk full"))
		s.used("user rick@example.test", time.Hour)
		s.after(gather, 0)
		s.used("user summer@example.test", time.Hour)
		s.fails(nil)
		s.after(2*pause, 1)
		if m := s.mails[0]; !strings.Contains(m, "user rick@") || !strings.Contains(m, "user summer@") || s.counts["failed"] != 1 {
			t.Errorf("%v %s", s.counts, m)
		}
		s.used("user morty@example.test", time.Hour)
		s.stop() // what is gathered is told at the stop
		s.after(0, 2)
	})
}

func TestMessage(t *testing.T) {
	n, err := New(Options{Hostname: "mx.example.test", Postmaster: mailaddr.MustParse("postmaster@example.test"),
		Submit: func(context.Context, []byte) (string, error) { return "", nil },
		Now:    func() time.Time { return time.Date(2026, 11, 24, 20, 15, 0, 0, time.UTC) }})
	if err != nil {
		t.Fatal(err)
	}
	at := n.o.Now()
	text := n.message([]event{
		{Used{Account: "user müller@example.test", Quota: "100/h messages of one identity", Rule: `"*@example.test" (line 7)`}, at},
		{Used{Account: "user a\r\nBcc: b\x00" + strings.Repeat("ü", 5000), Quota: "q", Rule: "r"}, at},
	}, 3)
	m, err := mail.ReadMessage(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"From": "Mail Delivery System <postmaster@example.test>", "To": "<postmaster@example.test>", "Auto-Submitted": "auto-generated",
		"Subject": "Quotas used up: 5 accounts at mx.example.test", "Date": "Tue, 24 Nov 2026 20:15:00 +0000", "Bcc": "",
	} {
		if got := m.Header.Get(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	const block = "\r\nuser m\\u00fcller@example.test\r\n  quota  100/h messages of one identity\r\n  rule   \"*@example.test\" (line 7)\r\n  since  2026-11-24 20:15:00Z\r\n"
	if !bytes.Contains(text, []byte(block)) {
		t.Errorf("%s", text)
	}
	for line := range strings.SplitSeq(string(text), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") || strings.HasPrefix(line, "Bcc") {
			t.Errorf("line %q", line)
		}
	}
	for _, c := range text {
		if c >= 0x80 {
			t.Fatalf("octet %x", c)
		}
	}
}

func TestNew(t *testing.T) {
	submit := func(context.Context, []byte) (string, error) { return "", nil }
	to := mailaddr.MustParse("postmaster@example.test")
	for _, o := range []Options{{}, {Hostname: "h", Postmaster: to}, {Hostname: "h", Submit: submit}, {Postmaster: to, Submit: submit}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}
