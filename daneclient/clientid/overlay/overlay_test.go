package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// installed returns the folder of crypto/tls of the Go that runs the tests.
func installed(t *testing.T) string {
	t.Helper()
	text, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(text)), "src", "crypto", "tls")
}

// copied is a copy of the files that the edits touch.
func copied(t *testing.T) string {
	t.Helper()
	from, to := installed(t), t.TempDir()
	for _, e := range edits {
		text, err := os.ReadFile(filepath.Join(from, e.file))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.file), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestWrite(t *testing.T) {
	src, dir := copied(t), filepath.Join(t.TempDir(), "out")
	overlay, err := write(src, "go1.test", dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(overlay)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Replace map[string]string }
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{}
	for _, e := range edits {
		files[e.file] = true
	}
	if len(doc.Replace) != len(files) {
		t.Errorf("%d files replaced, want %d", len(doc.Replace), len(files))
	}
	for from, to := range doc.Replace {
		before, err1 := os.ReadFile(from)
		after, err2 := os.ReadFile(to)
		if err1 != nil || err2 != nil || string(before) == string(after) {
			t.Errorf("%s → %s: %v, %v, changed: %v", from, to, err1, err2, string(before) != string(after))
		}
		if says := strings.Contains(string(after), `const OverlayVersion = "go1.test"`); says != (filepath.Base(from) == "common.go") {
			t.Errorf("%s: says of which Go it is: %v", from, says)
		}
	}
}

// A Go tree with other code must not come out half patched.
func TestForeignGo(t *testing.T) {
	for name, spoil := range map[string]func(string) string{
		"a line is gone":   func(s string) string { return strings.Replace(s, edits[0].old, "", 1) },
		"a line is double": func(s string) string { return s + edits[0].old },
	} {
		src, dir := copied(t), filepath.Join(t.TempDir(), "out")
		file := filepath.Join(src, edits[0].file)
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, []byte(spoil(string(text))), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = write(src, "go1.99", dir)
		if err == nil || !strings.Contains(err.Error(), "go1.99") || !strings.Contains(err.Error(), edits[0].file) {
			t.Errorf("%s: %v; the error must name version and file", name, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: something was written", name)
		}
	}
	if _, err := write(t.TempDir(), "go1.99", t.TempDir()); err == nil {
		t.Error("a tree without crypto/tls was patched")
	}
}
