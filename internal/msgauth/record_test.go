package msgauth_test

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"

	"dancemta/internal/msgauth"
)

const edRecord = "v=DKIM1; k=ed25519; p=6kpsY+KcUgq+9Q7SsvpsDPZbJtw2s/o="

func record(t *testing.T, k crypto.Signer) string {
	t.Helper()
	r, err := msgauth.Record(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRecord(t *testing.T) {
	// RFC 8463 A.1, the key of A.2
	seed, err := base64.StdEncoding.DecodeString("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := record(t, newEd(seed)), "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	r := record(t, rsaKey())
	if !strings.HasPrefix(r, "v=DKIM1; k=rsa; p=MIIBIjAN") {
		t.Error(r)
	}
	z := msgauth.ZoneText(r)
	parts := strings.Split(strings.Trim(z, `"`), `" "`)
	if len(parts) != 2 || len(parts[0]) != 255 || strings.Join(parts, "") != r {
		t.Error(z)
	}
	if got := msgauth.ZoneText("short"); got != `"short"` {
		t.Error(got)
	}
}

func TestCompare(t *testing.T) {
	ed, rs := record(t, edKey), record(t, rsaKey())
	pkcs1 := "p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey))
	with := func(tag string) []string { return []string{strings.Replace(ed, "k=", tag+"; k=", 1)} }
	for _, c := range []struct {
		name    string
		records []string
		key     crypto.Signer
		state   msgauth.State
		why     string
	}{
		{"ed25519", []string{ed}, edKey, msgauth.Match, ""},
		{"rsa", []string{rs}, rsaKey(), msgauth.Match, ""},
		{"rsa in the RFC's form, without v and k", []string{pkcs1}, rsaKey(), msgauth.Match, ""},
		{"spaces", []string{" v = DKIM1 ;k= ed25519 ; p= " + strings.Join(strings.Split(strings.SplitN(ed, "p=", 2)[1], ""), " ") + ";;"}, edKey, msgauth.Match, ""},
		{"for TLS reports too", with("s=tlsrpt : email"), edKey, msgauth.Match, ""},
		{"all services", with("s=*"), edKey, msgauth.Match, ""},
		{"testing", with("t=y:s"), edKey, msgauth.Match, "t=y"},
		{"none", nil, edKey, msgauth.Missing, "no TXT record"},
		{"two", []string{ed, ed}, edKey, msgauth.Mismatch, "2 TXT records"},
		{"other key", []string{edRecord}, edKey, msgauth.Mismatch, "another key"},
		{"other kind", []string{ed}, rsaKey(), msgauth.Mismatch, "another kind"},
		{"kind not said", []string{strings.Replace(ed, "k=ed25519; ", "", 1)}, edKey, msgauth.Mismatch, "another kind"},
		{"revoked", []string{"v=DKIM1; k=ed25519; p="}, edKey, msgauth.Mismatch, "revokes"},
		{"no key", []string{"v=DKIM1; k=ed25519"}, edKey, msgauth.Mismatch, "no p="},
		{"version", []string{strings.Replace(ed, "DKIM1", "DKIM2", 1)}, edKey, msgauth.Mismatch, "version"},
		{"sha1 only", with("h=sha1"), edKey, msgauth.Mismatch, "sha256"},
		{"service", with("s=tlsrpt"), edKey, msgauth.Mismatch, "service"},
		{"no tags", []string{"hello"}, edKey, msgauth.Mismatch, "no tag"},
		{"tag twice", with("k=rsa"), edKey, msgauth.Mismatch, "twice"},
	} {
		s, why := msgauth.Compare(c.records, c.key.Public())
		if s != c.state || !strings.Contains(why, c.why) || c.why == "" && why != "" {
			t.Errorf("%s: %s, %q", c.name, s, why)
		}
	}
}
