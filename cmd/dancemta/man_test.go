package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Pages keep stars, and each line of a table.
func TestMan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "man8")
	if code, _, stderr := run(t, "man", dir); code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, tc := range []struct{ page, want string }{
		{"dancemta-queue-list.8", "\n  age        > < >= <=        since its arrival: 90s, 30m, 2h, 3d\n  attempts   = != > < >= <=   so far\n"},
		{"dancemta-queue-list.8", "example.org, *.example.org\n"},
		{"dancemta-queue-suspend.8", `"*.example.org" (all names below it), an address literal, or "*" (all mail)`},
		{"dancemta-tlsa-wildcard.8", "*._device.DOMAIN"},
		{"dancemta-send.8", `"" or <> for the null sender`},
	} {
		page, err := os.ReadFile(filepath.Join(dir, tc.page))
		if err != nil {
			t.Fatal(err)
		}
		// In man pages a dash and a dot at the start of a line are written in another way.
		if text := strings.NewReplacer(`\-`, "-", `\&`, "").Replace(string(page)); !strings.Contains(text, tc.want) {
			t.Errorf("%s lacks %q:\n%s", tc.page, tc.want, text)
		}
	}
}

func TestHelpOf(t *testing.T) {
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"help"}, exitOK, "Run a server:\n"},
		{[]string{"help", "queue", "list"}, exitOK, "dancemta queue list [FILTER...]"},
		{[]string{"help", "flush"}, exitUsage, `unknown word "flush" after "dancemta"`},
		{[]string{"completion", "foo"}, exitUsage, `unknown word "foo" after "dancemta completion"`},
		{[]string{"completion"}, exitUsage, `"dancemta completion" needs a command`},
		{[]string{"help", "queue", "lst"}, exitUsage, `did you mean "dancemta queue list"?`}, // "cat" is no farther off than two letters
	} {
		code, out, stderr := run(t, tc.args...)
		if code != tc.code || !strings.Contains(out+stderr, tc.want) {
			t.Errorf("%v: exit code %d, want %d, and %q in:\n%s%s", tc.args, code, tc.code, tc.want, out, stderr)
		}
	}
}
