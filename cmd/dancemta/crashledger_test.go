package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/textproto"
	"sync"
	"testing"

	"dancemta/internal/lab"
	"dancemta/queue"
	"dancemta/queue/boltstore"
)

// crashLedger compares what was promised with what came.
type crashLedger struct {
	mu    sync.Mutex
	acked map[int]bool // numbers that got their 250

	read      int            // messages of the sink that were looked at
	delivered map[int]int    // number → how many times it came
	bounces   map[int]string // number → Message-ID of its bounce
	bounced   map[int]int    // number → how many times that came
}

func newCrashLedger() crashLedger {
	return crashLedger{acked: map[int]bool{}, delivered: map[int]int{}, bounces: map[int]string{}, bounced: map[int]int{}}
}

func (l *crashLedger) acknowledged(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[n] = true
}

// check looks at what a kill has left: each acknowledged message has come, or is in
// the queue, whole.
func (l *crashLedger) check(t *testing.T, sink *lab.Sink, dir string) {
	t.Helper()
	waiting, bouncing, err := readQueue(dir)
	if err != nil {
		t.Error(err)
		return
	}
	l.readSink(t, sink)
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.acked {
		there := waiting[n] || l.delivered[n] > 0 || fails(n) && (bouncing[n] || l.bounced[n] > 0)
		if !there {
			t.Errorf("message %d was acknowledged and is lost", n)
		}
		if fails(n) && waiting[n] && (bouncing[n] || l.bounced[n] > 0) {
			t.Errorf("message %d has its bounce and is still in the queue", n)
		}
		if !waiting[n] && !bouncing[n] && there {
			delete(l.acked, n) // it has come
		}
	}
}

// checkEnd looks when the queue is empty.
func (l *crashLedger) checkEnd(t *testing.T, sink *lab.Sink) {
	t.Helper()
	l.readSink(t, sink)
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.acked {
		if l.delivered[n] == 0 && l.bounced[n] == 0 {
			t.Errorf("message %d was acknowledged and did not come", n)
		}
	}
	if len(l.delivered) == 0 || len(l.bounces) == 0 {
		t.Error("too little happened to prove anything")
	}
}

// readSink enters what came since the last kill. Within the life of one server
// nothing comes twice: only a kill may cut off the outcome of a delivery.
func (l *crashLedger) readSink(t *testing.T, sink *lab.Sink) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	all := sink.Messages()
	here := map[string]bool{}
	for _, m := range all[l.read:] {
		key, err := l.enter(m.From, m.Data)
		if err != nil {
			t.Error(err)
		}
		if here[key] {
			t.Errorf("%s came twice from one server", key)
		}
		here[key] = true
	}
	l.read = len(all)
}

// enter notes a message that came.
func (l *crashLedger) enter(from string, data []byte) (key string, err error) {
	n, bounce, err := numberOf(from, data)
	switch {
	case err != nil:
		return "", err
	case bounce == "" && fails(n):
		return "", fmt.Errorf("message %d was refused and came", n)
	case bounce == "":
		l.delivered[n]++
		return fmt.Sprintf("message %d", n), nil
	case !fails(n):
		return "", fmt.Errorf("message %d has a bounce and was not refused", n)
	case l.bounces[n] != "" && l.bounces[n] != bounce:
		return "", fmt.Errorf("message %d has two bounces", n)
	}
	l.bounces[n] = bounce
	l.bounced[n]++
	return fmt.Sprintf("bounce of message %d", n), nil
}

func (l *crashLedger) summary() string {
	repeated := 0
	for _, m := range []map[int]int{l.delivered, l.bounced} {
		for _, times := range m {
			repeated += times - 1
		}
	}
	return fmt.Sprintf("%d messages came, %d have one bounce each; %d deliveries repeated after a kill", len(l.delivered), len(l.bounces), repeated)
}

// readQueue reads a queue whose server was killed: the numbers of its messages, and
// those of which it holds a bounce.
func readQueue(dir string) (waiting, bouncing map[int]bool, err error) {
	s, err := boltstore.Open(dir, boltstore.Options{ReadOnly: true})
	if err != nil {
		return nil, nil, err
	}
	defer s.Close()
	waiting, bouncing = map[int]bool{}, map[int]bool{}
	err = s.Each(func(sum queue.Summary) error {
		r, err := s.Body(sum.ID)
		if err != nil {
			return err
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		from := sum.Sender.String()
		if sum.Sender.IsNull() {
			from = ""
		}
		n, bounce, err := numberOf(from, data)
		if err != nil {
			return err
		}
		if bounce != "" {
			bouncing[n] = true
		} else {
			waiting[n] = true
		}
		return nil
	})
	return waiting, bouncing, err
}

// numberOf demands a whole message, or a bounce of one, whose Message-ID it returns.
func numberOf(from string, data []byte) (n int, bounce string, err error) {
	subject := []byte("\r\nSubject: ")
	if from == "" {
		header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(data))).ReadMIMEHeader()
		if err != nil {
			return 0, "", err
		}
		bounce = header.Get("Message-ID")
	}
	at := bytes.LastIndex(data, subject)
	if at < 0 || from == "" && bounce == "" {
		return 0, "", fmt.Errorf("a message without its header: %.200q", data)
	}
	if _, err := fmt.Fscanf(bytes.NewReader(data[at+len(subject):]), "%d", &n); err != nil {
		return 0, "", err
	}
	if bounce == "" && !bytes.HasSuffix(data, fmt.Appendf(nil, "\r\nend %d\r\n", n)) {
		return 0, "", fmt.Errorf("message %d is not whole: %w", n, io.ErrUnexpectedEOF)
	}
	return n, bounce, nil
}
