package smtpd

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/limit"
	"dancemta/saslext"
	"dancemta/saslext/door"
	"dancemta/smtpd/policy"
)

// byPassword is how a user came to be logged in who has told his password.
const byPassword = "plain"

// Passwords says whose users may log in by AUTH PLAIN (RFC 4616): under TLS, on
// submission listeners, and where no certificate names another user. LOGIN is not
// offered: it is no more than PLAIN in two steps, and was never a standard.
type Passwords struct {
	// Domains whose users have passwords. Certificates prove nobody of them: that is for
	// the rules to say. Empty: PLAIN is not offered.
	Domains map[dnsname.Name]bool
	Checker saslext.PasswordChecker // nil: 454 for all
	// PerUser and PerAddress are the tries, good or bad, that one user and one address
	// (of IPv6: one network) may have; zero: 20 and 60 in a minute.
	PerUser, PerAddress limit.Rate
}

const (
	// A user's programs on three devices poll twice in a minute each; who guesses gets
	// ten million passwords in a year.
	defaultTriesPerUser    = 20
	defaultTriesPerAddress = 60 // a household or a small office
	// maxTriesKeys bounds the memory of each, at some 200 octets a key. Beyond it new
	// ones are told to come again.
	maxTriesKeys = 100_000
	// addressBits: as the accounts of quotas have it, a host of IPv6 has a network.
	addressBits = 64
)

// tries bounds how often passwords are told.
type tries struct {
	users *limit.Buckets[saslext.Identity]
	peers *limit.Buckets[netip.Prefix]
}

func newTries(p Passwords, now func() time.Time) tries {
	if p.PerUser == (limit.Rate{}) {
		p.PerUser = limit.Rate{N: defaultTriesPerUser, Per: time.Minute}
	}
	if p.PerAddress == (limit.Rate{}) {
		p.PerAddress = limit.Rate{N: defaultTriesPerAddress, Per: time.Minute}
	}
	return tries{limit.NewBuckets[saslext.Identity](p.PerUser, maxTriesKeys, now),
		limit.NewBuckets[netip.Prefix](p.PerAddress, maxTriesKeys, now)}
}

// take takes a try of both, or none of the user's: who has used up his own must not use
// up those of others.
func (t tries) take(peer netip.Addr, id saslext.Identity) bool {
	bits := addressBits
	if peer = peer.Unmap().WithZone(""); peer.Is4() {
		bits = peer.BitLen()
	}
	network, err := peer.Prefix(bits)
	return err == nil && network.IsValid() && t.peers.Take(network, limit.Known) && t.users.Take(id, limit.Known)
}

// takesPasswords reports whether PLAIN is offered: never in clear, and not beside a
// certificate that names one user, who needs none.
func (s *session) takesPasswords() bool {
	if !s.secure || s.Kind == Relay || len(s.opts.Passwords.Domains) == 0 {
		return false
	}
	if !s.certified {
		return true
	}
	_, err := saslext.Claimed(s.cred)
	return err != nil
}

// passwords logs users in by what they know.
func (s *session) passwords(rules *policy.Rules) *saslext.PasswordAuthenticator {
	return &saslext.PasswordAuthenticator{
		Domains: s.opts.Passwords.Domains,
		Checker: boundedChecker{s.opts.Passwords.Checker},
		Rules:   userRules{rules, policy.Subject{Listener: s.listener(), Proved: policy.ByPassword, Remote: s.remote}},
		Rate:    func(id saslext.Identity) bool { return s.tries.take(s.remote, id) },
		Now:     s.opts.Now,
	}
}

// boundedChecker gives each password its time.
type boundedChecker struct{ inner saslext.PasswordChecker }

func (b boundedChecker) CheckPassword(ctx context.Context, id saslext.Identity, p saslext.Password) error {
	if b.inner == nil {
		return errors.New("nobody knows passwords")
	}
	ctx, cancel := context.WithTimeout(ctx, door.DecisionTime)
	defer cancel()
	return b.inner.CheckPassword(ctx, id, p)
}

// errLoginOld is temporary, since the client can log in anew. The password is not kept,
// so that nobody can ask for it again.
var errLoginOld = errors.New("the password was told too long ago")

// passwordAtMail returns a user who has told a password, nil when the rules do not let
// him any more.
func (s *session) passwordAtMail(u *userLogin) (*userLogin, error) {
	if !s.opts.Now().Before(u.Until) {
		return nil, errLoginOld
	}
	rules := s.opts.Rules()
	if u.rules == rules {
		return u, nil
	}
	a := s.passwords(rules)
	switch {
	case !a.Rules.AllowsUser(u.Authenticated):
		s.logRefused(&saslext.Error{Reason: saslext.NotAllowed, Authenticated: u.Authenticated}, "")
		return nil, nil
	case !a.Rules.MayActAs(u.Authenticated, u.Identity):
		s.logRefused(&saslext.Error{Reason: saslext.AuthzidDenied, Authenticated: u.Authenticated, Authzid: u.Identity}, "")
		return nil, nil
	}
	again := *u
	again.rules = rules
	s.user = &again
	return s.user, nil
}
