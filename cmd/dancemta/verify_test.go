package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"dancemta/internal/lab"
)

// verifyRules let in those of the ready-made world, but the stranger.
const verifyRules = `
[[listener]]
name    = "submission"
kind    = "submissions"
address = "127.0.0.1:0"

[[rule]]
who    = "*._device.partner.test"
action = "allow"
from   = ["any"]

[[rule]]
who    = "_smtp-client.*.test"
action = "allow"
from   = ["any"]

[[rule]]
who    = "_smtp-client.*.stranger.test"
action = "deny"

[[rule]]
who       = "*@partner.test"
action    = "allow"
listeners = ["submission"]

[[rule]]
who    = "*@ee.test"
action = "allow"
`

// verifyWorld writes the lab's certificates and a configuration beside them.
func verifyWorld(t *testing.T) (internet *lab.Internet, config, pki string) {
	t.Helper()
	internet, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { internet.Close() })
	text := strings.Replace(minimalConfig, `"127.0.0.1:1"]`, `"`+internet.DNS.Addr()+`"], trust_anchors = "root.ds"`, 1) + verifyRules
	config = writeConfig(t, `tls = { certificate = "mx.pem", key = "mx.key" }`+"\n"+text)
	pki = filepath.Dir(config)
	if err := internet.WritePKI(pki); err != nil {
		t.Fatal(err)
	}
	return internet, config, pki
}

func TestVerify(t *testing.T) {
	internet, config, pki := verifyWorld(t)
	const device = "sensor7._device.partner.test"
	type want struct {
		code                     int
		verdict, identity, cause string
	}
	for _, c := range []struct {
		name, file string
		args       []string
		want       want
	}{
		{"a device by name", "device", []string{"--name", device}, want{0, "verified", device, ""}},
		{"a device by its certificate", "device", nil, want{0, "verified", device, ""}},
		{"another key", "wrong", []string{"--name", device}, want{8, "refused", "", "no-match"}},
		{"a server by its certificate", "mta", nil, want{0, "verified", "_smtp-client.mta.partner.test", ""}},
		{"a server that tells what its certificate does not say", "mta", []string{"--name", "_smtp-client.mta.partner.test"}, want{8, "refused", "", "name-mismatch"}},
		{"no rule", "random", nil, want{8, "refused", "", "not-allowed"}},
		{"no rule, and they are skipped", "random", []string{"--any"}, want{0, "verified", internet.Random.Owner, ""}},
		{"a listener without clients", "device", []string{"--listener", "submission"}, want{8, "refused", "", "not-allowed"}},
		{"the listener with clients", "device", []string{"--listener", "relay"}, want{0, "verified", device, ""}},
		{"no DNSSEC", "unsigned", nil, want{8, "refused", "", "insecure"}},
		{"wrong signatures", "bogus", nil, want{9, "temporary", "", "bogus-dns"}},
		{"an empty name", "device", []string{"--name", ""}, want{8, "refused", "", "bad-client-name"}},
		{"no name", "device", []string{"--name", "a..b\n"}, want{8, "refused", "", "bad-client-name"}},
		{"a user taken for a client", "rick", nil, want{8, "refused", "", "forbidden-name"}},
		{"a user", "rick", []string{"--user"}, want{0, "verified", "rick@partner.test", ""}},
		{"a user, the name told", "rick", []string{"--user", "--name", "_user.partner.test"}, want{0, "verified", "rick@partner.test", ""}},
		{"a user, another name told", "rick", []string{"--user", "--name", "_user.example.test"}, want{8, "refused", "", "name-mismatch"}},
		{"a user where none may", "rick", []string{"--user", "--listener", "relay"}, want{8, "refused", "", "not-allowed"}},
		{"a user by usage 3", "eve", []string{"--user"}, want{8, "refused", "", "unusable"}},
		{"a device taken for a user", "device", []string{"--user"}, want{8, "refused", "", "no-user"}},
	} {
		args := append([]string{"verify", "--config", config, "--chain", filepath.Join(pki, c.file+".pem")}, c.args...)
		code, out, text := run(t, append(args, "--json")...)
		var got verdict
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Errorf("%s: %q: %v (%s)", c.name, out, err, text)
			continue
		}
		if g := (want{code, got.Verdict, got.Identity, got.Reason}); g != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, g, c.want)
		}
		verified := code == 0
		if verified != (got.Until != nil) || verified != (got.Record != "") || verified == (got.Detail != "") || verified == strings.HasPrefix(text, "error: ") {
			t.Errorf("%s: %s, %s", c.name, out, text)
		}
		word := got.Identity + got.Reason // one of them is empty
		if plainCode, plain, _ := run(t, args...); plainCode != code || plain != got.Verdict+" "+got.Kind+" "+word+"\n" {
			t.Errorf("%s: exit %d, %q", c.name, plainCode, plain)
		}
	}
}

