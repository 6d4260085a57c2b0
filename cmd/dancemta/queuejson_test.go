package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDryRun: it changes nothing, whatever the action.
func TestDryRun(t *testing.T) {
	bothWays(t, func(t *testing.T, q func(...string) []string) {
		state := func() string {
			return ok(t, q("list", "--json")...) + ok(t, q("list", "--finished", "--json")...)
		}
		before := state()
		for action := range actions {
			for _, filter := range []string{"all", "domain=one.test", `sender=""`} {
				out := ok(t, q(action, "--dry-run", "--yes", filter)...)
				if !strings.Contains(out, "would "+action) {
					t.Errorf("%s %s: %s", action, filter, out)
				}
			}
		}
		if after := state(); after != before {
			t.Errorf("before\n%safter\n%s", before, after)
		}
	})
}

// TestEveryJSON: what --json prints is JSON, an object on a line.
func TestEveryJSON(t *testing.T) {
	bothWays(t, func(t *testing.T, q func(...string) []string) {
		file := filepath.Join(t.TempDir(), "backup.tar")
		ok(t, q("export", file)...)
		for _, words := range [][]string{
			{"list"}, {"list", "state=held"}, {"list", "--finished"}, {"stats"}, {"stats", "--by", "reply", "--top", "1"}, {"verify"},
			{"hold", "--dry-run", "all"}, {"hold", "--yes", "domain=one.test"}, {"release", "--yes", "all"}, {"retry", "--yes", "all"},
			{"bounce", "--yes", "domain=one.test"}, {"delete", "--yes", "all"}, {"delete", "--yes", "all"}, {"list", "--finished"}, {"import", file},
		} {
			out := ok(t, q(append(words, "--json")...)...)
			for line := range strings.Lines(out) {
				var any map[string]any
				if err := json.Unmarshal([]byte(line), &any); err != nil {
					t.Errorf("%v: %v: %.200s", words, err, line)
				}
			}
		}
	})
}

// TestCompactJSON: without a server, which does so itself.
func TestCompactJSON(t *testing.T) {
	config, _ := filled(t)
	var said compacted
	if out := ok(t, "queue", "compact", "--json", "--config", config); json.Unmarshal([]byte(out), &said) != nil || said.Before <= 0 || said.After <= 0 {
		t.Errorf("%q", out)
	}
}

// TestExportIsTheSame: what was exported, imported and exported again is the same, to
// the octet of each entry.
func TestExportIsTheSame(t *testing.T) {
	config, ids := filled(t)
	ok(t, "queue", "hold", string(ids[1]), "--reason", "looks odd", "--config", config)
	ok(t, "queue", "bounce", string(ids[2]), "--config", config)
	first := filepath.Join(t.TempDir(), "first.tar")
	ok(t, "queue", "export", first, "--config", config)
	other := writeConfig(t, minimalConfig)
	if err := os.Mkdir(filepath.Join(filepath.Dir(other), "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	ok(t, "queue", "import", first, "--config", other)
	second := filepath.Join(t.TempDir(), "second.tar")
	ok(t, "queue", "export", second, "--config", other)
	if a, b := entries(t, first), entries(t, second); a != b {
		t.Errorf("first\n%s\nsecond\n%s", a, b)
	}
}

// entries lists what is in an export, but for the time when it was made.
func entries(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b strings.Builder
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		text, more := io.ReadAll(r)
		if err = errors.Join(err, more); err != nil {
			t.Fatal(err)
		}
		if h.Name != "dancemta-queue.json" {
			fmt.Fprintf(&b, "%s %d %.600s\n", h.Name, len(text), text)
		}
	}
}

// bothWays runs a story on filled queues without a server and with one.
func bothWays(t *testing.T, story func(*testing.T, func(...string) []string)) {
	for _, live := range []bool{false, true} {
		t.Run(fmt.Sprint("server ", live), func(t *testing.T) {
			config, _ := filled(t)
			if live {
				attended(t, config)
			}
			story(t, func(words ...string) []string { return append(append([]string{"queue"}, words...), "--config", config) })
		})
	}
}
