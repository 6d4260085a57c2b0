package saslext_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
	"dancemta/saslext"
	"dancemta/saslext/usercert"
)

// anchorer is a verifier that says one thing and counts who asked.
type anchorer struct {
	err   error
	asked []string
}

var until = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func (a *anchorer) Anchored(_ context.Context, owner dnsname.Name, cred daneclient.Credential) (daneclient.Anchor, error) {
	a.asked = append(a.asked, owner.String())
	if a.err != nil {
		return daneclient.Anchor{}, a.err
	}
	return daneclient.Anchor{Owner: owner, Record: tlsa.Record{Usage: 2, Selector: 0, Matching: 1}, Until: until}, nil
}

// rules lets the users in that it lists, and lets "from>to" act.
type rules struct {
	users []string
	acts  []string
}

func (r rules) AllowsUser(id saslext.Identity) bool {
	for _, u := range r.users {
		if u == id.ASCIIDomain() {
			return true
		}
	}
	return false
}

func (r rules) MayActAs(from, to saslext.Identity) bool {
	for _, a := range r.acts {
		if a == from.ASCIIDomain()+">"+to.ASCIIDomain() {
			return true
		}
	}
	return false
}

func credential(t *testing.T, uid, domain string) daneclient.Credential {
	t.Helper()
	ext, err := usercert.Marshal(uid, domain)
	if err != nil {
		t.Fatal(err)
	}
	return daneclient.Credential{Chain: []*x509.Certificate{{Extensions: []pkix.Extension{ext}}}}
}

func TestLogin(t *testing.T) {
	allowed := rules{
		users: []string{"rick@example.org", "rick@xn--bcher-kva.example"},
		acts:  []string{"rick@example.org>sales@example.org"},
	}
	dead := &daneclient.Error{Reason: daneclient.FailedDNS}
	mismatch := &daneclient.Error{Reason: daneclient.NoMatch}
	tests := []struct {
		name                 string
		uid, domain, authzid string
		dns                  error
		want                 string // "authenticated as identity"
		reason               saslext.Reason
		temporary            bool
		asked                string
	}{
		{name: "own", uid: "Rick", domain: "Example.org", want: "rick@example.org as rick@example.org", asked: "_user.example.org"},
		{name: "own by authzid", uid: "rick", domain: "example.org", authzid: "RICK@example.ORG", want: "rick@example.org as rick@example.org", asked: "_user.example.org"},
		{name: "own by U-labels", uid: "rick", domain: "xn--bcher-kva.example", authzid: "rick@bücher.example", want: "rick@bücher.example as rick@bücher.example", asked: "_user.xn--bcher-kva.example"},
		{name: "own by A-labels", uid: "rick", domain: "xn--bcher-kva.example", authzid: "rick@xn--bcher-kva.example", want: "rick@bücher.example as rick@bücher.example", asked: "_user.xn--bcher-kva.example"},
		{name: "another by a rule", uid: "rick", domain: "example.org", authzid: "Sales@example.org", want: "rick@example.org as sales@example.org", asked: "_user.example.org"},

		{name: "another user", uid: "rick", domain: "example.org", authzid: "eve@example.org", reason: saslext.AuthzidDenied, asked: "_user.example.org"},
		{name: "another domain", uid: "rick", domain: "example.org", authzid: "rick@example.net", reason: saslext.AuthzidDenied, asked: "_user.example.org"},
		{name: "below the domain", uid: "rick", domain: "example.org", authzid: "rick@mail.example.org", reason: saslext.AuthzidDenied, asked: "_user.example.org"},
		{name: "subaddress", uid: "rick", domain: "example.org", authzid: "rick+x@example.org", reason: saslext.AuthzidDenied, asked: "_user.example.org"},
		{name: "admin is no special name", uid: "rick", domain: "example.org", authzid: "admin@example.org", reason: saslext.AuthzidDenied, asked: "_user.example.org"},
		{name: "no way back", uid: "rick", domain: "xn--bcher-kva.example", authzid: "rick@example.org", reason: saslext.AuthzidDenied, asked: "_user.xn--bcher-kva.example"},

		{name: "prefix of LDAP", uid: "rick", domain: "example.org", authzid: "u:rick@example.org", reason: saslext.BadAuthzid},
		{name: "no domain", uid: "rick", domain: "example.org", authzid: "rick", reason: saslext.BadAuthzid},
		{name: "NUL", uid: "rick", domain: "example.org", authzid: "rick@example.org\x00", reason: saslext.BadAuthzid},
		{name: "NUL alone", uid: "rick", domain: "example.org", authzid: "\x00", reason: saslext.BadAuthzid},
		{name: "not UTF-8", uid: "rick", domain: "example.org", authzid: "r\xffck@example.org", reason: saslext.BadAuthzid},
		{name: "too long", uid: "rick", domain: "example.org", authzid: strings.Repeat("a", 1000) + "@example.org", reason: saslext.BadAuthzid},
		{name: "Kelvin twin", uid: "kelvin", domain: "example.org", authzid: "\u212aelvin@example.org", reason: saslext.BadAuthzid},

		{name: "user whom no rule allows", uid: "eve", domain: "example.org", reason: saslext.NotAllowed},
		{name: "as one who is allowed", uid: "eve", domain: "example.org", authzid: "rick@example.org", reason: saslext.NotAllowed},
		{name: "case twin in Kelvin", uid: "\u212aelvin", domain: "example.org", reason: saslext.BadIdentity},
		{name: "uid with a domain", uid: "rick@example.org", domain: "example.org", reason: saslext.BadIdentity},
		{name: "wildcard", uid: "rick", domain: "*.example.org", reason: saslext.BadIdentity},
		{name: "user label", uid: "rick", domain: "_user.example.org", reason: saslext.BadIdentity},
		{name: "address", uid: "rick", domain: "192.0.2.1", reason: saslext.BadIdentity},
		{name: "line end", uid: "rick\r\nBcc:y", domain: "example.org", reason: saslext.BadIdentity},

		{name: "DNS fails", uid: "rick", domain: "example.org", dns: dead, reason: saslext.Unproved, temporary: true, asked: "_user.example.org"},
		{name: "DNS fails for another", uid: "rick", domain: "example.org", authzid: "eve@example.org", dns: dead, reason: saslext.Unproved, temporary: true, asked: "_user.example.org"},
		{name: "no match", uid: "rick", domain: "example.org", dns: mismatch, reason: saslext.Unproved, asked: "_user.example.org"},
		{name: "no match, wrapped", uid: "rick", domain: "example.org", dns: fmt.Errorf("x: %w", mismatch), reason: saslext.Unproved, asked: "_user.example.org"},
		{name: "unknown trouble", uid: "rick", domain: "example.org", dns: context.DeadlineExceeded, reason: saslext.Unproved, temporary: true, asked: "_user.example.org"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dns := &anchorer{err: tt.dns}
			a := &saslext.Authenticator{Verifier: dns, Rules: allowed}
			login, err := a.Login(t.Context(), credential(t, tt.uid, tt.domain), tt.authzid)
			if got := strings.Join(dns.asked, " "); got != tt.asked {
				t.Errorf("asked %q, want %q", got, tt.asked)
			}
			if tt.want != "" {
				if got := login.Authenticated.String() + " as " + login.Identity.String(); err != nil || got != tt.want {
					t.Fatalf("got %s, %v; want %s", got, err, tt.want)
				}
				if !login.Until.Equal(until) || login.Record.Usage != 2 {
					t.Errorf("proof got lost: %v, %v", login.Until, login.Record)
				}
				return
			}
			var e *saslext.Error
			if !errors.As(err, &e) || e.Reason != tt.reason || e.Temporary() != tt.temporary {
				t.Fatalf("got %v, want %v, temporary %v", err, tt.reason, tt.temporary)
			}
			if !login.Identity.IsZero() || !login.Authenticated.IsZero() {
				t.Errorf("a login with an error: %v", login)
			}
		})
	}
}

