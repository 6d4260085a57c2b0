package smtpd

import (
	"github.com/emersion/go-smtp"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// asked is what MAIL asked for the message; the queue keeps it.
type asked struct {
	size       int64 // that the message is said to have; 0: nothing was said
	eightBit   bool
	utf8       bool   // RFC 6531: addresses and header may be UTF-8
	requireTLS bool   // RFC 8689
	envid      string // RFC 3461 4.4
	ret        queue.Return
}

func askedOf(o *smtp.MailOptions) asked {
	a := asked{size: o.Size, eightBit: o.Body == smtp.Body8BitMIME, utf8: o.UTF8, requireTLS: o.RequireTLS, envid: o.EnvelopeID}
	switch o.Return {
	case smtp.DSNReturnFull:
		a.ret = queue.ReturnFull
	case smtp.DSNReturnHeaders:
		a.ret = queue.ReturnHeaders
	}
	return a
}

// notifyBits are RFC 3461 4.1's words.
var notifyBits = map[smtp.DSNNotify]queue.Notify{
	smtp.DSNNotifyNever:   queue.NotifyNever,
	smtp.DSNNotifySuccess: queue.NotifySuccess,
	smtp.DSNNotifyFailure: queue.NotifyFailure,
	smtp.DSNNotifyDelayed: queue.NotifyDelay,
}

// recipient is to with what RCPT asked for it.
func recipient(to mailaddr.Address, o *smtp.RcptOptions) queue.Recipient {
	r := queue.Recipient{Address: to}
	for _, word := range o.Notify {
		r.Notify |= notifyBits[word]
	}
	if o.OriginalRecipient != "" {
		r.Original = string(o.OriginalRecipientType) + ";" + o.OriginalRecipient
	}
	return r
}
