package policy_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/smtpd/policy"
)

func TestRelayRecipient(t *testing.T) {
	list, err := policy.ParseRecipients(strings.NewReader("rick\nrick+lists\n\"a b\"\n"), dnsname.MustParse("example.test"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := policy.New(policy.Options{
		RelayDomains: []policy.RelayDomain{
			{Domain: dnsname.MustParse("example.test"), Recipients: list},
			{Domain: dnsname.MustParse("any.test"), Any: true},
			{Domain: dnsname.MustParse("nobody.test")},
		},
		Postmaster: mailaddr.MustParse("Ops@staff.test"),
		Hostname:   dnsname.MustParse("mx.example.test"),
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		to    string
		known bool
		want  policy.Reason
	}{
		{"rick@example.test", true, 0},
		{"Rick@EXAMPLE.test", true, 0},
		{`"rick"@example.test`, true, 0},
		{`"A B"@example.test`, true, 0},
		{"rick+lists@example.test", true, 0},
		{"rick+other@example.test", true, policy.UnknownMailbox}, // not stripped
		{"eve@example.test", true, policy.UnknownMailbox},
		{"whoever@any.test", true, 0},
		{"rick@nobody.test", true, policy.UnknownMailbox},
		{"postmaster@example.test", true, 0},
		{"PostMaster@example.test", true, 0},
		{`"postmaster"@nobody.test`, true, 0},
		{"postmaster@any.test", true, 0},
		{"postmaster@mx.example.test", true, 0},
		{"POSTMASTER@mx.example.test", true, 0},
		{"ops@staff.test", true, 0},
		{"rick@mx.example.test", false, policy.NotRelayDomain},
		{"postmaster@staff.test", false, policy.NotRelayDomain},
		{"postmaster@remote.test", false, policy.NotRelayDomain},
		{"rick@mail.example.test", false, policy.NotRelayDomain},
		{"rick@evilexample.test", false, policy.NotRelayDomain},
		{"rick@example.test.attacker.net", false, policy.NotRelayDomain},
		{`"rick@example.test"@remote.test`, false, policy.NotRelayDomain},
		{"postmaster@[192.0.2.1]", false, policy.NotRelayDomain},
		{"", false, policy.NotRelayDomain},
	}
	for _, tt := range tests {
		known, v := r.RelayRecipient(mailaddr.MustParse(tt.to))
		if known != tt.known || v.Reason != tt.want || v.Allow != (tt.want == 0) {
			t.Errorf("%q: %v, %+v; want %v, %v", tt.to, known, v, tt.known, tt.want)
		}
	}
}

// Without a hostname and a postmaster nothing equals nothing.
func TestRelayRecipientZero(t *testing.T) {
	r := newRules(t, "")
	for _, s := range []string{"", "postmaster@[192.0.2.1]", "postmaster@example.test"} {
		if known, v := r.RelayRecipient(mailaddr.MustParse(s)); known || v.Allow {
			t.Errorf("%q: %v, %+v", s, known, v)
		}
	}
}

func TestParseRecipients(t *testing.T) {
	text := "# the staff\n" +
		"rick\r\n" +
		"\n" +
		"  Eve@Bücher.example  # in U-labels\n" +
		"#joe\t\n" +
		"a#b@xn--bcher-kva.example\n" +
		"a#\n" +
		"\"x@y\" \t# a quoted local part\n" +
		"\"x y\"@bücher.example\n" +
		"last"
	got, err := policy.ParseRecipients(strings.NewReader(text), dnsname.MustParse("xn--bcher-kva.example"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`"x y"@xn--bcher-kva.example`, `"x@y"@xn--bcher-kva.example`, "a#@xn--bcher-kva.example",
		"a#b@xn--bcher-kva.example", "eve@xn--bcher-kva.example", "last@xn--bcher-kva.example", "rick@xn--bcher-kva.example"}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
		t.Errorf("got  %q\nwant %q", keys, want)
	}
}

func TestParseRecipientsRefuses(t *testing.T) {
	tests := []struct{ text, want string }{
		{"rick\neve@example.net\n", `line 2: "eve@example.net" is not in the domain example.org`},
		{"rick@mail.example.org", "line 1: "},
		{"\n\na b\n", "line 3: "},
		{"@example.org", "line 1: "},
		{"*", ""},
		{"rick@[192.0.2.1]", "line 1: "},
		{"j\xfcrgen", "line 1: "},
		{"a\u200bb", "line 1: "},
		{"rick\x00", "line 1: "},
		{"rick\reve", "line 1: "},
		{"rick, eve", "line 1: "},
		{"\"rick", "line 1: "},
		{"rick\n" + strings.Repeat("a", 5000), "line 2: "},
	}
	for _, tt := range tests {
		got, err := policy.ParseRecipients(strings.NewReader(tt.text), dnsname.MustParse("example.org"))
		if tt.want == "" { // a star is a local part as any other, not a pattern
			if err != nil || !got["*@example.org"] {
				t.Errorf("%q: %v, %v", tt.text, got, err)
			}
			continue
		}
		if err == nil || got != nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%.40q: %v, %v; want %q", tt.text, got, err, tt.want)
		}
	}
	if got, err := policy.ParseRecipients(strings.NewReader("rick"), dnsname.Name{}); err == nil {
		t.Errorf("without a domain: %v", got)
	}
}

func FuzzParseRecipients(f *testing.F) {
	f.Add("rick\n# x\neve@example.org # y\n\"a b\"@example.org")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := policy.ParseRecipients(strings.NewReader(text), dnsname.MustParse("example.org"))
		if err != nil {
			return
		}
		for key := range got {
			if a, err := mailaddr.Parse(key); err != nil || a.Key() != key || a.Domain().String() != "example.org" {
				t.Fatalf("key %q: %q, %v", key, a, err)
			}
		}
	})
}
