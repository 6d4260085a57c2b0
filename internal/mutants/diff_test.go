package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sample = `what: the second line
packages: ./a ./b
run: TestX
--- a/f.go
+++ b/f.go
@@ -1,3 +1,2 @@
 one
-two
 three
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.diff")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadAndApply(t *testing.T) {
	m, err := readMutant(write(t, sample), "m")
	if err != nil {
		t.Fatal(err)
	}
	if m.what != "the second line" || len(m.packages) != 2 || m.run != "TestX" {
		t.Errorf("header: %+v", m)
	}
	got, err := m.changes[0].apply("zero\none\ntwo\nthree\nfour\n")
	if err != nil || got != "zero\none\nthree\nfour\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// A mutant that fits nowhere, or at two places, proves nothing.
func TestApplyOnce(t *testing.T) {
	m, err := readMutant(write(t, sample), "m")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one\nthree\n", "one\ntwo\nthree\none\ntwo\nthree\n", "xone\ntwo\nthree\n"} {
		if got, err := m.changes[0].apply(text); err == nil {
			t.Errorf("applied to %q: %q", text, got)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no packages": strings.Replace(sample, "packages: ./a ./b\n", "", 1),
		"no diff":     "what: x\npackages: ./a\n",
		"other words": "hello\n" + sample,
		"no hunk":     "what: x\npackages: ./a\n+++ b/f.go\n one\n",
	} {
		if _, err := readMutant(write(t, text), "m"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Go takes one overlay: what holds in every build must be in each mutant's.
func TestBaseIsMerged(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := errors.Join(os.WriteFile("f.go", []byte("one\ntwo\nthree\n"), 0o600),
		os.WriteFile("base.json", []byte(`{"Replace": {"/go/x.go": "/tmp/x"}}`), 0o600), os.WriteFile("empty.json", []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	m, err := readMutant(write(t, sample), "m")
	if err != nil {
		t.Fatal(err)
	}
	path, err := build{base: "base.json"}.overlay(m)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), `"/go/x.go":"/tmp/x"`) || !strings.Contains(string(text), "f.go.mutant") {
		t.Errorf("%s, %v", text, err)
	}
	// A mutant of a replacement takes its place; go would not replace it in turn.
	root, err := os.Getwd()
	if err == nil {
		err = os.WriteFile("base.json", fmt.Appendf(nil, `{"Replace": {"/go/x.go": %q}}`, filepath.Join(root, "f.go")), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err = (build{base: "base.json"}).overlay(m); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(text), `{"Replace":{"/go/x.go":"`+root) || strings.Contains(string(text), `"`+root+`/f.go":`) {
		t.Errorf("%s, %v", text, err)
	}
	for _, bad := range []string{"empty.json", "none.json"} {
		if _, err := (build{base: bad}).overlay(m); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}
