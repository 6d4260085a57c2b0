package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the table of docs/conformance.md names, in backquotes.
var (
	namedCode    = regexp.MustCompile("`([a-z0-9/_]+\\.go) ([A-Za-z0-9_]+)`")
	namedTest    = regexp.MustCompile("`([a-z0-9/_]+) ((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	namedDialog  = regexp.MustCompile("`dialogs/([a-z0-9-]+\\.txt)`")
	namedMutant  = regexp.MustCompile("`(mutants/[a-z0-9-]+\\.diff)`")
	namedSection = regexp.MustCompile(`RFC [0-9]+|CVE-[0-9]+|\bours\b`)
)

const (
	conformance = "docs/conformance.md"
	dialogs     = "smtpd/testdata/dialogs"
)

// TestConformance: every demand in docs/conformance.md has its section, its code and
// its test, all of them exist, and no dialog stands outside of the table.
func TestConformance(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, conformance))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range conformanceFaults(string(text), missing) {
		t.Error(fault)
	}
	files, err := filepath.Glob(filepath.Join(root, dialogs, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogs: ", err)
	}
	for _, f := range files {
		if !strings.Contains(string(text), "`dialogs/"+filepath.Base(f)+"`") {
			t.Errorf("%s does not name %s", conformance, filepath.Base(f))
		}
	}
}

// conformanceFaults says what is wrong with a table; missing reports that something
// named is not there.
func conformanceFaults(text string, missing func(kind, where, name string) bool) (faults []string) {
	purpose := false
	rows := 0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "## ") {
			purpose = strings.Contains(line, "on purpose") // there a reason stands instead of code
		}
		for _, m := range namedCode.FindAllStringSubmatch(line, -1) {
			if missing("code", m[1], m[2]) {
				faults = append(faults, "no func "+m[2]+" in "+m[1])
			}
		}
		for _, m := range namedTest.FindAllStringSubmatch(line, -1) {
			if missing("test", m[1], m[2]) {
				faults = append(faults, "no "+m[2]+" in "+m[1])
			}
		}
		for _, m := range namedDialog.FindAllStringSubmatch(line, -1) {
			if missing("file", dialogs, m[1]) {
				faults = append(faults, "no dialog "+m[1])
			}
		}
		for _, m := range namedMutant.FindAllStringSubmatch(line, -1) {
			if missing("file", "testdata", m[1]) {
				faults = append(faults, "no "+m[1])
			}
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || strings.HasSuffix(strings.TrimSpace(line), "| proof |") {
			continue
		}
		rows++
		proved := namedTest.MatchString(cells[2]) || namedDialog.MatchString(cells[2])
		switch {
		case !proved:
			faults = append(faults, "no test: "+line)
		case !purpose && !namedCode.MatchString(cells[1]):
			faults = append(faults, "no code: "+line)
		case !purpose && !namedSection.MatchString(cells[0]):
			faults = append(faults, "no section: "+line)
		}
	}
	if rows == 0 {
		faults = append(faults, "no table")
	}
	return faults
}

// missing looks into the tree.
func missing(kind, where, name string) bool {
	switch kind {
	case "code":
		text, err := os.ReadFile(filepath.Join(root, where))
		return err != nil || !regexp.MustCompile(`(?m)^func (\([^)]*\) )?`+name+`\(`).Match(text)
	case "test":
		files, err := filepath.Glob(filepath.Join(root, where, "*_test.go"))
		if err != nil {
			return true
		}
		for _, f := range files {
			if text, err := os.ReadFile(f); err == nil && strings.Contains(string(text), "\nfunc "+name+"(") {
				return false
			}
		}
		return true
	}
	_, err := os.Stat(filepath.Join(root, where, name))
	return err != nil
}

// TestConformanceRule: the rule on tables that break it.
func TestConformanceRule(t *testing.T) {
	const good = "| x (RFC 5321 4.1) | `a/b.go f` | `a TestF`, `dialogs/d.txt` |\n"
	for _, c := range []struct {
		name, text, gone string
		faults           int
	}{
		{"good", good, "", 0},
		{"nothing", "text\n", "", 1},
		{"no code", "| x (RFC 5321 4.1) | b | `a TestF` |\n", "", 1},
		{"no section", "| x | `a/b.go f` | `a TestF` |\n", "", 1},
		{"of our own", "| ours: x | `a/b.go f` | `a TestF` |\n", "", 0},
		{"no test", "| x (RFC 5321 4.1) | `a/b.go f` | by hand |\n", "", 1},
		{"a reason instead of code", "## Ours on purpose\n| x (RFC 5321 4.1) | why | `a TestF` |\n", "", 0},
		{"and no test", "## Ours on purpose\n| x (RFC 5321 4.1) | why | trust us |\n", "", 1},
		{"code gone", good, "f", 1},
		{"test gone", good, "TestF", 1},
		{"dialog gone", good, "d.txt", 1},
		{"mutant gone", good + "| ours: x | `a/b.go f` | `a TestF`, `mutants/m.diff` |\n", "mutants/m.diff", 1},
	} {
		got := conformanceFaults(c.text, func(_, _, name string) bool { return name == c.gone })
		if len(got) != c.faults {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
