// Command mutants proves that each check has a test: testdata/mutants holds
// diffs that remove one check each, and the tests must fail with every one.
//
//	mutants [-base FILE] [-tags TAGS] [-budget TIME] run [NAME...]   run the tests with each mutant; all by default
//	mutants [-base FILE] overlay NAME                 print the overlay file that builds one mutant
//
// -base names an overlay that holds in every build, such as that of crypto/tls; go
// takes one file only, so each mutant's is merged with it.
//
// -budget bounds the time: mutants whose code changed last, as git knows it, come first, and those
// that have not begun when it is over must still fit the code.
//
// A mutant is applied by go's -overlay, so that the tree itself stays as it is.
// One that does not fit the code any more, or does not compile, is an error, and
// so are tests that fail without it: they would prove nothing.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	folder = "testdata/mutants"
	out    = "build/mutants"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// build is what holds for every mutant.
type build struct {
	base   string // an overlay file; "" for none
	tags   string
	budget time.Duration // no mutant begins after it; 0: all do
}

func run(args []string) error {
	var b build
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.StringVar(&b.base, "base", "", "an overlay `file` that holds in every build")
	flags.StringVar(&b.tags, "tags", "", "build `tags`")
	flags.DurationVar(&b.budget, "budget", 0, "begin no mutant after this `time`, newest code first; 0: no bound")
	if err := flags.Parse(args); err != nil {
		return err
	}
	args = flags.Args()
	if len(args) == 2 && args[0] == "overlay" {
		m, err := readMutant(filepath.Join(folder, args[1]+".diff"), args[1])
		if err != nil {
			return err
		}
		overlay, err := b.overlay(m)
		if err == nil {
			fmt.Println(overlay)
		}
		return err
	}
	if len(args) == 0 || args[0] != "run" {
		return errors.New("usage: mutants [-base FILE] [-tags TAGS] [-budget TIME] run [NAME...] | overlay NAME")
	}
	mutants, err := readAll(args[1:])
	if err != nil {
		return err
	}
	if b.budget > 0 {
		newestFirst(mutants)
	}
	return b.runAll(mutants)
}

func readAll(names []string) ([]*mutant, error) {
	if len(names) == 0 {
		files, err := filepath.Glob(filepath.Join(folder, "*.diff"))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			names = append(names, strings.TrimSuffix(filepath.Base(f), ".diff"))
		}
		slices.Sort(names)
	}
	var all []*mutant
	for _, n := range names {
		m, err := readMutant(filepath.Join(folder, n+".diff"), n)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// overlay writes the changed files and the file for go's -overlay.
func (b build) overlay(m *mutant) (string, error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, out, m.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	replace, err := b.replaced()
	if err != nil {
		return "", err
	}
	for i, c := range m.changes {
		text, err := os.ReadFile(c.file)
		if err != nil {
			return "", err
		}
		changed, err := c.apply(string(text))
		if err != nil {
			return "", err
		}
		// Not *.go: the tree's own ./... must not see a package there.
		to := filepath.Join(dir, fmt.Sprintf("%d-%s.mutant", i, filepath.Base(c.file)))
		if err := os.WriteFile(to, []byte(changed), 0o644); err != nil {
			return "", err
		}
		replace[original(replace, filepath.Join(root, c.file))] = to
	}
	doc, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, doc, 0o644)
}

// original is the file that a mutant's stands for: where the base overlay puts
// file itself in the place of another, that other one, since go follows one step.
func original(replace map[string]string, file string) string {
	for from, to := range replace {
		if to == file {
			return from
		}
	}
	return file
}

// replaced returns what the base overlay replaces.
func (b build) replaced() (map[string]string, error) {
	if b.base == "" {
		return map[string]string{}, nil
	}
	text, err := os.ReadFile(b.base)
	if err != nil {
		return nil, err
	}
	var doc struct{ Replace map[string]string }
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", b.base, err)
	}
	if len(doc.Replace) == 0 {
		return nil, fmt.Errorf("%s: replaces nothing", b.base)
	}
	return doc.Replace, nil
}
