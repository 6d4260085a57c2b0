package main

import (
	"strings"
	"testing"

	"dancemta/internal/mailaddr"
	"dancemta/queue/deliver/smtpclient"
)

func TestSendAsksForReports(t *testing.T) {
	for _, c := range []struct {
		flags               dsnFlags
		notify, ret, refuse string
	}{
		{dsnFlags{}, "", "", ""},
		{dsnFlags{notify: "never", ret: "hdrs", envid: "order 4711"}, "NEVER", "HDRS", ""},
		{dsnFlags{notify: "Success,delay", ret: "FULL"}, "SUCCESS,DELAY", "FULL", ""},
		{dsnFlags{notify: "never,failure"}, "", "", "stands alone"},
		{dsnFlags{notify: "failure,failure"}, "", "", "twice"},
		{dsnFlags{notify: "always"}, "", "", "-N"},
		{dsnFlags{notify: "failure, delay"}, "", "", "-N"},
		{dsnFlags{ret: "body"}, "", "", "-R"},
		{dsnFlags{envid: strings.Repeat("x", 101)}, "", "", "-V"},
		{dsnFlags{envid: "a\r\nRCPT TO:<b@c>"}, "", "", "-V"},
	} {
		m := smtpclient.Message{Recipients: smtpclient.To(mailaddr.MustParse("a@b.test"), mailaddr.MustParse("c@b.test"))}
		err := c.flags.ask(&m)
		if c.refuse != "" {
			if err == nil || !strings.Contains(err.Error(), c.refuse) {
				t.Errorf("%+v: %v, want %q", c.flags, err, c.refuse)
			}
			continue
		}
		if err != nil || m.Return != c.ret || m.EnvelopeID != c.flags.envid || m.Recipients[0].Notify != c.notify || m.Recipients[1].Notify != c.notify {
			t.Errorf("%+v: %+v, %v", c.flags, m, err)
		}
	}
}