// What no rule allows costs no query.
func TestVerifyAsksRulesFirst(t *testing.T) {
	internet, config, pki := verifyWorld(t)
	code, _, _ := run(t, "verify", "--config", config, "--chain", filepath.Join(pki, "random.pem"))
	if code != exitRefused || len(internet.DNS.Queries()) != 0 {
		t.Errorf("exit %d after %v", code, internet.DNS.Queries())
	}
}

// A resolver that does not answer is no refusal.
func TestVerifyWithoutDNS(t *testing.T) {
	internet, config, pki := verifyWorld(t)
	internet.Close()
	if code, out, _ := run(t, "verify", "--config", config, "--chain", filepath.Join(pki, "device.pem")); code != exitTemporary || out != "temporary client failed-dns\n" {
		t.Errorf("exit %d, %q", code, out)
	}
}

func TestVerifyCalledWrong(t *testing.T) {
	_, config, pki := verifyWorld(t)
	device := filepath.Join(pki, "device.pem")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--config", config}, exitUsage, "--chain is needed"},
		{[]string{"--config", config, "--chain", filepath.Join(pki, "none.pem")}, exitUnavailable, "no such file"},
		{[]string{"--config", config, "--chain", filepath.Join(pki, "device.key")}, exitUnavailable, "no certificate in it"},
		{[]string{"--config", config, "--chain", device, "--listener", "none"}, exitUsage, "has none of this name"},
		{[]string{"--config", pki + "/none.toml", "--chain", device}, exitConfig, "no such file"},
		{[]string{"--config", config, "--chain", device, "more"}, exitUsage, "takes no words"},
	} {
		code, out, text := run(t, append([]string{"verify"}, c.args...)...)
		if code != c.code || out != "" || !strings.Contains(text, c.says) {
			t.Errorf("%v: exit %d, %q, %q", c.args, code, out, text)
		}
	}
}

// The chain may come through standard input.
func TestVerifyStandardInput(t *testing.T) {
	_, config, pki := verifyWorld(t)
	file, err := os.Open(filepath.Join(pki, "device.pem"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	root := newRoot()
	var out strings.Builder
	root.SetArgs([]string{"verify", "--config", config, "--chain", "-"})
	root.SetIn(file)
	root.SetOut(&out)
	if err := root.ExecuteContext(t.Context()); err != nil || out.String() != "verified client sensor7._device.partner.test\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// The documented keys of --json.
func TestVerifyJSON(t *testing.T) {
	until := time.Date(2026, 11, 24, 16, 0, 0, 0, time.UTC)
	for want, v := range map[string]verdict{
		`{"verdict":"verified","kind":"client","identity":"a.test","record":"3 1 1 ab","until":"2026-11-24T16:00:00Z"}`: {
			Verdict: "verified", Kind: "client", Identity: "a.test", Record: "3 1 1 ab", Until: &until},
		`{"verdict":"refused","kind":"user","reason":"no-match","detail":"because"}`: {
			Verdict: "refused", Kind: "user", Reason: "no-match", Detail: "because"},
	} {
		var got verdict
		text, err := json.Marshal(v)
		if err != nil || string(text) != want || json.Unmarshal(text, &got) != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%s, want %s", text, want)
		}
	}
}
