package saslext

import (
	"errors"
	"testing"
	"time"
)

// vouchRules allow everybody of allowed.test, and let his boss act as anybody there.
type vouchRules struct{}

func (vouchRules) AllowsUser(id Identity) bool { return id.Domain.String() == "allowed.test" }
func (vouchRules) MayActAs(from, to Identity) bool {
	return from.UID == "boss" && to.Domain == from.Domain
}

func TestVouched(t *testing.T) {
	until := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		user, authzid string
		rules         Rules
		as            string // "": a refusal
		reason        Reason
	}{
		{"rick@allowed.test", "", vouchRules{}, "rick@allowed.test", 0},
		{"rick@allowed.test", "rick@allowed.test", vouchRules{}, "rick@allowed.test", 0},
		{"rick@allowed.test", "RICK@Allowed.Test", vouchRules{}, "rick@allowed.test", 0}, // the same in normal form
		{"rick@allowed.test", "boss@allowed.test", vouchRules{}, "", AuthzidDenied},
		{"boss@allowed.test", "rick@allowed.test", vouchRules{}, "rick@allowed.test", 0},
		{"boss@allowed.test", "rick@other.test", vouchRules{}, "", AuthzidDenied},
		{"rick@other.test", "", vouchRules{}, "", NotAllowed},
		{"rick@other.test", "boss@allowed.test", vouchRules{}, "", NotAllowed},
		{"rick@allowed.test", "a\x00b@allowed.test", vouchRules{}, "", BadAuthzid},
		{"rick@allowed.test", "", nil, "", NotAllowed},
		{"", "", vouchRules{}, "", NoUser},
	} {
		var id Identity
		if c.user != "" {
			var err error
			if id, err = ParseIdentity(c.user); err != nil {
				t.Fatal(err)
			}
		}
		login, err := (&Authenticator{Rules: c.rules}).LoginVouched(Vouched{id, until}, c.authzid)
		var e *Error
		errors.As(err, &e)
		switch {
		case c.as == "":
			if e == nil || e.Reason != c.reason || !login.Identity.IsZero() {
				t.Errorf("%+v: %+v, %v", c, login, err)
			}
		case err != nil || login.Identity.ASCIIDomain() != c.as || login.Authenticated != id || !login.Until.Equal(until):
			t.Errorf("%+v: %+v, %v", c, login, err)
		}
	}
}
