package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// change is a diff against one file of the tree.
type change struct {
	file  string
	hunks []hunk
}

// hunk replaces the lines before by the lines after. Line numbers in the diff
// are not believed: the old lines must stand in the file exactly once.
type hunk struct{ before, after []string }

// mutant is one file of testdata/mutants: a header of "key: value" lines, then
// a unified diff.
type mutant struct {
	name     string
	what     string   // "what": the check that it removes
	packages []string // "packages": whose tests must notice
	run      string   // "run": tests to run, as go test -run; empty for all
	changes  []change
}

func readMutant(path, name string) (*mutant, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m := &mutant{name: name}
	for s := bufio.NewScanner(f); s.Scan(); {
		if err := m.line(s.Text()); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	switch {
	case m.what == "" || len(m.packages) == 0:
		return nil, fmt.Errorf("%s: the header needs the keys what and packages", path)
	case len(m.changes) == 0:
		return nil, fmt.Errorf("%s: no diff", path)
	}
	return m, nil
}

func (m *mutant) line(s string) error {
	switch {
	case len(m.changes) == 0 && strings.HasPrefix(s, "what: "):
		m.what = s[len("what: "):]
	case len(m.changes) == 0 && strings.HasPrefix(s, "packages: "):
		m.packages = strings.Fields(s[len("packages: "):])
	case len(m.changes) == 0 && strings.HasPrefix(s, "run: "):
		m.run = s[len("run: "):]
	case strings.HasPrefix(s, "--- "), strings.HasPrefix(s, "diff "), strings.HasPrefix(s, "index "):
	case strings.HasPrefix(s, "+++ b/"):
		m.changes = append(m.changes, change{file: s[len("+++ b/"):]})
	case len(m.changes) == 0:
		if strings.TrimSpace(s) != "" {
			return fmt.Errorf("%q is neither a header nor a diff", s)
		}
	default:
		return m.changes[len(m.changes)-1].line(s)
	}
	return nil
}

func (c *change) line(s string) error {
	if strings.HasPrefix(s, "@@") {
		c.hunks = append(c.hunks, hunk{})
		return nil
	}
	if len(c.hunks) == 0 {
		return errors.New("lines before the first @@")
	}
	h := &c.hunks[len(c.hunks)-1]
	switch {
	case s == "": // an empty context line whose space an editor removed
		h.before, h.after = append(h.before, ""), append(h.after, "")
	case s[0] == ' ':
		h.before, h.after = append(h.before, s[1:]), append(h.after, s[1:])
	case s[0] == '-':
		h.before = append(h.before, s[1:])
	case s[0] == '+':
		h.after = append(h.after, s[1:])
	default:
		return fmt.Errorf("%q is no line of a hunk", s)
	}
	return nil
}

// apply returns the text with all hunks done; each must fit at one place only.
func (c *change) apply(text string) (string, error) {
	for _, h := range c.hunks {
		before := strings.Join(h.before, "\n") + "\n"
		whole := "\n" + text // so that the search begins at starts of lines only
		at := strings.Index(whole, "\n"+before)
		if at < 0 || strings.Contains(whole[at+1:], "\n"+before) {
			return "", fmt.Errorf("%s: the lines that begin with %q do not stand there exactly once", c.file, first(h.before))
		}
		text = text[:at] + strings.Join(h.after, "\n") + "\n" + text[at+len(before):]
	}
	return text, nil
}

func first(lines []string) string {
	for _, l := range lines {
		if strings.TrimSpace(l) != "" {
			return strings.TrimSpace(l)
		}
	}
	return ""
}
