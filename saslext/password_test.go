package saslext_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/saslext"
)

// checker knows passwords by user, and counts what it was asked.
type checker struct {
	passwords map[string]string
	err       error
	asked     []string
}

func (c *checker) CheckPassword(_ context.Context, id saslext.Identity, p saslext.Password) error {
	c.asked = append(c.asked, id.ASCIIDomain()+" "+p.Reveal())
	if c.err != nil {
		return c.err
	}
	if c.passwords[id.ASCIIDomain()] != p.Reveal() {
		return fmt.Errorf("bind: %w", saslext.ErrPassword)
	}
	return nil
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func plainLogin(c *checker) *saslext.PasswordAuthenticator {
	return &saslext.PasswordAuthenticator{
		Domains: map[dnsname.Name]bool{dnsname.MustParse("staff.test"): true, dnsname.MustParse("xn--bcher-kva.test"): true},
		Checker: c,
		Rules:   rules{users: []string{"rick@staff.test", "jürgen@xn--bcher-kva.test"}, acts: []string{"rick@staff.test>sales@staff.test"}},
		Rate:    func(saslext.Identity) bool { return true },
		Now:     func() time.Time { return noon },
	}
}

func TestPlain(t *testing.T) {
	long := strings.Repeat("x", 1024)
	away := errors.New("ldap is away")
	for _, c := range []struct {
		message string
		want    string // "rick@staff.test as sales@staff.test"
		reason  saslext.Reason
		asked   string // of the checker
		err     error  // of it
	}{
		{message: "\x00rick@staff.test\x00right", want: "rick@staff.test as rick@staff.test", asked: "rick@staff.test right"},
		{message: "\x00RICK@Staff.Test\x00right", want: "rick@staff.test as rick@staff.test", asked: "rick@staff.test right"},
		{message: "rick@staff.test\x00rick@staff.test\x00right", want: "rick@staff.test as rick@staff.test", asked: "rick@staff.test right"},
		{message: "sales@staff.test\x00rick@staff.test\x00right", want: "rick@staff.test as sales@staff.test", asked: "rick@staff.test right"},
		{message: "\x00jürgen@xn--bcher-kva.test\x00grün\u00a0\u0301", want: "", reason: saslext.BadPassword, asked: "jürgen@xn--bcher-kva.test grün \u0301"},
		{message: "\x00rick@staff.test\x00" + long, reason: saslext.BadPassword, asked: "rick@staff.test " + long},

		{message: "boss@staff.test\x00rick@staff.test\x00right", reason: saslext.AuthzidDenied, asked: "rick@staff.test right"},
		{message: "sales@staff.test\x00rick@staff.test\x00wrong", reason: saslext.BadPassword, asked: "rick@staff.test wrong"},
		{message: "\x00rick@staff.test\x00wrong", reason: saslext.BadPassword, asked: "rick@staff.test wrong"},
		{message: "\x00rick@staff.test\x00right", reason: saslext.Unchecked, asked: "rick@staff.test right", err: away},
		{message: "\x00rick@staff.test\x00wrong", reason: saslext.Unchecked, asked: "rick@staff.test wrong", err: away},

		// Whose password would prove nothing, and what is none, is not even asked about.
		{message: "\x00rick@staff.test\x00", reason: saslext.BadPassword},
		{message: "\x00rick@staff.test\x00" + long + "x", reason: saslext.BadPassword},
		{message: "\x00rick@staff.test\x00a\x7fb", reason: saslext.BadPassword},
		{message: "\x00eve@staff.test\x00right", reason: saslext.NotAllowed},
		{message: "\x00rick@other.test\x00right", reason: saslext.NoPasswords},
		{message: "\x00rick@sub.staff.test\x00right", reason: saslext.NoPasswords},
		{message: "\x00rick\x00right", reason: saslext.BadIdentity},
		{message: "\x00*)(uid=*@staff.test\x00right", reason: saslext.BadIdentity},
		{message: "\x00\x00right", reason: saslext.BadIdentity},
		{message: "u:rick@staff.test\x00rick@staff.test\x00right", reason: saslext.BadAuthzid},
		{message: "rick\x00rick@staff.test\x00right", reason: saslext.BadAuthzid},

		{message: "", reason: saslext.BadMessage},
		{message: "rick@staff.test\x00right", reason: saslext.BadMessage},
		{message: "\x00rick@staff.test\x00ri\x00ght", reason: saslext.BadMessage},
		{message: "\x00rick@staff.test\x00right\x00", reason: saslext.BadMessage},
		{message: "\x00rick@staff.test\x00\xff", reason: saslext.BadMessage},
		{message: "\x00rick@staff.test\x00" + strings.Repeat("x", 5000), reason: saslext.BadMessage},
	} {
		checks := &checker{passwords: map[string]string{"rick@staff.test": "right"}, err: c.err}
		login, err := plainLogin(checks).Login(t.Context(), []byte(c.message))
		if got := strings.Join(checks.asked, "; "); got != c.asked {
			t.Errorf("%.60q: asked %.60q, want %.60q", c.message, got, c.asked)
		}
		if c.want != "" {
			if got := login.Authenticated.String() + " as " + login.Identity.String(); got != c.want || err != nil || !login.Until.Equal(noon.Add(time.Hour)) {
				t.Errorf("%.60q: %s until %v, %v", c.message, got, login.Until, err)
			}
			continue
		}
		var e *saslext.Error
		if !errors.As(err, &e) || e.Reason != c.reason || e.Temporary() != (c.reason == saslext.Unchecked) || !login.Identity.IsZero() {
			t.Errorf("%.60q: %v, %v, want %v", c.message, login, err, c.reason)
		}
		for _, secret := range []string{"right", "wrong", "grün", "xxxx"} {
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%.60q: the error shows it: %v", c.message, err)
			}
		}
	}
}

