package maillog

import "log/slog"

// LDAPUser is a user of the LDAP bridge.
type LDAPUser struct {
	Identity string // whose certificate it is
	As       string // whom he acts as, if that is another
	Authzid  string // that user at the directory server
	Rule     string // the ldap_rule that mapped him
}

func (u LDAPUser) attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("identity", Clean(u.Identity)),
		slog.String("as", Clean(u.As)),
		slog.String("authzid", Clean(u.Authzid)),
		slog.String("rule", u.Rule),
	}
}

// LDAPBind: a client has bound; how is "external" or "anonymous".
func LDAPBind(l *slog.Logger, s Session, u LDAPUser, how, record string) {
	emit(l, slog.LevelInfo, "ldap bind", s.attrs(append(u.attrs(), slog.String("how", how), slog.String("tlsa", record))...)...)
}

// LDAPBindRefused: a client has no identity; it was told only Reply, which is the name
// of the result. asked is the authzid, as it was written.
func LDAPBindRefused(l *slog.Logger, s Session, r Refusal, asked string, c Shown) {
	emit(l, slog.LevelInfo, "ldap bind refused", s.attrs(append([]slog.Attr{
		slog.String("identity", Clean(r.Identity)),
		slog.String("rule", r.Rule),
		slog.String("asked", Clean(asked)),
		slog.String("reason", r.Reason),
		slog.String("detail", Clean(r.Detail)),
		slog.String("result", r.Reply)}, c.attrs()...)...)...)
}

// LDAPRefusal is an operation that did not get to the directory server.
type LDAPRefusal struct {
	Operation string
	User      LDAPUser
	Asked     string // the authzid of a control, as it was written
	Reason    string // stable word
	Detail    string
	Result    string // the name of the result
}

// LDAPRefused: an operation was refused at the bridge.
func LDAPRefused(l *slog.Logger, s Session, r LDAPRefusal) {
	emit(l, slog.LevelInfo, "ldap operation refused", s.attrs(append(append([]slog.Attr{slog.String("operation", r.Operation)}, r.User.attrs()...),
		slog.String("asked", Clean(r.Asked)),
		slog.String("reason", r.Reason),
		slog.String("detail", Clean(r.Detail)),
		slog.String("result", r.Result))...)...)
}
