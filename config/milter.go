package config

import (
	"fmt"
	"slices"
	"time"
)

// OnFailure is what becomes of mail when a milter fails.
type OnFailure string

// The values of on_failure.
const (
	FailureTemporary OnFailure = "temporary"
	FailureAccept    OnFailure = "accept"
)

var onFailures = []OnFailure{FailureTemporary, FailureAccept}

// UnmarshalText accepts the known words only.
func (o *OnFailure) UnmarshalText(b []byte) error { return oneOf(o, b, onFailures) }

// maxMilterTime is what a client waits for the reply to its dot (RFC 5321 4.5.3.2.6),
// less a minute for the queue.
const maxMilterTime = 9 * time.Minute

func checkMilters(c *Config, f *faults) {
	for i, m := range c.Milters {
		path := fmt.Sprintf("milter[%d]", i)
		f.required(path+".address", `such as "127.0.0.1:11332" or "unix:/run/milter"`)
		checkListenerNames(c, f, path, m.Listeners)
		for key, d := range map[string]Duration{".timeout": m.Timeout, ".message_timeout": m.MessageTimeout} {
			if d.Duration > maxMilterTime {
				f.key(path+key, fmt.Sprintf("%v is longer than clients wait", d.Duration), fmt.Sprintf("write at most %q", "9m"))
			}
		}
	}
}

// MiltersOf are the milters that a listener asks, in the order of the file.
func (c *Config) MiltersOf(listener string) (ms []Milter) {
	for _, m := range c.Milters {
		if len(m.Listeners) == 0 || slices.Contains(m.Listeners, listener) {
			ms = append(ms, m)
		}
	}
	return ms
}
