package dsn

import "time"

// explain writes the part for people.
func explain(r Report) []byte {
	w := &lines{}
	w.line("This is the mail system at host " + r.Hostname + ".")
	for _, a := range []Action{Failed, Delayed, Relayed, Delivered} {
		if !r.has(a) {
			continue
		}
		w.line("")
		for _, l := range wrap(r.intro(a), maxLine) {
			w.line(l)
		}
		for _, rcpt := range r.Recipients {
			if rcpt.Action == a {
				w.explain(rcpt, r)
			}
		}
	}
	w.line("")
	w.line("The queue id was " + atom(r.QueueID) + ".")
	return w.b.Bytes()
}

// intro says what became of the recipients with a.
func (r Report) intro(a Action) string {
	switch {
	case r.Misdirected:
		return "A notification could not be delivered to the recipients below. " +
			"It has no sender who could be told, so this message comes to you."
	case a == Delayed:
		return "Your message has not been delivered to the recipients below yet. " +
			"It is still being tried; there is no need to send it again."
	case a == Relayed:
		return "Your message was handed on for the recipients below, " +
			"to a mail system that will not report whether it arrives."
	case a == Delivered:
		return "Your message was delivered to the recipients below."
	}
	return "Your message could not be delivered to the recipients below. Nothing more will be tried."
}

func (w *lines) explain(rcpt Recipient, r Report) {
	w.line("")
	w.line("<" + rcpt.Address.String() + ">")
	for _, l := range wrap(rcpt.reason(r), maxLine-4) {
		w.line("    " + l)
	}
}

func (rcpt Recipient) reason(r Report) string {
	reply, remote := clean(rcpt.Reply), atom(rcpt.RemoteMTA)
	var s string
	switch {
	case isSocket(remote) && reply != "":
		s = "the mail store said: " + reply
	case remote != "" && reply != "":
		s = "host " + remote + " said: " + reply
	case reply != "":
		s = reply
	case rcpt.Action == Relayed || rcpt.Action == Delivered:
		s = "it was taken"
	default:
		s = "no reason is known"
	}
	switch {
	case rcpt.Expired:
		s = "it could not be delivered since " + r.Arrived.UTC().Format(time.RFC1123Z) + "; last attempt: " + s
	case rcpt.Action == Delayed && !rcpt.RetryUntil.IsZero():
		s = "last attempt: " + s + "; it will be tried until " + rcpt.RetryUntil.UTC().Format(time.RFC1123Z)
	}
	return s
}
