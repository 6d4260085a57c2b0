package dnssec

import (
	"errors"
	"fmt"
	"time"
)

// faultKind says how long a fault is remembered, and for whom.
type faultKind uint8

const (
	proofFault  faultKind = iota // wrong or missing proof, refusal of an upstream: 1 s to 5 min
	recordLimit                  // the records themselves are over a limit: 60 s
	lookupLimit                  // this lookup is over a limit: 60 s, but no step of it is to blame
	silence                      // no upstream answered: 1 s to 30 s
	deadline                     // this lookup took too long: as silence, but no step of it is to blame
	ours                         // our end: not remembered
)

// fault is why something could not be proved. Its state is Bogus or Failed.
type fault struct {
	state  State
	kind   faultKind
	reason string
	step   Step      // where it happened, when known
	hint   string    // what an administrator can do about it
	until  time.Time // when it came from memory: to be remembered so long and no longer
}

// ofLookup reports whether the fault lies in the lookup as a whole. Such a
// fault must not be remembered for the zone that it met last: by a CNAME from
// a costly zone anybody could shut out another one.
func (f *fault) ofLookup() bool {
	return f.kind == lookupLimit || f.kind == deadline || f.kind == ours
}

// Error returns the reason.
func (f *fault) Error() string { return f.reason }

func bogus(format string, args ...any) error {
	return &fault{state: Bogus, reason: fmt.Sprintf(format, args...)}
}

func failed(format string, args ...any) error {
	return &fault{state: Failed, reason: fmt.Sprintf(format, args...)}
}

func tooMany(format string, args ...any) error {
	return &fault{state: Failed, kind: recordLimit, reason: fmt.Sprintf(format, args...)}
}

// asFault returns the fault that err is; an error of any other type is a
// failure, which is temporary.
func asFault(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	return &fault{state: Failed, reason: err.Error()}
}

func isBogus(err error) bool { return err != nil && asFault(err).state == Bogus }

func plural(n int, what string) string { return fmt.Sprintf("%d %s", n, what) }
