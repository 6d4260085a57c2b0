package main

import (
	"testing"

	"dancemta/queue"
	"dancemta/smtpd/callout"
)

// Only a host that speaks can say for good that there is no mailbox.
func TestAnswerOf(t *testing.T) {
	for _, c := range []struct {
		outcome queue.Outcome
		want    callout.Answer
	}{
		{queue.Outcome{Result: queue.Delivered, RemoteMTA: "mx.test"}, callout.Exists},
		{queue.Outcome{Result: queue.Failed, RemoteMTA: "mx.test", Status: "5.1.1"}, callout.Absent},
		{queue.Outcome{Result: queue.Failed, Status: "5.4.6"}, callout.Unknown}, // a loop of ours
		{queue.Outcome{Result: queue.Deferred, RemoteMTA: "mx.test"}, callout.Unknown},
		{queue.Outcome{}, callout.Unknown},
	} {
		if got := answerOf(c.outcome); got != c.want {
			t.Errorf("%+v: %d, want %d", c.outcome, got, c.want)
		}
	}
}
