package maillog

import "log/slog"

// Session is what all lines of one SMTP session share.
type Session struct {
	ID       string // the random id that also ends each refusal
	Listener string // name of the listener in the configuration
	Peer     string // address of the peer, with its port
}

func (s Session) attrs(more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{
		slog.String("session", s.ID),
		slog.String("listener", s.Listener),
		slog.String("peer", s.Peer),
	}, more...)
}

// Refusal says why something was refused: what the peer was told, and what only
// the log may know.
type Refusal struct {
	Command  string // MAIL, RCPT, AUTH, DATA …
	Identity string // who it was, as far as it is proved
	Rule     string // the rule that decided: its pattern and place in the file
	Reason   string // stable word
	Detail   string // the rest, for people
	Reply    string // the reply as sent, without its text: "550 5.7.1"
	Sender   string
	Rcpt     string
	QueueID  string
}

// Rejected: a command or a message was refused.
func Rejected(l *slog.Logger, s Session, r Refusal) {
	emit(l, slog.LevelInfo, "rejected", s.attrs(
		slog.String("command", r.Command),
		slog.String("identity", Clean(r.Identity)),
		slog.String("rule", r.Rule),
		slog.String("reason", r.Reason),
		slog.String("detail", Clean(r.Detail)),
		slog.String("reply", r.Reply),
		slog.String("sender", Clean(r.Sender)),
		slog.String("rcpt", Clean(r.Rcpt)),
		slog.String("queue_id", r.QueueID))...)
}

// Login: a user was authenticated. How is "external" after AUTH, "implicit"
// when the certificate alone spoke.
func Login(l *slog.Logger, s Session, identity, authenticated, how string) {
	emit(l, slog.LevelInfo, "login", s.attrs(
		slog.String("identity", identity),
		slog.String("authenticated", authenticated),
		slog.String("how", how))...)
}

// Shown is the certificate behind a refusal, so that the line tells whether the
// wrong key came, and what to do if it was the right one.
type Shown struct {
	Leaf       string // SHA-256 of the certificate, in hex
	SPKI       string // SHA-256 of its public key, in hex
	WouldMatch string // the TLSA record that would, as a line of a zone file; "" where none would
	Explain    string // the command that shows each step
}

func (c Shown) attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("leaf_sha256", c.Leaf),
		slog.String("spki_sha256", c.SPKI),
		slog.String("would_match", c.WouldMatch),
		slog.String("explain", c.Explain),
	}
}

// LoginRefused: a user was not authenticated; the peer was told only Reply.
func LoginRefused(l *slog.Logger, s Session, r Refusal, c Shown) {
	emit(l, slog.LevelInfo, "login refused", s.attrs(append([]slog.Attr{
		slog.String("identity", Clean(r.Identity)),
		slog.String("rule", r.Rule),
		slog.String("reason", r.Reason),
		slog.String("detail", Clean(r.Detail)),
		slog.String("reply", r.Reply)}, c.attrs()...)...)...)
}

// Client: a client's certificate was proved by DANE.
func Client(l *slog.Logger, s Session, name, source, record string) {
	emit(l, slog.LevelInfo, "client authenticated", s.attrs(
		slog.String("identity", name),
		slog.String("source", source),
		slog.String("tlsa", record))...)
}

// ClientRefused: the peer's certificate names no client that we accept.
func ClientRefused(l *slog.Logger, s Session, r Refusal, c Shown) {
	emit(l, slog.LevelInfo, "client not authenticated", s.attrs(append([]slog.Attr{
		slog.String("identity", Clean(r.Identity)),
		slog.String("rule", r.Rule),
		slog.String("reason", r.Reason),
		slog.String("detail", Clean(r.Detail)),
		slog.String("reply", r.Reply)}, c.attrs()...)...)...)
}

// Message is an accepted message as its line shows it.
type Message struct {
	QueueID  string
	Identity string // who sent it; empty for strangers
	Rule     string
	Sender   string
	Rcpts    int
	Size     int64  // octets, with our trace header
	Signed   string // domain whose DKIM signature it got; empty: none

	// What was found out about mail from anybody; empty: nobody looked.
	SPF, DKIM, DMARC string
}

// Queued: a message is on disk and its 250 is about to be sent.
func Queued(l *slog.Logger, s Session, m Message) {
	emit(l, slog.LevelInfo, "queued", s.attrs(
		slog.String("queue_id", m.QueueID),
		slog.String("identity", m.Identity),
		slog.String("rule", m.Rule),
		slog.String("sender", Clean(m.Sender)),
		slog.Int("rcpts", m.Rcpts),
		slog.Int64("size", m.Size),
		slog.String("signed", m.Signed),
		slog.String("spf", m.SPF),
		slog.String("dkim", m.DKIM),
		slog.String("dmarc", m.DMARC))...)
}

// Wire: something below SMTP went wrong: a handshake, a line end, bytes behind
// STARTTLS, a limit. Kind is a stable word.
func Wire(l *slog.Logger, s Session, kind, detail string) {
	emit(l, slog.LevelInfo, "connection trouble", s.attrs(
		slog.String("reason", kind),
		slog.String("detail", Clean(detail)))...)
}

// Fault: a fault of our own while serving a session; the peer saw a 4xx.
func Fault(l *slog.Logger, s Session, what string, err error) {
	emit(l, slog.LevelError, "fault in a session", s.attrs(
		slog.String("what", what),
		slog.String("error", errText(err)))...)
}
