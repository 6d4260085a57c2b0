package smtpd

import (
	"fmt"

	"github.com/emersion/go-smtp"

	"dancemta/internal/maillog"
	"dancemta/smtpd/milter"
)

// answer is what a decision came to. Each has exactly one reply, in answers:
// nothing else in this package words what a peer reads.
type answer uint8

// The answers. The zero answer is ownTrouble: what nobody stated is temporary.
const (
	ownTrouble answer = iota
	storeFull
	tooBig
	longHeader
	tooManyHops
	refusedByDMARC
	noAuthor
	notKnownWhose
	filterRefused
	filterTrouble
	queued

	nestedMail
	noMail
	noRecipients
	badSender
	badRecipient
	notASCII
	tooManyRecipients
	unqualifiedSender
	unqualifiedRecipient

	loginRequired
	senderNotOwned
	relayRefused
	recipientRefused
	authorRefused
	overQuota
	unknownUser
	mailboxUnclear
	cannotJudge
	nullMXRecipient
	nullMXSender
	notKnownWho
	loginOld

	authRefused
	authTrouble
	authMalformed
	authNotOffered
	authTwice
	authInMail
	authBadMessage
	authNoPasswords

	answerCount
)

// answers is the table of replies. The enhanced code (RFC 3463) takes its class
// from code, so the two can never disagree. word is for the log.
var answers = [answerCount]struct {
	code            int
	subject, detail int
	text, word      string
}{
	ownTrouble:  {451, 3, 0, "Trouble on our side, try again later", "own-trouble"},
	storeFull:   {452, 3, 1, "No room to keep mail now, try again later", "store-full"},
	tooBig:      {552, 3, 4, "Message is too big", "too-big"},
	longHeader:  {552, 3, 4, "Header is too long", "long-header"},
	tooManyHops: {554, 4, 6, "Too many Received fields, this is a mail loop", "loop"},
	queued:      {250, 6, 0, "queued as", "queued"},

	refusedByDMARC: {550, 7, 1, "Refused as the DMARC policy asks of", "dmarc"}, // RFC 7489 10.3
	noAuthor:       {550, 6, 0, "Exactly one From field is needed, with addresses that can be read", "no-author"},
	notKnownWhose:  {451, 7, 0, "Cannot find out now whether this mail is of the domain in From, try again later", "dmarc-unknown"}, // RFC 7489 6.6.2

	filterRefused: {550, 7, 1, "Refused by a filter", "milter"},
	filterTrouble: {451, 7, 1, "Refused for now by a filter, try again later", "milter-tempfail"},

	// RFC 5321 4.1.4: order of commands.
	nestedMail:   {503, 5, 1, "A mail transaction is open already", "nested-mail"},
	noMail:       {503, 5, 1, "MAIL first", "no-mail"},
	noRecipients: {554, 5, 1, "No valid recipients", "no-recipients"},

	badSender:         {501, 1, 7, "Sender is not a mail address", "bad-sender"},
	badRecipient:      {501, 1, 3, "Recipient is not a mail address", "bad-recipient"},
	notASCII:          {553, 6, 7, "Address is not ASCII", "not-ascii"},
	tooManyRecipients: {452, 5, 3, "Too many recipients, send the rest in another message", "too-many-recipients"}, // RFC 5321 4.5.3.1.10

	unqualifiedSender:    {554, 1, 8, "The domain of the sender is not fully qualified", "unqualified-sender"},
	unqualifiedRecipient: {554, 1, 2, "The domain of the recipient is not fully qualified", "unqualified-recipient"},

	// Without a proved identity there is one text for all causes: the answer to
	// "which of my guesses was nearest" is in the log alone.
	loginRequired:  {530, 7, 0, "Authentication required", "login-required"}, // RFC 4954 6
	relayRefused:   {550, 7, 1, "Relaying denied", "relay-refused"},
	unknownUser:    {550, 1, 1, "No such mailbox here", "unknown-user"},
	mailboxUnclear: {450, 4, 1, "Cannot tell now whether there is such a mailbox, try again later", "mailbox-unclear"},
	cannotJudge:    {451, 7, 5, "Cannot verify your certificate now, try again later", "cannot-judge"},

	notKnownWho: {454, 7, 0, "Cannot find out now what you may send, try again later", "no-directory"},
	loginOld:    {451, 7, 0, "Your login is too old, connect anew", "login-too-old"},

	// RFC 7505 4: it would only bounce, and nobody could get the bounce.
	nullMXRecipient: {556, 1, 10, "This domain takes no mail:", "null-mx-recipient"},
	nullMXSender:    {550, 7, 27, "No mail from a domain that takes none:", "null-mx-sender"},

	// With one, the caller's own identity is named.
	senderNotOwned:   {553, 7, 1, "This sender address is not for", "sender-not-owned"},
	recipientRefused: {550, 7, 1, "This recipient is not for", "recipient-refused"},

	authorRefused: {550, 7, 1, "This address in the From field is not for", "author-refused"},
	overQuota:     {450, 7, 1, "Over quota, try again later:", "over-quota"},

	// RFC 4954 6. Clients forget their credential on 535, so it is never the
	// reply to a trouble of DNS.
	authRefused:    {535, 7, 8, "Authentication failed", "auth-refused"},
	authTrouble:    {454, 7, 0, "Temporary authentication failure", "auth-trouble"},
	authMalformed:  {501, 5, 4, "Authorization identity is malformed", "bad-authzid"},
	authNotOffered: {504, 5, 4, "Mechanism is not offered here", "not-offered"},
	authTwice:      {503, 5, 1, "Authenticated already", "auth-twice"},
	authInMail:     {503, 5, 1, "No AUTH within a mail transaction", "auth-in-mail"},

	authBadMessage:  {501, 5, 4, "Malformed message of the mechanism", "bad-message"},
	authNoPasswords: {534, 7, 9, "Users of this domain have no passwords here", "no-passwords"},
}

// reply makes the reply of a. about is what belongs behind the text: the
// caller's own identity or the queue id; it is cut and cleaned. Each refusal
// ends with the session id, so that the far postmaster and ours can speak of
// the same line in the log.
func (a answer) reply(session, about string) *smtp.SMTPError {
	if a >= answerCount {
		a = ownTrouble
	}
	r := answers[a]
	text := r.text
	if about != "" {
		text += " " + maillog.Clean(about)
	}
	if r.code >= 400 {
		text += " [" + session + "]"
	}
	return &smtp.SMTPError{
		Code:         r.code,
		EnhancedCode: smtp.EnhancedCode{r.code / 100, r.subject, r.detail},
		Message:      text,
	}
}

// worded is the reply of a in the words of a milter, which has cleaned and bounded
// them; without any it is a's own.
func (a answer) worded(session string, v milter.Verdict) *smtp.SMTPError {
	e := a.reply(session, "")
	if v.Code != 0 {
		e.Code, e.EnhancedCode, e.Message = v.Code, smtp.EnhancedCode(v.Enhanced), v.Text+" ["+session+"]"
	}
	return e
}

// codes returns the reply's two codes as the log shows them: "550 5.7.1".
func codes(e *smtp.SMTPError) string {
	return fmt.Sprintf("%d %d.%d.%d", e.Code, e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2])
}

// word is the stable word of a for the log.
func (a answer) word() string {
	if a >= answerCount {
		a = ownTrouble
	}
	return answers[a].word
}
