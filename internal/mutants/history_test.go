package main

import (
	"os"
	"os/exec"
	"testing"
)

func TestNewestFirst(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	t.Chdir(t.TempDir())
	git := func(args ...string) {
		t.Helper()
		c := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
		if text, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	git("init", "-q")
	for i, file := range []string{"old.go", "new.go"} {
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		git("add", file)
		t.Setenv("GIT_COMMITTER_DATE", []string{"2001-01-01T00:00:00Z", "2002-01-01T00:00:00Z"}[i])
		git("commit", "-q", "-m", file)
	}
	of := func(name, file string) *mutant { return &mutant{name: name, changes: []change{{file: file}}} }
	mutants := []*mutant{of("a", "old.go"), of("b", "unknown.go"), of("c", "new.go")}
	newestFirst(mutants)
	if got := mutants[0].name + mutants[1].name + mutants[2].name; got != "cab" {
		t.Errorf("order %s, want cab", got)
	}
}
