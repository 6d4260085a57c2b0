package boltstore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dancemta/queue"
)

const (
	envCrashes     = "DANCEMTA_CRASHES" // how many kills
	defaultCrashes = 20                 // a few seconds
	// A child that has not come to its step by then is ended otherwise.
	childLimit = 10 * time.Second
)

// crashSteps are the steps at which a child kills itself.
var crashSteps = []string{
	"body read", "spool create", "spool write", "spool fsync", "spool rename", "spool folder fsync",
	"journal write", "journal fsync", "journal written", "before commit", "after commit", "spool remove",
}

// TestCrash kills a program that takes and ends messages, again and again on
// one store, at each named step and at random times. What was acknowledged is
// there, whole; what was ended does not come back; each failure has one bounce.
func TestCrash(t *testing.T) {
	crashes := defaultCrashes
	if s := os.Getenv(envCrashes); s != "" {
		var err error
		if crashes, err = strconv.Atoi(s); err != nil {
			t.Fatalf("%s: %v", envCrashes, err)
		}
	}
	dir := t.TempDir()
	l := newLedger()
	histogram := map[string]int{}
	for i := range crashes {
		step := "" // every second kill comes from outside
		if i%2 == 0 {
			step = crashSteps[i/2%len(crashSteps)]
		}
		last := runChild(t, dir, step, l)
		histogram[last]++
		l.check(t, dir)
		if t.Failed() {
			t.Fatalf("after kill %d, at %q; the step asked for was %q", i+1, last, step)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(histogram)) {
		t.Logf("%4d × %s", histogram[s], s)
	}
	have, done := l.counts()
	t.Logf("%d messages acknowledged, %d ended, %d bounces", have, done, len(l.bounces))
	if have == 0 || done == 0 || len(l.bounces) == 0 {
		t.Error("too little happened to prove anything")
	}
}

// runChild lets a child work until it is killed, enters its lines and returns
// the last step that it came to.
func runChild(t *testing.T, dir, step string, l *ledger) (last string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.ExtraFiles = []*os.File{w} // descriptor 3
	cmd.Env = append(os.Environ(), envCrashDir+"="+dir)
	if step != "" {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d %s", envCrashStep, 1+rand.IntN(8), step))
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	lines := bufio.NewScanner(r)
	kill := time.AfterFunc(childLimit, func() { cmd.Process.Kill() })
	defer kill.Stop()
	for n := 0; lines.Scan(); n++ {
		if n == 0 && step == "" {
			kill.Reset(time.Duration(rand.Int64N(int64(40 * time.Millisecond))))
		}
		verb, rest, _ := strings.Cut(lines.Text(), " ")
		if verb == "step" {
			last = rest
		} else if err := l.enter(verb, strings.Fields(rest)); err != nil {
			t.Errorf("%q: %v", lines.Text(), err)
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the child was not killed: %v\n%s", err, out.Bytes())
	}
	if step != "" && last != step && !kill.Stop() {
		t.Errorf("the child did not come to %q in %v", step, childLimit)
	}
	return last
}

// fate is what is known of a message.
type fate struct {
	have   bool         // acknowledged
	ending queue.Result // a settlement with this result was begun; Deferred: none that ends
	gone   bool         // it was ended, or found to be
	bounce bool         // it is a bounce
}

// ledger holds what the children have said, and what was found.
type ledger struct {
	fates   map[queue.ID]*fate
	bounces map[queue.ID]queue.ID // failed message → its bounce
}

func newLedger() *ledger {
	return &ledger{fates: map[queue.ID]*fate{}, bounces: map[queue.ID]queue.ID{}}
}

func (l *ledger) counts() (have, gone int) {
	for _, f := range l.fates {
		if f.have {
			have++
		}
		if f.gone {
			gone++
		}
	}
	return have, gone
}

func (l *ledger) fate(id queue.ID) *fate {
	if l.fates[id] == nil {
		l.fates[id] = &fate{}
	}
	return l.fates[id]
}

// enter takes in one line of a child.
func (l *ledger) enter(verb string, words []string) error {
	if len(words) == 0 || verb == "fault" {
		return errors.New("the child failed")
	}
	id := queue.ID(words[0])
	f := l.fate(id)
	switch {
	case verb == "have":
		f.have = true
	case verb == "end" && f.gone:
		return errors.New("is delivered again, although it was ended")
	case verb == "end" || verb == "done":
		if words[1] == queue.Deferred.String() {
			return nil
		}
		f.ending = queue.Failed
		if words[1] == queue.Delivered.String() {
			f.ending = queue.Delivered
		}
		f.gone = verb == "done"
		if words[2] != "-" {
			return l.bounced(queue.ID(words[2]), id)
		}
	}
	return nil
}

// bounced notes the bounce of a message; there may be but one.
func (l *ledger) bounced(failed, bounce queue.ID) error {
	if other, ok := l.bounces[failed]; ok && other != bounce {
		return fmt.Errorf("%s has two bounces, %s and %s", failed, other, bounce)
	}
	l.bounces[failed] = bounce
	l.fate(bounce).bounce = true
	return nil
}

// check reads the store that a kill has left.
func (l *ledger) check(t *testing.T, dir string) {
	t.Helper()
	expectSound(t, dir, false)
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	there := map[queue.ID]bool{}
	err = s.Each(func(sum queue.Summary) error {
		there[sum.ID] = true
		return l.checkBody(s, sum.ID)
	})
	if err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	expectSound(t, dir, true)
	for id, f := range l.fates {
		switch {
		case there[id] && f.gone:
			t.Errorf("%s is there, although it was ended", id)
		case !there[id] && f.have && !f.gone && f.ending == queue.Deferred:
			t.Errorf("%s was acknowledged and is lost", id)
		case !there[id] && f.ending != queue.Deferred:
			f.gone = true
		case there[id]:
			f.have = true             // as good as acknowledged from now on
			f.ending = queue.Deferred // the settlement did not happen
		}
		if _, ok := l.bounces[id]; f.gone && ok != (f.ending == queue.Failed) {
			t.Errorf("%s ended as %v; it has a bounce: %v", id, f.ending, ok)
		} else if !f.gone && ok {
			t.Errorf("%s has a bounce and is still to be delivered", id)
		}
	}
}

// checkBody compares a body with what must be in it.
func (l *ledger) checkBody(s *Store, id queue.ID) error {
	r, err := s.Body(id)
	if err != nil {
		return err
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if failed, ok := bounceOf(body); ok {
		return l.bounced(failed, id)
	}
	if !bytes.Equal(body, crashBody(id)) {
		return fmt.Errorf("%s: %d octets, %d are expected, or others", id, len(body), len(crashBody(id)))
	}
	return nil
}
