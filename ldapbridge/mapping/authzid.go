package mapping

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"dancemta/saslext"
)

// The two forms of RFC 4513 5.2.1.8. The prefixes are case-sensitive there only by
// silence; servers take lower case alone.
const (
	dnPrefix   = "dn:"
	userPrefix = "u:"
)

// Request is whom a client asks to be. The zero Request asks for nothing: as itself.
type Request struct {
	user saslext.Identity // of "u:"
	dn   string           // of "dn:"; "" for the others
	text string
}

// ParseAuthzid reads the authzid of a Bind, or of a proxied authorization control. It
// is pure, so that what the client got wrong by itself costs nothing. "" asks for
// nothing. Its error is an *Error.
func ParseAuthzid(s string) (Request, error) {
	if s == "" {
		return Request{}, nil
	}
	fail := func(err error) (Request, error) { return Request{}, &Error{Reason: BadAuthzid, Err: err} }
	if name, ok := strings.CutPrefix(s, userPrefix); ok {
		id, err := saslext.ParseIdentity(name)
		if err != nil {
			return fail(err)
		}
		return Request{user: id, text: s}, nil
	}
	dn, ok := strings.CutPrefix(s, dnPrefix)
	if !ok {
		return fail(fmt.Errorf("neither u: nor dn: begins %.80q", s))
	}
	switch normal, err := NormalDN(dn); {
	case err != nil:
		return fail(err)
	case normal == "":
		return fail(errors.New("the empty DN is nobody's"))
	}
	return Request{dn: dn, text: s}, nil
}

// IsZero reports whether the client asks for nothing.
func (r Request) IsZero() bool { return r.text == "" }

// String returns the authzid as the client wrote it, for the log.
func (r Request) String() string { return r.text }

// As returns as whom a proved user acts who asks for r: himself, or another whom the
// rules let him be. A DN is taken when it is that of such a user. Whatever was asked,
// what goes to the directory is what the mapping makes, never the client's text. Every
// error is an *Error; a refusal does not tell whether the other user exists.
func (m *Mapper) As(ctx context.Context, authenticated saslext.Identity, r Request) (Mapped, error) {
	if r.IsZero() || r.user == authenticated {
		return m.Map(ctx, authenticated)
	}
	if !m.AllowsUser(authenticated) { // who may not come in may not come in as another
		return m.Map(ctx, authenticated)
	}
	denied := &Error{Reason: AuthzidDenied, Identity: authenticated, Err: fmt.Errorf("as %.80q", r.text)}
	if r.dn == "" {
		return m.other(ctx, authenticated, r.user, denied)
	}
	// RFC 4513 5.2.1.8: a DN is an identity when it maps to one.
	for _, id := range m.named(r.dn) {
		if id == authenticated {
			return m.Map(ctx, id)
		}
		if mapped, err := m.other(ctx, authenticated, id, denied); err == nil {
			return mapped, nil
		}
	}
	own, err := m.Map(ctx, authenticated) // the DN of a search, which only the directory knows
	switch {
	case err != nil:
		return Mapped{}, err
	case own.DN == "" || !SameDN(own.DN, r.dn):
		return Mapped{}, denied
	}
	return own, nil
}

// other maps another user, whom authenticated must be allowed to be. That no rule maps
// the other is no other answer than that he may not be him.
func (m *Mapper) other(ctx context.Context, authenticated, wanted saslext.Identity, denied *Error) (Mapped, error) {
	if !m.MayActAs(authenticated, wanted) {
		return Mapped{}, denied
	}
	mapped, err := m.Map(ctx, wanted)
	if e := (*Error)(nil); errors.As(err, &e) && !e.Temporary() {
		return Mapped{}, denied
	}
	return mapped, err
}

// named returns the identities whose DN by a template is this one. One rule decides
// about each identity, so reading a template backwards is only a guess, which mapping
// forwards confirms.
func (m *Mapper) named(dn string) (ids []saslext.Identity) {
	rdns, err := parseDN(dn)
	if m == nil || err != nil {
		return nil
	}
	for i := range m.rules {
		r := &m.rules[i]
		if r.dn == nil {
			continue
		}
		id, ok := r.dn.read(rdns, r.Who)
		if !ok {
			continue
		}
		if allow, deny := m.choose(id); deny == nil && allow == r && SameDN(r.dn.build(id), dn) {
			ids = append(ids, id)
		}
	}
	return ids
}
