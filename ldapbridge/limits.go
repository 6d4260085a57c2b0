package ldapbridge

import (
	"time"

	"dancemta/ldapbridge/message"
)

// Limits bounds one connection. A zero field takes the default beside it.
type Limits struct {
	Message message.Limits // 256 KiB (16 KiB before a bind), 64 levels, 20,000 elements

	Handshake  time.Duration // 10 s, or what a judged one may take: the whole TLS handshake
	Request    time.Duration // 30 s: from the first octet of a message to its last
	Idle       time.Duration // 15 min: a bound client without a request; many keep connections for later
	Anonymous  time.Duration // 1 min: the same before a bind
	Connection time.Duration // 24 h: from accept to close
	Write      time.Duration // 1 min: until the client takes what is written, 64 KiB at the most
	LeaseIdle  time.Duration // 30 s: how long a client keeps a connection to the server for its next operation
	Paging     time.Duration // 5 min: the same while a paged search is open, whose cookie belongs to it

	Binds     int // 10: refused binds in a row before a Notice of Disconnection
	Refusals  int // 100: the same for operations
	PerDomain int // 150: clients of one domain with operations outstanding
	Entries   int // entries that a search may bring; 0: as many as the server gives
	Seconds   int // that a search may take; 0: as many as the server gives
}

// withDefaults returns l with every zero field filled in.
func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&l.Request, 30 * time.Second}, {&l.Idle, 15 * time.Minute}, {&l.Anonymous, time.Minute},
		{&l.Connection, 24 * time.Hour}, {&l.Write, time.Minute}, {&l.LeaseIdle, 30 * time.Second}, {&l.Paging, 5 * time.Minute}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if l.Binds == 0 {
		l.Binds = 10
	}
	if l.PerDomain == 0 {
		l.PerDomain = 150 // three quarters of what upstream.Options has
	}
	if l.Refusals == 0 {
		l.Refusals = 100
	}
	return l
}

// unboundMessage is the largest request of a client who has not bound: 4,000 of them,
// each in the middle of one, take 64 MB.
const unboundMessage = 16 << 10

// smallBuffer is what an idle connection keeps for its next request: most fit.
const smallBuffer = 512
