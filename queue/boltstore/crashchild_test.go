package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// What the crash test tells its child, which is this test binary again.
const (
	envCrashDir  = "DANCEMTA_CRASH_DIR"  // the store
	envCrashStep = "DANCEMTA_CRASH_STEP" // "n name": kill yourself at the n-th step of this name
)

const (
	childWriters = 4
	childJournal = 256 << 10 // so that there are checkpoints
	childPipe    = 3         // descriptor of the lines to the parent
)

// crashChild takes and ends messages until it is killed, if it was asked to.
// Before and after each promise it writes a line to its parent.
func crashChild() bool {
	dir := os.Getenv(envCrashDir)
	if dir == "" {
		return false
	}
	c := &child{pipe: os.NewFile(childPipe, "pipe")}
	n, step, _ := strings.Cut(os.Getenv(envCrashStep), " ")
	nth, _ := strconv.Atoi(n)
	var seen atomic.Int64
	s, err := Open(dir, Options{JournalBytes: childJournal, Step: func(name string) {
		c.say("step", name)
		if name == step && int(seen.Add(1)) == nth {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	if err != nil {
		c.say("fault", err)
		return true
	}
	c.store = s
	var all sync.WaitGroup
	for range childWriters {
		all.Go(c.write)
	}
	all.Go(c.deliver)
	all.Wait()
	return true
}

type child struct {
	store *Store
	pipe  *os.File
}

// say writes one line; it is short enough to be written whole or not at all.
func (c *child) say(words ...any) { fmt.Fprintln(c.pipe, words...) }

func (c *child) write() {
	for {
		env := mail(fmt.Sprintf("d%d.test", rand.IntN(3)))
		c.say("take", env.ID)
		if err := c.store.Put(context.Background(), env, time.Now(), bytes.NewReader(crashBody(env.ID))); err != nil {
			c.say("fault", "put", err)
			return
		}
		c.say("have", env.ID)
	}
}

// crashBody makes a body that only this message has; about one in four is
// large.
func crashBody(id queue.ID) []byte {
	sizes := []int{300, 5000, 60 << 10, 80 << 10}
	line := []byte(string(id) + "\r\n")
	return bytes.Repeat(line, sizes[id[len(id)-1]%4]/len(line))
}

// deliver ends what is due: with each result, and a bounce for each failure.
func (c *child) deliver() {
	for {
		now := time.Now()
		jobs, _, err := c.store.Due(queue.DueRequest{Now: now, Max: 5, Limit: func(string) int { return 3 },
			Next: func(queue.Envelope, int) time.Time { return now.Add(time.Millisecond) }})
		if err != nil {
			c.say("fault", "due", err)
			return
		}
		for _, j := range jobs {
			if err := c.end(j); err != nil {
				c.say("fault", j.ID, err)
				return
			}
		}
	}
}

func (c *child) end(j queue.Job) error {
	body, err := readJob(j)
	if err != nil {
		return err
	}
	st := queue.Settlement{ID: j.ID, Destination: j.Destination, Next: time.Now()}
	result, of := queue.Delivered, "-"
	if failed, bounce := bounceOf(body); bounce {
		of = string(failed)
	} else {
		if !bytes.Equal(body, crashBody(j.ID)) {
			return errors.New("the body is not what was put")
		}
		result = queue.Result(rand.IntN(3))
	}
	st.Outcomes = []queue.Outcome{{Recipient: j.Recipients[0].Address, Result: result}}
	if result == queue.Failed {
		env := mail("sender.test")
		env.Sender = mailaddr.Address{}
		st.Bounce = &queue.Bounce{Envelope: env, Body: []byte(bouncePrefix + string(j.ID))}
	}
	c.say("end", j.ID, result, of)
	if err := c.store.Settle(st); err != nil {
		return err
	}
	c.say("done", j.ID, result, of)
	return nil
}

const bouncePrefix = "bounce of "

// bounceOf reads the body of a bounce.
func bounceOf(body []byte) (failed queue.ID, ok bool) {
	rest, ok := bytes.CutPrefix(body, []byte(bouncePrefix))
	return queue.ID(rest), ok
}

func readJob(j queue.Job) ([]byte, error) {
	r, err := j.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
