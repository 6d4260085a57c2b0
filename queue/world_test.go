package queue_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
	"dancemta/queue/boltstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deliverFunc is a deliverer as a test writes it.
type deliverFunc func(ctx context.Context, job queue.Job) []queue.Outcome

// Deliver makes w a Deliverer.
func (w *world) Deliver(ctx context.Context, v queue.Visit) {
	w.mu.Lock()
	w.begun[v.Destination()]++
	w.mu.Unlock()
	deliverFunc(w.attempt).Deliver(ctx, v)
}

func (f deliverFunc) Deliver(ctx context.Context, v queue.Visit) {
	for job, ok := v.Next(); ok; job, ok = v.Next() {
		v.Report(job, f(ctx, job))
	}
}

// all gives every recipient of job the same outcome.
func all(job queue.Job, r queue.Result, reply string) []queue.Outcome {
	var out []queue.Outcome
	for _, a := range job.Recipients {
		out = append(out, queue.Outcome{Recipient: a.Address, Result: r, Reply: reply, RemoteMTA: "mx." + job.Destination})
	}
	return out
}

// attempt is what the world saw of one delivery.
type attempt struct {
	at    time.Duration // since the world's start
	dest  string
	n     int
	rcpts string
	id    queue.ID
}

// world is a queue with its store, in a bubble where time is fake.
type world struct {
	t       *testing.T
	dir     string
	store   queue.Store
	q       *queue.Queue
	start   time.Time
	log     syncBuffer
	deliver func(ctx context.Context, job queue.Job) []queue.Outcome

	mu       sync.Mutex
	attempts []attempt
	begun    map[string]int // visits, by destination
	now      map[string]int // deliveries under way, by destination and ""
	most     map[string]int

	stop func() error // ends Run and returns its error
}

// inWorld runs a story in a bubble. edit may change the options.
func inWorld(t *testing.T, edit func(*queue.Options), story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: t.TempDir(), start: time.Now(), begun: map[string]int{}, now: map[string]int{}, most: map[string]int{}}
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome { return all(job, queue.Delivered, "250 ok") }
		w.open(edit)
		defer func() { w.close() }()
		story(w)
	})
}

func (w *world) open(edit func(*queue.Options)) {
	w.t.Helper()
	s, err := boltstore.Open(w.dir, boltstore.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	o := queue.Options{
		Store: s, Deliverer: w, Hostname: "mx.example.test",
		Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
	if edit != nil {
		edit(&o)
	}
	w.store = o.Store
	if w.q, err = queue.New(o); err != nil {
		w.t.Fatal(err)
	}
}

// run starts the queue.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.q.Run(ctx) }()
	w.stop = sync.OnceValue(func() error { cancel(); return <-done })
}

// runFor runs the queue here and now.
func (w *world) runFor(d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return w.q.Run(ctx)
}

func (w *world) close() {
	if w.stop != nil {
		w.stop()
	}
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) attempt(ctx context.Context, job queue.Job) []queue.Outcome {
	w.mu.Lock()
	w.attempts = append(w.attempts, attempt{time.Since(w.start), job.Destination, job.Attempt, fmt.Sprint(job.Recipients), job.ID})
	for _, d := range []string{"", job.Destination} {
		w.now[d]++
		w.most[d] = max(w.most[d], w.now[d])
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.now[""]--
		w.now[job.Destination]--
	}()
	return w.deliver(ctx, job)
}

// peak is the most deliveries under way to one destination, or with "" to all; calls
// is how many visits there were.
func (w *world) peak(dest string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most[dest]
}

func (w *world) calls(dest string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.begun[dest]
}

// visits counts the deliveries under way to one destination.
func (w *world) visits(dest string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now[dest]
}

// count counts those to destinations of a prefix; total, all attempts.
func (w *world) count(prefix string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for d, under := range w.now {
		if d != "" && strings.HasPrefix(d, prefix) {
			n += under
		}
	}
	return n
}

func (w *world) total(prefix string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.attempts {
		if strings.HasPrefix(a.dest, prefix) {
			n++
		}
	}
	return n
}

// position is how many attempts were made before the first to a destination.
func (w *world) position(dest string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.IndexFunc(w.attempts, func(a attempt) bool { return a.dest == dest })
}

// replies is what the list shows of each recipient.
func (w *world) replies() string {
	w.t.Helper()
	var b strings.Builder
	err := w.store.Each(func(s queue.Summary) error {
		for _, r := range s.Recipients {
			fmt.Fprintln(&b, r.Address, r.LastReply)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return b.String()
}

// tried returns the attempts to one destination.
func (w *world) tried(dest string) (got []attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.attempts {
		if a.dest == dest {
			got = append(got, a)
		}
	}
	return got
}

const original = "From: rick@partner.test\r\nSubject: portal\r\n\r\nWubba lubba dub dub.\r\n"

// accept takes a message from rick.
func (w *world) accept(rcpts ...string) queue.ID {
	w.t.Helper()
	return w.acceptFrom("rick@partner.test", original, rcpts...)
}

func (w *world) acceptFrom(sender, body string, rcpts ...string) queue.ID {
	w.t.Helper()
	return w.acceptEnvelope(queue.Envelope{Identity: "rick@partner.test"}, sender, body, rcpts...)
}

// acceptOf takes a short message of a sender who has proved to be identity, or nobody.
func (w *world) acceptOf(identity, sender string, rcpts ...string) queue.ID {
	w.t.Helper()
	return w.acceptEnvelope(queue.Envelope{Identity: identity}, sender, original, rcpts...)
}

func (w *world) acceptEnvelope(env queue.Envelope, sender, body string, rcpts ...string) queue.ID {
	w.t.Helper()
	env.ID, env.Session, env.Helo, env.Peer = queue.NewID(), "S1", "portal.partner.test", "192.0.2.7:4711"
	if sender != "" {
		env.Sender = mailaddr.MustParse(sender)
	}
	for _, r := range rcpts {
		env.Recipients = append(env.Recipients, queue.To(mailaddr.MustParse(r))...)
	}
	if err := w.q.Accept(context.Background(), env, strings.NewReader(body)); err != nil {
		w.t.Fatal(err)
	}
	return env.ID
}

// pass lets time go by until everything that can happen in it has.
func (w *world) pass(d time.Duration) {
	time.Sleep(d) // fake time
	synctest.Wait()
}

// takes lets a delivery take its time.
func (w *world) takes(d time.Duration) { time.Sleep(d) } // fake time

// list is what the store holds, a line per recipient.
func (w *world) list() string {
	w.t.Helper()
	var b strings.Builder
	err := w.store.Each(func(s queue.Summary) error {
		for _, r := range s.Recipients {
			fmt.Fprintf(&b, "%s %s %d; ", r.Address, r.State, r.Attempts)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return b.String()
}

// lines returns the log lines of one event, without time and level.
func (w *world) lines(event string) (got []string) {
	for l := range strings.SplitSeq(w.log.String(), "\n") {
		_, msg, _ := strings.Cut(l, " msg=")
		if rest, ok := strings.CutPrefix(strings.ReplaceAll(msg, `"`, ""), event+" "); ok {
			got = append(got, rest)
		}
	}
	return got
}

func (w *world) equal(what string, got, want any) {
	w.t.Helper()
	if g, x := fmt.Sprint(got), fmt.Sprint(want); g != x {
		w.t.Errorf("%s: got %s, want %s", what, g, x)
	}
}

func read(t *testing.T, job queue.Job) string {
	t.Helper()
	r, err := job.Open()
	if err != nil {
		t.Error(err)
		return ""
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
