package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFailure(t *testing.T) {
	if by, err := failure("ok\n    --- FAIL: TestA/b (0.0s)\n"); err != nil || by != "TestA/b" {
		t.Errorf("%q, %v", by, err)
	}
	for _, text := range []string{
		"x.go:1: undefined: y\nFAIL\ta [build failed]\n",
		"--- FAIL: TestA (0.0s)\nFAIL\ta\nFAIL\tb [build failed]\n",
		"FAIL\ta [setup failed]\n",
		"killed\n",
	} {
		if by, err := failure(text); err == nil {
			t.Errorf("%q counted as noticed by %s", text, by)
		}
	}
}

func TestAnyOf(t *testing.T) {
	for want, runs := range map[string][]string{
		"":            {"TestA", "", "TestB"},
		"TestA|TestB": {"TestB", "TestA", "TestB"},
	} {
		if got := anyOf(runs); got != want {
			t.Errorf("%q: %q, want %q", runs, got, want)
		}
	}
}

// TestMutants runs mutants of a module of its own. Only one that a test notices
// passes; each of the others says what is wrong with it.
func TestMutants(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"go.mod":        "module m\n\ngo 1.26\n",
		"a/a.go":        "package a\n\nfunc F(n int) bool {\n\tif n > 3 {\n\t\treturn false\n\t}\n\treturn n > 0\n}\n",
		"a/a_test.go":   "package a\n\nimport \"testing\"\n\nfunc TestF(t *testing.T) {\n\tif F(4) {\n\t\tt.Error(4)\n\t}\n}\n",
		"bad/b_test.go": "package bad\n\nimport \"testing\"\n\nfunc TestB(t *testing.T) { t.Error() }\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	diff := func(old, changed string) []change {
		return []change{{file: "a/a.go", hunks: []hunk{{strings.Split(old, "\n"), strings.Split(changed, "\n")}}}}
	}
	check, none := "\tif n > 3 {", "\tif n > 30 {"
	cases := []struct {
		m    mutant
		want string // "" noticed
	}{
		{mutant{packages: []string{"./a"}, changes: diff(check, none)}, ""},
		{mutant{packages: []string{"./a"}, changes: diff("\treturn n > 0", "\treturn true")}, "the tests pass without it"},
		{mutant{packages: []string{"./a"}, changes: diff("\tif n > 5 {", none)}, "do not stand there exactly once"},
		{mutant{packages: []string{"./a"}, changes: diff(check, "\tif m > 3 {")}, "does not compile"},
		{mutant{packages: []string{"./a"}, changes: diff(check, none), run: "TestG"}, "there is no test TestG"},
		{mutant{packages: []string{"./bad"}, changes: diff(check, none)}, "fail without any mutant"},
	}
	var mutants []*mutant
	for i := range cases {
		cases[i].m.name = fmt.Sprintf("m%d", i)
		mutants = append(mutants, &cases[i].m)
	}
	for i, r := range (build{}).judge(mutants) {
		want := cases[i].want
		if want == "" && r.by != "TestF" || want != "" && (r.err == nil || !strings.Contains(r.err.Error(), want)) {
			t.Errorf("%d: noticed by %q, %v; want %q", i, r.by, r.err, want)
		}
	}
	// When the time is over before any began, each must still fit.
	for i, r := range (build{budget: 1}).judge(mutants) {
		switch want := cases[i].want; {
		case strings.Contains(want, "exactly once"), strings.Contains(want, "without any mutant"):
			if r.skipped || r.err == nil || !strings.Contains(r.err.Error(), want) {
				t.Errorf("%d, late: %+v, want %q", i, r, want)
			}
		case !r.skipped || r.err != nil:
			t.Errorf("%d, late: %+v", i, r)
		}
	}
}
