// Command mutants proves that each check has a test: testdata/mutants holds
// diffs that remove one check each, and the tests must fail with every one.
//
//	mutants run [NAME...]          run the tests with each mutant; all by default
//	mutants overlay NAME           print the overlay file that builds one mutant
//
// A mutant is applied by go's -overlay, so that the tree itself stays as it is.
// One that does not fit the code any more, or does not compile, is an error: it
// would prove nothing.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	folder = "testdata/mutants"
	out    = "build/mutants"
	// A mutant may turn a limit into an endless loop; then the tests have
	// noticed, but should not take all day to say so.
	testTimeout = "120s"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 && args[0] == "overlay" {
		m, err := readMutant(filepath.Join(folder, args[1]+".diff"), args[1])
		if err != nil {
			return err
		}
		overlay, err := m.overlay()
		if err == nil {
			fmt.Println(overlay)
		}
		return err
	}
	if len(args) == 0 || args[0] != "run" {
		return fmt.Errorf("usage: mutants run [NAME...] | mutants overlay NAME")
	}
	mutants, err := readAll(args[1:])
	if err != nil {
		return err
	}
	return runAll(mutants)
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

// runAll prints a line per mutant and the count at the end.
func runAll(mutants []*mutant) error {
	noticed, failed := 0, 0
	for _, m := range mutants {
		start := time.Now()
		by, err := m.test()
		if err != nil {
			failed++
			fmt.Printf("FAIL %-32s %v\n", m.name, err)
			continue
		}
		noticed++
		fmt.Printf("ok   %-32s %5.1fs  noticed by %s\n", m.name, time.Since(start).Seconds(), by)
	}
	fmt.Printf("%d passed, %d failed\n", noticed, failed)
	if failed > 0 || noticed == 0 {
		return fmt.Errorf("%d of %d mutants were not noticed", failed, len(mutants))
	}
	return nil
}

// overlay writes the changed files and the file for go's -overlay.
func (m *mutant) overlay() (string, error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, out, m.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	replace := map[string]string{}
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
		replace[filepath.Join(root, c.file)] = to
	}
	doc, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, doc, 0o644)
}

// test returns the name of a test that failed with the mutant.
func (m *mutant) test() (by string, err error) {
	overlay, err := m.overlay()
	if err != nil {
		return "", err
	}
	build := exec.Command("go", append([]string{"build", "-overlay", overlay}, m.packages...)...)
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("does not compile:\n%s", text)
	}
	args := []string{"test", "-overlay", overlay, "-timeout", testTimeout, "-failfast"}
	if m.run != "" {
		args = append(args, "-run", m.run)
	}
	test := exec.Command("go", append(args, m.packages...)...)
	test.Env = append(os.Environ(), "DANCEMTA_E2E=") // real servers take long, and judge the whole
	text, err := test.CombinedOutput()
	if err == nil {
		return "", fmt.Errorf("the tests pass without it: %s", m.what)
	}
	return failure(string(text))
}

// failure finds the first failed test in go test's output. Output without one
// is trouble of another kind, such as a test file that does not compile.
func failure(text string) (string, error) {
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
			return strings.Fields(name)[0], nil
		}
		if strings.HasPrefix(line, "panic: ") {
			return strings.TrimSpace(line), nil
		}
	}
	return "", fmt.Errorf("the tests did not run:\n%s", text)
}
