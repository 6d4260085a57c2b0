package smtpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/emersion/go-smtp"

	"dancemta/daneclient"
	"dancemta/internal/msgauth"
	"dancemta/queue"
	"dancemta/saslext"
	"dancemta/saslext/door"
)

func TestReplies(t *testing.T) {
	for a, want := range map[answer]string{
		ownTrouble:           "451 4.3.0 Trouble on our side, try again later [S]",
		storeFull:            "452 4.3.1 No room to keep mail now, try again later [S]",
		tooBig:               "552 5.3.4 Message is too big [S]",
		longHeader:           "552 5.3.4 Header is too long [S]",
		tooManyHops:          "554 5.4.6 Too many Received fields, this is a mail loop [S]",
		queued:               "250 2.6.0 queued as",
		nestedMail:           "503 5.5.1 A mail transaction is open already [S]",
		noMail:               "503 5.5.1 MAIL first [S]",
		noRecipients:         "554 5.5.1 No valid recipients [S]",
		badSender:            "501 5.1.7 Sender is not a mail address [S]",
		badRecipient:         "501 5.1.3 Recipient is not a mail address [S]",
		notASCII:             "553 5.6.7 Address is not ASCII [S]",
		tooManyRecipients:    "452 4.5.3 Too many recipients, send the rest in another message [S]",
		unqualifiedSender:    "554 5.1.8 The domain of the sender is not fully qualified [S]",
		unqualifiedRecipient: "554 5.1.2 The domain of the recipient is not fully qualified [S]",
		loginRequired:        "530 5.7.0 Authentication required [S]",
		senderNotOwned:       "553 5.7.1 This sender address is not for [S]",
		relayRefused:         "550 5.7.1 Relaying denied [S]",
		recipientRefused:     "550 5.7.1 This recipient is not for [S]",
		unknownUser:          "550 5.1.1 No such mailbox here [S]",
		nullMXRecipient:      "556 5.1.10 This domain takes no mail: [S]",
		nullMXSender:         "550 5.7.27 No mail from a domain that takes none: [S]",
		cannotJudge:          "451 4.7.5 Cannot verify your certificate now, try again later [S]",
		authRefused:          "535 5.7.8 Authentication failed [S]",
		authTrouble:          "454 4.7.0 Temporary authentication failure [S]",
		authMalformed:        "501 5.5.4 Authorization identity is malformed [S]",
		authNotOffered:       "504 5.5.4 Mechanism is not offered here [S]",
		authTwice:            "503 5.5.1 Authenticated already [S]",
		authInMail:           "503 5.5.1 No AUTH within a mail transaction [S]",
		answerCount:          "451 4.3.0 Trouble on our side, try again later [S]", // unknown is temporary
	} {
		e := a.reply("S", "")
		if got := codes(e) + " " + e.Message; got != want {
			t.Errorf("answer %d: %q, want %q", a, got, want)
		}
		if e.Code/100 != e.EnhancedCode[0] {
			t.Errorf("answer %d: class of %d and %v differ", a, e.Code, e.EnhancedCode)
		}
	}
	for a := range answerCount {
		if answers[a].text == "" || answers[a].word == "" {
			t.Errorf("answer %d has no words", a)
		}
	}
}

func TestReplyCleansWhatItNames(t *testing.T) {
	got := senderNotOwned.reply("S", "b\u00fccher\r\n250 ok").Message
	if want := "This sender address is not for b?cher??250 ok [S]"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := queued.reply("S", strings.Repeat("x", 9999)).Message; len(got) > 600 {
		t.Errorf("%d octets", len(got))
	}
}

func TestErrorsBecomeAnswers(t *testing.T) {
	dns := &daneclient.Error{Reason: daneclient.FailedDNS}
	mismatch := &daneclient.Error{Reason: daneclient.NoMatch}
	odd := errors.New("odd")
	reset := &net.OpError{Op: "read", Err: errors.New("reset")} // its Temporary() is false
	type row struct {
		name  string
		err   error
		auth  answer
		perm  bool
		store answer
	}
	for _, c := range []row{
		{"mismatch", mismatch, authRefused, true, ownTrouble},
		{"dns", dns, authTrouble, false, ownTrouble},
		{"bogus", &daneclient.Error{Reason: daneclient.BogusDNS}, authTrouble, false, ownTrouble},
		{"user, mismatch", &saslext.Error{Reason: saslext.Unproved, Err: mismatch}, authRefused, true, ownTrouble},
		{"user, dns", &saslext.Error{Reason: saslext.Unproved, Err: dns}, authTrouble, false, ownTrouble},
		{"user, unknown cause", &saslext.Error{Reason: saslext.Unproved, Err: odd}, authTrouble, false, ownTrouble},
		{"not allowed", &saslext.Error{Reason: saslext.NotAllowed}, authRefused, true, ownTrouble},
		{"authzid denied", &saslext.Error{Reason: saslext.AuthzidDenied}, authRefused, true, ownTrouble},
		{"bad authzid", &saslext.Error{Reason: saslext.BadAuthzid}, authMalformed, true, ownTrouble},
		{"context", context.DeadlineExceeded, authTrouble, false, ownTrouble},
		{"unknown", odd, authTrouble, false, ownTrouble},
		{"socket", reset, authTrouble, false, ownTrouble},
		{"full", &queue.Error{Kind: queue.Full}, authTrouble, false, storeFull},
		{"broken", &queue.Error{Kind: queue.Broken}, authTrouble, false, ownTrouble},
		{"too big", fmt.Errorf("x: %w", &queue.Error{Kind: queue.TooBig}), authTrouble, false, tooBig},
		{"bound", fmt.Errorf("x: %w", errTooBig), authTrouble, false, tooBig},
		{"long header", fmt.Errorf("x: %w", msgauth.ErrHeader), authTrouble, false, longHeader},
		{"no room to sign", fmt.Errorf("x: %w", &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}), authTrouble, false, storeFull},
		{"loop", fmt.Errorf("x: %w", errHops), authTrouble, false, tooManyHops},
	} {
		if got := authAnswer(c.err); got != c.auth {
			t.Errorf("%s at AUTH: %s, want %s", c.name, got.word(), c.auth.word())
		}
		if got := door.Permanent(c.err); got != c.perm {
			t.Errorf("%s: permanent %v, want %v", c.name, got, c.perm)
		}
		if got := storeAnswer(c.err); got != c.store {
			t.Errorf("%s from the queue: %s, want %s", c.name, got.word(), c.store.word())
		}
	}
}

// text is a reply as the tests compare it: codes and words.
func text(err error) string {
	if err == nil {
		return "250"
	}
	e, ok := err.(*smtp.SMTPError) // as go-smtp looks: it does not unwrap
	if !ok {
		return fmt.Sprintf("no reply: %T %v", err, err)
	}
	return codes(e) + " " + e.Message
}
