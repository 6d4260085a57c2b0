package queue

import "dancemta/internal/mailaddr"

// Recipient is one address of a message with what its sender asked for it.
type Recipient struct {
	Address  mailaddr.Address
	Notify   Notify // RFC 3461 4.1
	Original string // ORCPT, decoded: "rfc822;rick@x.test"; empty: not given (RFC 3461 4.2)
}

// String returns the address.
func (r Recipient) String() string { return r.Address.String() }

// Notify says which reports a recipient's sender wants. The zero value: nothing was
// said, which means failures, and delays as we see fit (RFC 3461 4.1).
type Notify uint8

// The bits of Notify. NotifyNever stands alone.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// wants reports whether the sender wants to hear of one of these bits. Where he said
// nothing, he hears of what he would miss (RFC 3461 4.1).
func (n Notify) wants(what Notify) bool {
	switch {
	case n&NotifyNever != 0:
		return false
	case n == 0:
		return what != NotifySuccess
	}
	return n&what != 0
}

// Return says how much of the message comes back with a report (RFC 3461 4.3).
type Return uint8

// The values of Return.
const (
	ReturnUnset Return = iota
	ReturnFull
	ReturnHeaders
)

// To makes recipients that ask for nothing.
func To(addresses ...mailaddr.Address) []Recipient {
	all := make([]Recipient, len(addresses))
	for i, a := range addresses {
		all[i].Address = a
	}
	return all
}