func TestLoginRefusesWithoutParts(t *testing.T) {
	good := credential(t, "rick", "example.org")
	all := rules{users: []string{"rick@example.org"}}
	broken := daneclient.Credential{Chain: []*x509.Certificate{{}}}
	tests := []struct {
		name      string
		auth      saslext.Authenticator
		cred      daneclient.Credential
		reason    saslext.Reason
		temporary bool
	}{
		{"no rules", saslext.Authenticator{Verifier: &anchorer{}}, good, saslext.NotAllowed, false},
		{"no verifier", saslext.Authenticator{Rules: all}, good, saslext.Unproved, true},
		{"no certificate", saslext.Authenticator{Verifier: &anchorer{}, Rules: all}, daneclient.Credential{}, saslext.NoCertificate, false},
		{"nil certificate", saslext.Authenticator{Verifier: &anchorer{}, Rules: all}, daneclient.Credential{Chain: []*x509.Certificate{nil}}, saslext.NoCertificate, false},
		{"machine's certificate", saslext.Authenticator{Verifier: &anchorer{}, Rules: all}, broken, saslext.NoUser, false},
	}
	for _, tt := range tests {
		_, err := tt.auth.Login(t.Context(), tt.cred, "")
		var e *saslext.Error
		if !errors.As(err, &e) || e.Reason != tt.reason || e.Temporary() != tt.temporary {
			t.Errorf("%s: got %v, want %v, temporary %v", tt.name, err, tt.reason, tt.temporary)
		}
	}
}

func TestErrorText(t *testing.T) {
	rick := saslext.Identity{UID: "rick", Domain: dnsname.MustParse("xn--bcher-kva.example")}
	eve := saslext.Identity{UID: "eve", Domain: dnsname.MustParse("example.org")}
	tests := []struct {
		err  *saslext.Error
		want string
	}{
		{&saslext.Error{Reason: saslext.NoCertificate}, "no-certificate"},
		{&saslext.Error{Reason: saslext.NotAllowed, Authenticated: eve}, "eve@example.org: not-allowed"},
		{&saslext.Error{Reason: saslext.AuthzidDenied, Authenticated: rick, Authzid: eve},
			"rick@bücher.example (rick@xn--bcher-kva.example): authzid-denied for eve@example.org"},
		{&saslext.Error{Reason: saslext.Unproved, Authenticated: eve, Err: errors.New("boom")}, "eve@example.org: unproved: boom"},
		{&saslext.Error{Reason: 99}, "unknown"},
		{&saslext.Error{}, "unknown"},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	if e := (&saslext.Error{Reason: 99}); !e.Temporary() {
		t.Error("a reason that is not known is permanent")
	}
	if e := (&saslext.Error{}); !e.Temporary() {
		t.Error("no reason is permanent")
	}
}