// TestPlainWithoutParts: what is missing refuses, or knows nothing.
func TestPlainWithoutParts(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(*saslext.PasswordAuthenticator)
		reason    saslext.Reason
		temporary bool
	}{
		"no domains": {func(a *saslext.PasswordAuthenticator) { a.Domains = nil }, saslext.NoPasswords, false},
		"no rules":   {func(a *saslext.PasswordAuthenticator) { a.Rules = nil }, saslext.NotAllowed, false},
		"no checker": {func(a *saslext.PasswordAuthenticator) { a.Checker = nil }, saslext.Unchecked, true},
		"no rate":    {func(a *saslext.PasswordAuthenticator) { a.Rate = nil }, saslext.TooManyTries, true},
		"used up":    {func(a *saslext.PasswordAuthenticator) { a.Rate = func(saslext.Identity) bool { return false } }, saslext.TooManyTries, true},
	} {
		checks := &checker{passwords: map[string]string{"rick@staff.test": "right"}}
		a := plainLogin(checks)
		c.change(a)
		_, err := a.Login(t.Context(), []byte("\x00rick@staff.test\x00right"))
		var e *saslext.Error
		if !errors.As(err, &e) || e.Reason != c.reason || e.Temporary() != c.temporary || !e.Reason.OfPassword() && c.reason != saslext.NotAllowed || len(checks.asked) > 0 {
			t.Errorf("%s: %v, asked %v", name, err, checks.asked)
		}
	}
}

// TestPasswordIsHidden: nothing that writes shows a password.
func TestPasswordIsHidden(t *testing.T) {
	const secret = "korrekt7"
	p, err := saslext.NewPassword(secret)
	if err != nil || p.Reveal() != secret {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		fmt.Fprintf(&out, verb+"\n", p)
		fmt.Fprintf(&out, verb+"\n", struct{ P *saslext.Password }{&p})
		fmt.Fprintf(&out, verb+"\n", []saslext.Password{p})
	}
	log := slog.New(slog.NewTextHandler(&out, nil))
	log.Info("x", "p", p, "q", &p)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "p", p, "q", []any{p})
	if err := json.NewEncoder(&out).Encode(map[string]any{"p": p}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&out, fmt.Errorf("wrapped: %v", p))
	hex := fmt.Sprintf("%x", secret)
	if s := out.String(); strings.Contains(s, secret) || strings.Contains(s, hex) {
		t.Errorf("shown:\n%s", s)
	}
	for _, bad := range []string{"", strings.Repeat("x", 1025), "a\x00b", "a\nb", "\xff"} {
		if _, err := saslext.NewPassword(bad); err == nil {
			t.Errorf("%.10q is a password", bad)
		}
	}
}

// TestPlainServer: both forms of the exchange, and one message only.
func TestPlainServer(t *testing.T) {
	for _, initial := range []bool{true, false} {
		var got saslext.Login
		server := plainLogin(&checker{passwords: map[string]string{"rick@staff.test": "right"}}).Server(t.Context(), func(l saslext.Login, err error) error {
			got = l
			return err
		})
		if !initial {
			if challenge, done, err := server.Next(nil); challenge == nil || len(challenge) > 0 || done || err != nil {
				t.Errorf("challenge %q, %v, %v", challenge, done, err)
			}
		}
		if _, done, err := server.Next([]byte("\x00rick@staff.test\x00right")); !done || err != nil || got.Identity.String() != "rick@staff.test" {
			t.Errorf("%v, %v, %v", done, err, got)
		}
		if _, _, err := server.Next([]byte("\x00rick@staff.test\x00right")); err == nil {
			t.Error("a second message")
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"", "\x00rick@staff.test\x00right", "sales@staff.test\x00rick@staff.test\x00right", "\x00\x00\x00", "a\x00b@staff.test\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		checks := &checker{passwords: map[string]string{"rick@staff.test": "right"}}
		login, err := plainLogin(checks).Login(t.Context(), message)
		var e *saslext.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%q: %v", message, err)
		}
		if err == nil && (!bytes.HasSuffix(message, []byte("\x00right")) || login.Authenticated.ASCIIDomain() != "rick@staff.test") {
			t.Fatalf("%q made %v", message, login)
		}
		for _, a := range checks.asked {
			if who, secret, _ := strings.Cut(a, " "); secret == "" || !strings.Contains(who, "@") {
				t.Fatalf("%q asked about %q", message, a)
			}
		}
	})
}
