package ldapbridge

import (
	"errors"

	"dancemta/ldapbridge/mapping"
	"dancemta/ldapbridge/message"
	"dancemta/ldapbridge/upstream"
	"dancemta/saslext/door"
)

// outcome is why a request ends here, or how. All results of our own are made of
// one, so that code and text never disagree, and no text tells more than it may.
type outcome uint8

const (
	done outcome = iota // success

	// Of binds (RFC 4513 5.2.3). Before an identity is proved one text serves all.
	badVersion     // not version 3
	noIdentity     // nothing established below that gives one
	badAuthzid     // no authzid, or not one that this identity may have
	cannotJudge    // DNS or the directory did not answer
	noMechanism    // SASL, but not EXTERNAL; or no SASL and no name
	passwordClear  // a password in clear
	passwordAtAll  // a password
	unauthenticate // a name without a password (RFC 4513 5.1.2)

	// Of StartTLS.
	tlsAlready
	tlsOutstanding
	tlsBusy

	// Of operations.
	syntax          // the operation cannot be read
	needsBind       // nobody, and a bind would help
	needsTLS        // nobody, in clear
	notAllowed      // the rule of this user does not have the operation
	idOver          // the identity has come to its end
	badControl      // a critical control that is not passed on
	proxyDenied     // a proxied authorization that is not allowed
	unknownExtended // an extended operation that is not passed on
	duplicateID     // an operation with this message ID is outstanding
	crowded         // too many outstanding
	serverBusy
	serverAway
	replyTooLarge
	nothingToCancel
	goingDownNow
	ownTrouble

	// Of Notices of Disconnection.
	goingDown
	silent
	tooLong
	refusedOften
	notLDAP
	fullNow
)

// outcomes are the results. The code stands in specifications; the text is for people.
var outcomes = map[outcome]struct {
	code message.Code
	word string // for the log
	text string
}{
	done:           {message.Success, "done", ""},
	badVersion:     {message.ProtocolError, "bad-version", "only version 3 of LDAP is spoken"},
	noIdentity:     {message.InappropriateAuthentication, "no-identity", "your certificate gives no identity here"},
	badAuthzid:     {message.InvalidCredentials, "bad-authzid", "not an authorization identity that you may have"},
	cannotJudge:    {message.Unavailable, "cannot-judge", "your certificate cannot be judged now, try again later"},
	noMechanism:    {message.AuthMethodNotSupported, "no-mechanism", "the only way to bind is SASL EXTERNAL"},
	passwordClear:  {message.ConfidentialityRequired, "password-in-clear", "there is no bind without TLS"},
	passwordAtAll:  {message.AuthMethodNotSupported, "password", "the only way to bind is SASL EXTERNAL"},
	unauthenticate: {message.UnwillingToPerform, "no-password", "a name without a password proves nothing"},

	tlsAlready:     {message.OperationsError, "tls-already", "TLS is there already"},
	tlsOutstanding: {message.OperationsError, "tls-outstanding", "operations are outstanding"},
	tlsBusy:        {message.Busy, "tls-busy", "too many handshakes, try again later"},

	syntax:          {message.ProtocolError, "syntax", "the request cannot be read"},
	needsBind:       {message.InsufficientAccessRights, "needs-bind", "bind with your certificate first"},
	needsTLS:        {message.StrongerAuthRequired, "needs-tls", "start TLS and bind with your certificate first"},
	notAllowed:      {message.InsufficientAccessRights, "not-allowed", "you may not ask for this operation"},
	idOver:          {message.InsufficientAccessRights, "identity-over", "your identity has come to its end, bind again"},
	badControl:      {message.UnavailableCriticalExtension, "bad-control", "a critical control is not available"},
	proxyDenied:     {message.AuthorizationDenied, "proxy-denied", "you may not act as this identity"},
	unknownExtended: {message.UnwillingToPerform, "unknown-extended", "the extended operation is not available"},
	duplicateID:     {message.ProtocolError, "duplicate-id", "an operation with this message ID is outstanding"},
	crowded:         {message.Busy, "crowded", "too many operations are outstanding"},
	serverBusy:      {message.Busy, "server-busy", "the directory is busy, try again later"},
	serverAway:      {message.Unavailable, "server-away", "the directory is not available, try again later"},
	replyTooLarge:   {message.Other, "reply-too-large", "a reply was too large"},
	nothingToCancel: {message.NoSuchOperation, "nothing-to-cancel", "no such operation is outstanding"},
	goingDownNow:    {message.Unavailable, "going-down", "the server goes down"},
	ownTrouble:      {message.Other, "own-trouble", "internal trouble, try again later"},

	goingDown:    {message.Unavailable, "going-down", "the server goes down"},
	silent:       {message.Unavailable, "silent", "no request in time"},
	tooLong:      {message.Unavailable, "too-long", "the connection lasted too long"},
	refusedOften: {message.UnwillingToPerform, "refused-often", "refused too often"},
	notLDAP:      {message.ProtocolError, "not-ldap", "not an LDAP message that is taken here"},
	fullNow:      {message.Busy, "full", "too many connections, try again later"},
}

func (o outcome) code() message.Code { return outcomes[o].code }

func (o outcome) String() string { return outcomes[o].word }

// result is the LDAPResult of an outcome. A refusal ends with the session's id, by
// which its log line is found.
func (o outcome) result(session string) message.Result {
	r := message.Result{Code: o.code(), Diagnostic: outcomes[o].text}
	if r.Diagnostic != "" && session != "" {
		r.Diagnostic += " (session " + session + ")"
	}
	return r
}

// notice is the Notice of Disconnection of an outcome (RFC 4511 4.4.1).
func notice(o outcome, session string) []byte {
	r := o.result(session)
	return message.NoticeOfDisconnection(nil, r.Code, r.Diagnostic)
}

// answer sends the result of a request; reply is the kind of its response.
func (c *conn) answer(id int32, reply message.Op, o outcome) error {
	return c.answerWith(id, reply, o.result(c.log.ID))
}

func (c *conn) answerWith(id int32, reply message.Op, r message.Result) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.answers = message.AppendResult(c.answers[:0], id, reply, r)
	return c.write(c.answers)
}

// loginOutcome is what a client without an identity hears.
func loginOutcome(err error) outcome {
	if door.Permanent(err) {
		return noIdentity
	}
	return cannotJudge
}

// mappedOutcome is what a proved user hears whom the directory does not know, or who
// asked to be somebody else.
func mappedOutcome(err error) outcome {
	e, ok := errors.AsType[*mapping.Error](err)
	switch {
	case !ok || e.Temporary():
		return cannotJudge
	case e.Reason == mapping.BadAuthzid || e.Reason == mapping.AuthzidDenied:
		return badAuthzid
	}
	return noIdentity
}

// sentOutcome is the result of an operation that did not get to the server, or was
// lost there. None of it is ever the client's credentials' fault.
func sentOutcome(err error) outcome {
	switch {
	case errors.Is(err, upstream.ErrBusy):
		return serverBusy
	case errors.Is(err, upstream.ErrTooLarge):
		return replyTooLarge
	case errors.Is(err, upstream.ErrDuplicate):
		return duplicateID
	case errors.Is(err, upstream.ErrCrowded):
		return crowded
	case errors.Is(err, upstream.ErrUnknown):
		return nothingToCancel
	case errors.Is(err, upstream.ErrControl), errors.Is(err, upstream.ErrForm):
		return syntax
	case errors.Is(err, upstream.ErrOperation):
		return unknownExtended
	case errors.Is(err, upstream.ErrAuthzid):
		return ownTrouble
	}
	return serverAway // and whatever is not known is temporary
}
